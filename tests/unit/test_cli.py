"""The command: its exit codes, which scripts rest on, and what people read."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import time

import pytest

from services.chassis.ids import opaque_id
from services.chassis.issuer import load_key
from services.chassis.receipts import Stated, signed
from services.cli.main import main
from services.cli.shell import CHARTER, worded
from services.scoring.commands import check_proof, public_key


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["cec", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code or 0


def test_a_command_that_did_what_it_should_ends_with_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(monkeypatch, "program", "check", str(CHARTER)) == 0


def test_a_verification_that_does_not_hold_ends_with_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "export.zip").write_bytes(b"no zip")
    assert ended(monkeypatch, "ledger", "verify", str(tmp_path / "export.zip")) == 1


@pytest.mark.parametrize("command", [("list", "paint"), ("show", "paint", "t/0/0"), ("redrive", "paint", "--all")])
def test_a_service_that_does_not_exist_is_told_with_those_that_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert ended(monkeypatch, "dead-letters", *command) == 1
    assert capsys.readouterr().err == (
        "cec: no service 'paint': one of intake, scoring, awards, notifications, ledger\n"
    )


def test_a_foreseen_failure_ends_with_one_line_and_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "dead-letters", "redrive", "scoring") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert ended(monkeypatch, "dead-letters", "paint") == 2


def test_a_file_that_is_not_there_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for path in (tmp_path / "missing", tmp_path):
        assert ended(monkeypatch, "review", "post", str(path)) == 1
        assert ended(monkeypatch, "ledger", "verify", str(path)) == 1
        lines = capsys.readouterr().err.splitlines()
        assert {(line.startswith(f"cec: cannot open {path} ("), line.endswith("check the path")) for line in lines} == {
            (True, True)
        }


def test_what_registers_a_key_proves_it_and_holds_no_private_half(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key, reviewer = tmp_path / "reviewer.jwk", opaque_id()
    assert ended(monkeypatch, "review", "key", "--cycle", "c", "--reviewer", reviewer, "--key", str(key)) == 0
    body = json.loads(capsys.readouterr().out)
    assert body.keys() == {"cycle", "jwk", "proof"}
    check_proof(body["proof"], public_key(body["jwk"]), reviewer, now=time())
    assert public_key(body["jwk"]).thumbprint() == load_key(key).thumbprint()


def test_an_unknown_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEC_POOLSIZE", "3")
    assert ended(monkeypatch, "program", "check", str(CHARTER)) == 1


def test_a_receipt_is_told_from_a_changed_one_and_from_one_that_another_program_signed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stated = Stated(
        iss="https://program.example",
        cycle="c",
        application="a1",
        version=2,
        event="e1",
        leaf_hash="00" * 32,
        submitted_at=datetime(2026, 11, 22, 9, tzinfo=UTC),
    )
    ours, theirs = (load_key(tmp_path / name) for name in ("ours", "theirs"))
    keys, receipt = tmp_path / "keys.json", tmp_path / "receipt.json"
    keys.write_text(json.dumps({"keys": [ours.as_dict(private=False)]}))
    command = ("receipt", "verify", str(receipt), "--keys", str(keys))
    receipt.write_text(json.dumps({"receipt": signed(stated, ours)}))
    assert ended(monkeypatch, *command) == 0
    assert "application a1, version 2, of cycle c" in capsys.readouterr().out
    receipt.write_text(signed(stated, theirs))
    assert ended(monkeypatch, *command) == 1
    assert capsys.readouterr().err.startswith("cec: no key at hand has signed this receipt")
    receipt.write_text(signed(stated, ours))
    (tmp_path / "export.zip").write_bytes(b"no zip")
    assert ended(monkeypatch, *command, "--export", str(tmp_path / "export.zip")) == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "yes"),
        (None, "none"),
        ({"submitted": 3, "closed": False}, "submitted 3, closed no"),
        ([{"reviewer": "r1", "ready": True}, "b"], "reviewer r1, ready yes; b"),
        ("2027-2029", "2027-2029"),
        ({"red\x1b[31m": ["\0", "Málaga\u202e"]}, r"red\x1b[31m \x00; Málaga\u202e"),
    ],
)
def test_people_read_words_and_not_literals(value: object, words: str) -> None:
    assert worded(value) == words
