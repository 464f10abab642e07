"""What an outsider finds in an export: yes for what was, no for every change, however consistently it was made."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.canonical import canonical
from schemas.envelope import digest, disclosure, unb64url
from services.chassis.archive import pack, unpack
from services.chassis.transparency import Checkpoint, SignerKey, leaf_hash, root, sign_note
from services.verifier import verify
from tests.e2e.conftest import PROGRAMS, ROOT, Played

CYCLE = "2011-2013"
Files = dict[str, bytes]


@pytest.fixture
def export(shipped: Played) -> bytes:
    return shipped.export(CYCLE)


def test_the_command_says_yes_with_the_policy_and_exits_0(shipped: Played) -> None:
    command = [sys.executable, "-m", "services.cli", "ledger", "verify", str(shipped.out / f"{CYCLE}.zip")]
    pinned = subprocess.run(
        [*command, "--policy", str(shipped.out / "policy.txt"), "--json"], cwd=ROOT, capture_output=True, check=False
    )
    unpinned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert pinned.returncode == 0
    assert json.loads(pinned.stdout)["keys_pinned"] is True
    assert unpinned.returncode == 0
    assert "keys not pinned" in unpinned.stdout


def test_the_auditors_export_holds_too_and_re_computes_every_application(shipped: Played) -> None:
    report = verify((shipped.out / f"{CYCLE}-auditor.zip").read_bytes())
    assert report.exit_code == 0, report.findings
    assert "12 applications' scores from their reviews" in report.recomputed


def test_the_public_export_names_none_of_the_three_who_are_not_designated(shipped: Played, export: bytes) -> None:
    cohort = json.loads((PROGRAMS / "cohort-2011-2013.json").read_text(encoding="utf-8"))
    fictional = [one for one in cohort["applicants"] if one.get("fictional")]
    assert len(fictional) == 3
    plain = opened_text(export)
    assert "Santa Monica" in plain
    for one in fictional:
        for word in (one["name"], one["website"], one["website"].split("/")[2]):
            assert word not in plain
    for name in ids_of_the_fictional(shipped):
        assert not any(orjson.loads(line)["event"] == name for line in unpack(export)["openings.ndjson"].splitlines())


def opened_text(export: bytes) -> str:
    """Everything in an export that can be read, openings decoded."""
    files = unpack(export)
    decoded = b"\n".join(unb64url(orjson.loads(line)["disclosure"]) for line in files["openings.ndjson"].splitlines())
    return (b"\n".join(files.values()) + decoded).decode(errors="replace")


def ids_of_the_fictional(shipped: Played) -> set[str]:
    """The event ids of all that concerns the three, from the auditor's export; also their governments' ids."""
    files = unpack((shipped.out / f"{CYCLE}-auditor.zip").read_bytes())
    openings = [orjson.loads(line) for line in files["openings.ndjson"].splitlines()]
    indexes = {
        row["index"] for row in openings if row["block"] == "identity" and b".example" in unb64url(row["disclosure"])
    }
    events = [orjson.loads(line) for line in files["events.ndjson"].splitlines()]
    subjects = {events[index]["subject"] for index in indexes}
    assert len(subjects) == 3
    return {event["id"] for event in events if event["subject"] in subjects}


@pytest.mark.parametrize("seed", range(120))
def test_one_changed_byte_anywhere_is_found(export: bytes, seed: int) -> None:
    rng = random.Random(seed)
    at = rng.randrange(len(export))
    changed = bytearray(export)
    changed[at] ^= 1 << rng.randrange(8)
    report = verify(bytes(changed))
    assert report.exit_code == 1
    assert report.findings


def test_a_byte_cut_off_or_added_is_found(export: bytes) -> None:
    assert verify(export[:-1]).exit_code == 1
    assert verify(export + b"\0").exit_code == 1
    assert verify(b"").exit_code == 1


class Forger:
    """Someone with the log's key who changes history and re-makes every hash and signature."""

    def __init__(self, export: bytes) -> None:
        self.files = unpack(export)
        self.events = [orjson.loads(line) for line in self.files["events.ndjson"].splitlines()]
        self.openings = [orjson.loads(line) for line in self.files["openings.ndjson"].splitlines()]

    def rewrite(self, event_type: str, block: str, change: Callable[[Any], None], number: int = 0) -> None:
        """Change one opened block and seal it again."""
        rows = [
            row for row in self.openings if row["block"] == block and self.events[row["index"]]["type"] == event_type
        ]
        row = rows[number]
        salt, name, value = orjson.loads(unb64url(row["disclosure"]))
        change(value)
        row["disclosure"] = disclosure(unb64url(salt), name, value)
        self.events[row["index"]]["data"]["sealed"][block] = digest(row["disclosure"])

    def made(self) -> bytes:
        """The export with everything that follows re-made under a key of the forger's own."""
        key = SignerKey("forger.example/log", Ed25519PrivateKey.generate())
        origin = Checkpoint.parse(self.files["checkpoint"].decode().split("\n\n")[0] + "\n").origin
        self.events[0]["data"]["verifier_key"] = str(key.verifier)
        leaves = [canonical(event) for event in self.events]
        hashes = [leaf_hash(leaf) for leaf in leaves]
        note = sign_note(Checkpoint(origin, len(leaves), root(hashes)).text, key)
        files = {name: content for name, content in self.files.items() if not name.startswith("checkpoints/")}
        files |= {
            "events.ndjson": b"".join(leaf + b"\n" for leaf in leaves),
            "openings.ndjson": b"".join(canonical(row) + b"\n" for row in self.openings),
            "checkpoint": note,
            f"checkpoints/{len(leaves)}": note,
            "keys/log.vkey": f"{key.verifier}\n".encode(),
        }
        return pack(files)


