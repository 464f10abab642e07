"""What the chassis needs of a database, seen through the chassis. Inherited by a test class for each database."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import asyncpg
import pytest

from schemas.cycles import CycleDeadlineExtended
from services.chassis.clock import ProgramClock
from services.chassis.database import Tx
from services.chassis.failures import transient
from services.chassis.ids import opaque_id
from services.chassis.schedule import schedule
from tests.behaviour.house import House, Load, Member
from tests.given import eventually

HOLDERS = """
select l.pid from pg_locks l join pg_database d on d.oid = l.database
where l.locktype = 'advisory' and l.granted and d.datname = current_database()
"""
CUT = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
"""


async def numbered(tx: Tx, *keys: str) -> list[int]:
    """Record an event about each key, not yet committed; the numbers that they have."""
    for key in keys:
        tx.record(CycleDeadlineExtended(cycle=key, deadline=tx.clock.now(), reason="flood"))
    return [written.header.sequence for written in await tx.flush()]


async def relaying(house: House) -> Member:
    """The one member whose relay holds the lock."""

    async def one() -> bool:
        return sum(member.service.relay._active for member in house.members) == 1

    await eventually(one)
    (active,) = (member for member in house.members if member.service.relay._active)
    return active


class DatabaseBehaviour:
    """Transactions, locks, wakes, lost connections."""

    async def test_what_is_rolled_back_leaves_no_effect_and_no_gap(self, house: House) -> None:
        member, key = await house.join(), opaque_id()
        await member.record(key)
        with pytest.raises(ZeroDivisionError):  # noqa: PT012  (the transaction is what is under test)
            async with member.database.transaction() as tx:
                assert await numbered(tx, key) == [2]
                raise ZeroDivisionError
        await member.record(key)
        await house.shows({key: 2})
        assert await member.database.pool.fetchval("select count(*) from chassis.event_log") == 2

    @pytest.mark.parametrize("commits", [True, False])
    async def test_two_transactions_about_one_key_are_numbered_in_the_order_of_their_ends(
        self, house: House, commits: bool
    ) -> None:
        member, key, first_has_its_number = await house.join(), opaque_id(), asyncio.Event()

        async def second() -> list[int]:
            await first_has_its_number.wait()
            async with member.database.transaction() as tx:
                return await numbered(tx, key)

        waiting = asyncio.create_task(second())
        try:
            async with member.database.transaction() as tx:
                assert await numbered(tx, key) == [1]
                first_has_its_number.set()
                await asyncio.sleep(0.2)
                assert not waiting.done()
                if not commits:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert await waiting == [2 if commits else 1]
        await house.shows({key: 2 if commits else 1})

    async def test_transactions_about_the_same_keys_in_any_order_never_block_each_other_for_good(
        self, house: House
    ) -> None:
        member, keys = await house.join(), [opaque_id() for _ in range(6)]
        await asyncio.gather(*(member.record(*(keys if n % 2 else reversed(keys))) for n in range(40)))
        await house.shows(dict.fromkeys(keys, 40))

    async def test_a_reader_sees_one_moment_and_may_not_write(self, house: House) -> None:
        member, key = await house.join(), opaque_id()
        count = "select count(*) from chassis.event_log"
        async with member.database.reading() as db:
            before = await db.fetchval(count)
            await member.record(key)
            assert await db.fetchval(count) == before
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await db.execute("delete from chassis.outbox")
        assert await member.database.pool.fetchval(count) == before + 1

    async def test_a_transaction_that_loses_a_race_fails_in_a_way_that_is_tried_again(self, house: House) -> None:
        await house.join()
        async with house.connection() as one, house.connection() as other:
            await one.execute("insert into projection.seen values ('raced', 1)")
            await one.execute("begin isolation level repeatable read")
            await one.fetch("select * from projection.seen")
            await other.execute("update projection.seen set sequence = 2")
            with pytest.raises(asyncpg.SerializationError) as lost:
                await one.execute("update projection.seen set sequence = 3")
            assert transient(lost.value)

    async def test_text_is_ordered_by_its_bytes_whatever_the_servers_language(self, house: House) -> None:
        await house.join()
        async with house.connection() as db:
            words = await db.fetch("select word from unnest(array['b', 'Ä', 'a', 'B', '_']) as t (word) order by word")
            assert [row["word"] for row in words] == ["B", "_", "a", "b", "Ä"]
            assert await db.fetchval("show server_encoding") == "UTF8"

    async def test_a_relay_that_loses_its_connection_loses_its_lock_and_nothing_else(self, house: House) -> None:
        load = Load(await house.join(), [opaque_id() for _ in range(10)], seed=3)
        await house.join()
        async with house.connection() as db:
            for _ in range(5):
                await relaying(house)
                for row in await db.fetch(HOLDERS):
                    await db.execute("select pg_terminate_backend($1)", row["pid"])
                await asyncio.sleep(0.3)
            await house.shows(await load.end())
            await relaying(house)
            assert len(await db.fetch(HOLDERS)) == 1

    async def test_the_second_relay_takes_over_when_the_first_ends(self, house: House) -> None:
        key = opaque_id()
        for _ in range(2):
            await house.join()
        await house.leave(await relaying(house))
        (left,) = house.members
        await left.record(key)
        await house.shows({key: 1})
        assert await relaying(house) is left

    async def test_a_commit_wakes_the_relay_of_another_process_long_before_its_poll(self, house: House) -> None:
        key = opaque_id()
        for _ in range(2):
            await house.join(poll_seconds=600.0)
        active = await relaying(house)
        (passive,) = (member for member in house.members if member is not active)
        for _ in range(3):
            await passive.record(key)
        await house.shows({key: 3}, seconds=10)

    async def test_connections_that_are_cut_in_the_middle_of_a_batch_cost_nothing_but_time(self, house: House) -> None:
        member, keys = await house.join(), [opaque_id() for _ in range(20)]
        await house.settled()
        member.gate.clear()
        await member.record(*keys)
        await member.held.wait()
        async with house.connection() as db:
            await db.execute(CUT)
        member.gate.set()

        async def recorded() -> bool:
            try:
                await member.record(*keys)
            except Exception as error:
                if not transient(error):
                    raise
                return False
            return True

        await eventually(recorded)
        await house.shows(dict.fromkeys(keys, 2))

    async def test_what_is_due_is_done_once_by_one_of_many_and_one_that_takes_long_keeps_none_waiting(
        self, house: House, clock: ProgramClock
    ) -> None:
        one, two = await house.join(), await house.join()
        one.gate.clear()
        two.gate.clear()
        due, tasks = clock.now(), [opaque_id() for _ in range(40)]
        async with one.database.transaction() as tx:
            await schedule(tx, "ring", "slow", due - timedelta(seconds=1), {"slow": True})
            for task in tasks:
                await schedule(tx, "ring", task, due)
        clock.shift(timedelta())

        async def all_but_one() -> bool:
            return set(tasks) <= set(await house.effects())

        await eventually(all_but_one)
        assert one.held.is_set() != two.held.is_set()
        one.gate.set()
        two.gate.set()
        await house.shows(dict.fromkeys([*tasks, "slow"], 1))

    async def test_who_waits_for_a_row_that_another_has_in_hand_waits_quietly(
        self, house: House, clock: ProgramClock
    ) -> None:
        members = [await house.join(), await house.join()]
        for member in members:
            member.gate.clear()
        async with members[0].database.transaction() as tx:
            await schedule(tx, "ring", "slow", clock.now(), {"slow": True})
        clock.shift(timedelta())

        async def in_hand() -> bool:
            return any(member.held.is_set() for member in members)

        await eventually(in_hand)
        (idle,) = (member for member in members if not member.held.is_set())
        claims, claim = 0, idle.service.scheduler._run_one

        async def counted(now: datetime) -> bool:
            nonlocal claims
            claims += 1
            return await claim(now)

        idle.service.scheduler._run_one = counted  # type: ignore[method-assign]
        await asyncio.sleep(1)
        assert 0 < claims <= 10
