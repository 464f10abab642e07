"""What `cec person erase` asks of the services, in which order, and the receipt that it gets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import KeySet, OKPKey
from typer.testing import CliRunner

from schemas.topics import DAY_MS, TOPICS
from services import erasing
from services.chassis.receipts import Forgotten, ReceiptError, opened, signed
from services.cli import people
from services.cli.main import app
from services.cli.shell import CommandError

BLOCK = {"cycle": "c", "about": "a", "event": "e", "block": "contact", "digest": "d" * 43}
ZELDA = {"person": "p", "issuer": "i", "subject": "s", "name": "Zelda Quorvex", "email": "z@town.example"}


class Services:
    """Services that keep what they were asked; the ledger has a block until intake was told of it."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.deaf = deaf

    def __call__(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((path, body))
        told = any(path == "/intake/erasures" and not one["dry_run"] for path, one in self.asked) and not self.deaf
        blocks = [BLOCK] if path == "/ledger/erasures" and not told else []
        return {"service": path.split("/")[1], "places": {}, "blocks": blocks, "stays": {}, "receipt": None}


def test_intake_is_asked_last_with_what_the_ledger_found() -> None:
    services, wanted = Services(), erasing.Wanted()
    wanted.know(ZELDA)
    erasing.erase(services, wanted, dry_run=False)
    assert [path.split("/")[1] for path, _ in services.asked] == list(erasing.ORDER)
    last = services.asked[-1][1]
    assert (last["blocks"], last["account"]) == ([BLOCK], {"issuer": "i", "subject": "s"})
    assert last["texts"] == ["Zelda Quorvex", "z@town.example"]
    assert erasing.left_over(services, wanted, 0) == 0


def test_what_the_ledger_goes_on_to_hold_is_told() -> None:
    services = Services(deaf=True)
    erasing.erase(services, erasing.Wanted(texts=["Zelda Quorvex"]), dry_run=False)
    assert erasing.left_over(services, erasing.Wanted(texts=["Zelda Quorvex"]), 0) == 1


def test_a_name_that_is_a_part_of_anything_is_not_looked_for_and_a_subject_that_is_an_address_is() -> None:
    wanted = erasing.Wanted()
    wanted.know({**ZELDA, "name": "Al", "email": "", "subject": "al@town.example"})
    assert wanted.texts == ["al@town.example"]


def test_the_command_asks_nothing_of_intake_unless_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    services = Services()
    monkeypatch.setattr(people, "_post", services)
    refused = CliRunner().invoke(app, ["person", "erase", "--text", "Zelda Quorvex"])
    assert "say --yes" in str(refused.exception)
    planned = CliRunner().invoke(app, ["person", "erase", "--text", "Zelda Quorvex", "--dry-run"])
    assert "sealed blocks: contact  1" in planned.output
    assert all(body["dry_run"] for _, body in services.asked)
    assert "say who" in str(CliRunner().invoke(app, ["person", "erase"]).exception)


@pytest.mark.parametrize("filed", [True, False])
def test_the_receipt_is_there_before_the_ledger_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, filed: bool
) -> None:
    services = Services()

    def away_at_the_end(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if any(one == "/intake/erasures" and not asked["dry_run"] for one, asked in services.asked):
            raise CommandError("the ledger is away")
        return {**services(path, body), "receipt": "a.b.c" if path == "/intake/erasures" else None}

    monkeypatch.setattr(people, "_post", away_at_the_end)
    file = tmp_path / "receipt.txt"
    named = ["--receipt", str(file)] if filed else []
    done = CliRunner().invoke(app, ["person", "erase", "--text", "Zelda Quorvex", "--yes", *named])
    assert "away" in str(done.exception)
    assert file.read_text(encoding="utf-8") == "a.b.c\n" if filed else "receipt: a.b.c" in done.output


@pytest.mark.parametrize(("found", "said"), [([], "nobody is known"), ([ZELDA, {**ZELDA, "person": "q"}], "p, q")])
def test_who_is_not_one_person_is_not_erased(
    monkeypatch: pytest.MonkeyPatch, found: list[dict[str, str]], said: str
) -> None:
    monkeypatch.setattr(people, "_post", lambda _path, _body: {"people": found})
    assert said in str(CliRunner().invoke(app, ["person", "erase", "zelda", "--yes"]).exception)


def test_the_receipt_for_an_erasure_is_verified_offline(tmp_path: Path) -> None:
    key = OKPKey.generate_key("Ed25519")
    stated = Forgotten(
        iss="https://x", erased_at=datetime.now(UTC), events={"e": "00"}, digests=["d"], rows={"private.person": 1}
    )
    receipt, keys = tmp_path / "receipt.txt", tmp_path / "keys.json"
    receipt.write_text(signed(stated, key), encoding="utf-8")
    keys.write_text(json.dumps(KeySet([key]).as_dict(private=False)), encoding="utf-8")
    done = CliRunner().invoke(app, ["receipt", "verify", str(receipt), "--keys", str(keys)])
    assert done.exit_code == 0, done.output
    assert "sealed blocks: 1, by events: 1, rows: 1" in done.output
    with pytest.raises(ReceiptError, match="for an erasure"):
        opened(receipt.read_text(encoding="utf-8"), KeySet([key]))


def test_no_topic_keeps_a_record_for_more_than_a_day_after_its_retention() -> None:
    kept = [topic.config for topic in TOPICS if topic.config.get("cleanup.policy") != "compact"]
    assert all(int(config["segment.ms"]) <= DAY_MS for config in kept)
    assert all(int(config["retention.ms"]) <= 30 * DAY_MS for config in kept)