def test_a_forger_who_changes_nothing_is_found_by_the_policy_alone(shipped: Played, export: bytes) -> None:
    made = Forger(export).made()
    assert verify(made).exit_code == 0
    report = verify(made, (shipped.out / "policy.txt").read_text(encoding="utf-8"))
    assert report.exit_code == 1
    assert "policy" in report.findings[0]


def raise_total(scores: Any) -> None:
    scores["total"] = {"num": 1, "den": 1}


def lower_point(points: Any) -> None:
    for criterion in points["points"]:
        points["points"][criterion] = 0


def promote(outcome: Any) -> None:
    outcome["total"] = {"num": 99, "den": 100}


def longer_list(claims: Any) -> None:
    claims["facts"]["gis_integrated"] = not claims["facts"]["gis_integrated"]


@pytest.mark.parametrize(
    ("event_type", "block", "change"),
    [
        ("scoring.application.scored.v1", "scores", raise_total),
        ("scoring.review.submitted.v1", "scores", lower_point),
        ("awards.decision.proposed.v1", "scores", promote),
        ("awards.decision.made.v1", "scores", promote),
        ("awards.designation.granted.v1", "scores", promote),
        ("intake.application.submitted.v1", "claims", longer_list),
    ],
    ids=["score", "review", "proposal", "decision", "grant", "fact"],
)
@pytest.mark.parametrize("number", [0, 5])
def test_a_change_made_consistently_with_all_hashes_is_caught_by_the_re_run(
    export: bytes, event_type: str, block: str, change: Callable[[Any], None], number: int
) -> None:
    forger = Forger(export)
    forger.rewrite(event_type, block, change, number)
    report = verify(forger.made())
    assert report.exit_code == 1
    assert not any("root" in finding or "digest" in finding for finding in report.findings)


def test_a_public_export_that_opens_a_declined_applicants_block_is_refused(shipped: Played, export: bytes) -> None:
    declined = ids_of_the_fictional(shipped)
    auditor = unpack((shipped.out / f"{CYCLE}-auditor.zip").read_bytes())["openings.ndjson"].splitlines()
    forger = Forger(export)
    extra = [row for row in map(orjson.loads, auditor) if row["event"] in declined and row["block"] == "identity"]
    forger.openings = sorted([*forger.openings, *extra], key=lambda row: (row["index"], row["block"]))
    report = verify(forger.made())
    assert report.exit_code == 1
    assert any("which the charter keeps sealed" in finding for finding in report.findings)


def test_a_public_export_that_withholds_a_designees_review_is_refused(export: bytes) -> None:
    forger = Forger(export)
    review = next(
        row for row in forger.openings if forger.events[row["index"]]["type"] == "scoring.review.submitted.v1"
    )
    forger.openings.remove(review)
    report = verify(forger.made())
    assert report.exit_code == 1
    assert any("withholds" in finding for finding in report.findings)


def test_an_event_left_out_is_a_gap(export: bytes) -> None:
    forger = Forger(export)
    gone = next(n for n, event in enumerate(forger.events) if event["type"] == "scoring.review.submitted.v1")
    del forger.events[gone]
    forger.openings = [
        {**row, "index": row["index"] - (row["index"] > gone)} for row in forger.openings if row["index"] != gone
    ]
    report = verify(forger.made())
    assert report.exit_code == 1
    assert any("sequence" in finding for finding in report.findings)


def test_a_redacted_leaf_keeps_the_tree_and_makes_the_answer_incomplete(shipped: Played) -> None:
    files = unpack((shipped.out / f"{CYCLE}.zip").read_bytes())
    lines = files["events.ndjson"].splitlines()
    last = len(lines) - 1
    lines[last] = canonical({"redacted": leaf_hash(lines[last]).hex()})
    openings = [row for row in files["openings.ndjson"].splitlines() if orjson.loads(row)["index"] != last]
    files["events.ndjson"] = b"".join(line + b"\n" for line in lines)
    files["openings.ndjson"] = b"".join(row + b"\n" for row in openings)
    report = verify(pack(files))
    assert (report.exit_code, report.redacted, report.findings) == (2, 1, [])


def test_the_charter_in_the_export_is_the_one_that_was_opened_under(export: bytes) -> None:
    files = unpack(export)
    assert (
        sha256(files["charter.toml"]).hexdigest()
        == orjson.loads(files["events.ndjson"].splitlines()[1])["data"]["charter_sha256"]
    )
    files["charter.toml"] += b"\n"
    report = verify(pack(files))
    assert any("charter.toml" in finding for finding in report.findings)


def test_the_file_of_an_export_on_disk_needs_no_server(shipped: Played, tmp_path: Path) -> None:
    copy = tmp_path / "copy.zip"
    copy.write_bytes(shipped.export(CYCLE))
    ended = subprocess.run(
        [sys.executable, "-m", "services.cli", "ledger", "verify", str(copy)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0
