"""How a service is: alive, ready, and its gauges, measured when somebody asks, with a short time to answer.

Alive means that starting it anew would not help: only a consumer that has records waiting and stands still for minutes,
while its database and its broker answer and no breaker stopped it, is not. Ready means that every part answers now.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from services.chassis import metrics as m

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import TopicPartition

    from services.chassis.metrics import Metric, Metrics
    from services.chassis.service import Service

    Values = dict[tuple[str, ...], float]

ANSWER_SECONDS: Final = 2.0
STANDSTILL_SECONDS: Final = 180.0
SAMPLE_SECONDS: Final = 0.1

log = structlog.get_logger()

MEASURES: Final[Mapping[Metric, str]] = {
    m.OUTBOX: "select count(*) from chassis.outbox",
    m.OUTBOX_OLDEST: """
        select coalesce(extract(epoch from clock_timestamp() - (
            select recorded_at from chassis.outbox order by position limit 1
        )), 0)
    """,
    m.PARKED_KEYS: """
        select kind, count(distinct (source, subject)) filter (where subject is not null)
        from (values ('not_yet'), ('poison')) as k (kind) left join chassis.parked using (kind) group by kind
    """,
    m.PARKED_OLDEST: """
        select kind, coalesce(extract(epoch from clock_timestamp() - min(parked_at)), 0)
        from (values ('not_yet'), ('poison')) as k (kind) left join chassis.parked using (kind) group by kind
    """,
    m.DEAD_LETTERS: "select count(*) from chassis.parked where kind = 'poison'",
}
"""Gauges of every service, as queries: one column for each label, then the value."""


class Progress:
    """Since when each partition stands still although records wait."""

    def __init__(self) -> None:
        self._since: dict[TopicPartition, tuple[int, float]] = {}

    def standstill(self, waiting: Mapping[TopicPartition, int], now: float) -> float:
        """The longest standstill in seconds. `waiting`: the position of every partition that has records to take."""
        self._since = {
            partition: kept if (kept := self._since.get(partition)) and kept[0] == position else (position, now)
            for partition, position in waiting.items()
        }
        return max((now - since for _, since in self._since.values()), default=0.0)


async def watch_loop(metrics: Metrics) -> None:
    """Sample how late the loop comes to a timer, until cancelled."""
    while True:
        due = monotonic() + SAMPLE_SECONDS
        await asyncio.sleep(SAMPLE_SECONDS)
        metrics.observe(m.LOOP_LAG, monotonic() - due)


async def reachable(bootstrap: str) -> bool:
    """Whether a broker answers there now."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap, client_id="health")
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.bootstrap()
    except (KafkaError, OSError):
        return False
    finally:
        await client.close()
    return True


async def standstill(service: Service) -> float:
    """For how many seconds a consumer has stood still that a new start may move; 0 where a part it needs is away."""
    waiting: dict[TopicPartition, int] = {}
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await service.database.pool.fetchval("select true")
            for consumer in service.consumers:
                if not consumer.breaker.stopped:
                    standing = await consumer.standing()
                    waiting |= {partition: position for partition, (position, lag) in standing.items() if lag}
    except Exception:  # noqa: BLE001  (whatever is away, a new start does not bring it back)
        waiting = {}
    return service.progress.standstill(waiting, monotonic())


async def scrape(*services: Service) -> bytes:
    """All metrics of these services in Prometheus' text format."""
    measured = await asyncio.gather(*(_measured(service) for service in services))
    for service, values in zip(services, measured, strict=True):
        service.metrics.show(values)
    return m.text(*(service.metrics for service in services))


async def _measured(service: Service) -> dict[Metric, Values]:
    """Every gauge's values; those of a part that does not answer are left out."""
    parts = {"database": _of_database(service), "broker": _of_broker(service)}
    answers = await asyncio.gather(*parts.values(), return_exceptions=True)
    found: dict[Metric, Values] = {m.SCRAPED: {}}
    for part, answer in zip(parts, answers, strict=True):
        found[m.SCRAPED][part,] = float(not isinstance(answer, BaseException))
        if isinstance(answer, BaseException):
            log.info("not measured", service=service.name, part=part, error=repr(answer))
        else:
            found |= answer
    return found


async def _of_database(service: Service) -> dict[Metric, Values]:
    found: dict[Metric, Values] = {}
    async with asyncio.timeout(ANSWER_SECONDS), service.database.pool.acquire() as connection:
        for metric, query in {**MEASURES, **service.measures}.items():
            rows = await connection.fetch(query)
            found[metric] = {tuple(map(str, labels)): float(value) for *labels, value in rows}
        due = await connection.fetchval(
            "select min(due) from chassis.schedule where kind = any($1::text[])", list(service.tasks)
        )
    late = (service.clock.now() - due).total_seconds() if due else 0.0
    return {**found, m.OVERDUE: {(): max(0.0, late)}}


async def _of_broker(service: Service) -> dict[Metric, Values]:
    lags: Values = {}
    partitions: Counter[tuple[str, ...]] = Counter()
    async with asyncio.timeout(ANSWER_SECONDS):
        for consumer in service.consumers:
            lags |= {(consumer.group, topic): 0.0 for topic in consumer.topics}
            for partition, (_, lag) in (await consumer.standing()).items():
                lags[consumer.group, partition.topic] += lag
                partitions[consumer.group, partition.topic] += 1
    stopped: Values = {(consumer.group,): float(consumer.breaker.stopped) for consumer in service.consumers}
    return {m.LAG: lags, m.PARTITIONS: {key: float(partitions[key]) for key in lags}, m.STOPPED: stopped}


def router(service: Service) -> APIRouter:
    """The routes that probes and scrapers ask."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/health/live")
    async def live(response: Response) -> dict[str, Any]:
        seconds = await standstill(service)
        alive = seconds < STANDSTILL_SECONDS
        response.status_code = 200 if alive else 503
        return {"status": "live" if alive else "stands still", "standstill_seconds": round(seconds)}

    @routes.get("/health/ready")
    async def ready(response: Response) -> dict[str, Any]:
        parts = await service.ready()
        response.status_code = 200 if all(parts.values()) else 503
        return {"status": "ready" if all(parts.values()) else "not ready", "parts": parts}

    @routes.get("/metrics")
    async def metrics(_: Request) -> Response:
        return Response(await scrape(service), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return routes
