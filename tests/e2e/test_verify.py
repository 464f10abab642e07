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
from schemas.exact import SetDigest
from services.chassis.archive import pack, unpack
from services.chassis.ids import event_id
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


def test_the_command_says_no_to_a_changed_export_and_exits_1(export: bytes, tmp_path: Path) -> None:
    changed = bytearray(export)
    changed[len(changed) // 2] ^= 1
    (tmp_path / "changed.zip").write_bytes(changed)
    command = [sys.executable, "-m", "services.cli", "ledger", "verify", str(tmp_path / "changed.zip")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "DOES NOT HOLD" in ended.stdout


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
    events, governments = ids_of_the_fictional(shipped)
    for line in unpack(export)["openings.ndjson"].splitlines():
        assert orjson.loads(line)["event"] not in events
    assert len(governments) == 3
    for government in governments:
        assert government not in plain


def opened_text(export: bytes) -> str:
    """Everything in an export that can be read, openings decoded."""
    files = unpack(export)
    decoded = b"\n".join(unb64url(orjson.loads(line)["disclosure"]) for line in files["openings.ndjson"].splitlines())
    return (b"\n".join(files.values()) + decoded).decode(errors="replace")


def ids_of_the_fictional(shipped: Played) -> tuple[set[str], set[str]]:
    """The event ids of all that concerns the three, from the auditor's export; also their governments' ids."""
    files = unpack((shipped.out / f"{CYCLE}-auditor.zip").read_bytes())
    openings = [orjson.loads(line) for line in files["openings.ndjson"].splitlines()]
    fictional = [row for row in openings if row["block"] == "identity" and b".example" in unb64url(row["disclosure"])]
    indexes = {row["index"] for row in fictional}
    governments = {str(orjson.loads(unb64url(row["disclosure"]))[2]["government"]) for row in fictional}
    events = [orjson.loads(line) for line in files["events.ndjson"].splitlines()]
    subjects = {events[index]["subject"] for index in indexes}
    assert len(subjects) == 3
    return {event["id"] for event in events if event["subject"] in subjects}, governments


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

    def drop(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Leave events out, with their openings, and number the rest anew."""
        keep = [n for n, event in enumerate(self.events) if not wanted(event)]
        assert len(keep) < len(self.events)
        place = {old: new for new, old in enumerate(keep)}
        self.openings = [{**row, "index": place[row["index"]]} for row in self.openings if row["index"] in place]
        self.events = [self.events[n] for n in keep]
        self.number_anew()

    def number_anew(self) -> None:
        last: dict[tuple[str, str], int] = {}
        for event in self.events:
            key = event["source"], event["subject"]
            last[key] = event["sequence"] = last.get(key, 0) + 1

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


def of_type(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: bool(event["type"] == name)


@pytest.mark.parametrize(
    ("left_out", "finding"),
    [
        ("intake.cycle.closed.v1", "never closed"),
        ("awards.cohort.announced.v1", "not announced"),
        ("awards.renewal.due.v1", "without the charter's renewal notices"),
    ],
)
def test_what_must_have_happened_cannot_be_left_out(export: bytes, left_out: str, finding: str) -> None:
    forger = Forger(export)
    gone = {event["id"] for event in forger.events if event["type"] == left_out}
    forger.drop(of_type(left_out))
    for event in forger.events:
        if event.get("causationid") in gone:
            del event["causationid"]
    report = verify(forger.made())
    assert report.exit_code == 1
    assert any(finding in one for one in report.findings), report.findings


def test_a_review_left_out_with_its_seat_is_one_too_few(export: bytes) -> None:
    forger = Forger(export)
    review = next(event for event in forger.events if event["type"] == "scoring.review.submitted.v1")
    alias, gone = review["data"]["review"], review["id"]
    forger.drop(lambda event: event["data"].get("review") == alias)
    for event in forger.events:
        if gone in event["data"].get("reviews", []):
            event["data"]["reviews"].remove(gone)
        if event.get("causationid") == gone:
            del event["causationid"]
    report = verify(forger.made())
    assert report.exit_code == 1
    assert any("which is not what the charter asks for" in one for one in report.findings)


def spoil_points(value: object) -> Callable[[Any], None]:
    def change(scores: Any) -> None:
        scores["points"]["crm"] = value

    return change


@pytest.mark.parametrize("value", [None, "4", True, 7, -1], ids=repr)
def test_points_that_no_reviewer_can_give_are_findings_and_never_a_crash(export: bytes, value: object) -> None:
    forger = Forger(export)
    for number in range(3):
        forger.rewrite("scoring.review.submitted.v1", "scores", spoil_points(value), number)
    report = verify(forger.made())
    assert report.exit_code == 1
    assert report.findings


@pytest.mark.parametrize(
    ("name", "value", "finding"),
    [
        ("time", "2009-01-01T00:00:00.000Z", "dated before"),
        ("cycleid", "1999-2001", "belongs to cycle"),
        ("causationid", "01890000-0000-7000-8000-000000000000", "cause"),
    ],
)
def test_an_envelope_that_does_not_fit_the_log_is_named(export: bytes, name: str, value: str, finding: str) -> None:
    forger = Forger(export)
    review = next(event for event in forger.events if event["type"] == "scoring.review.submitted.v1")
    review[name] = value
    report = verify(forger.made())
    assert report.exit_code == 1
    assert any(finding in one for one in report.findings), report.findings


def test_a_seed_that_is_no_seed_is_a_finding(export: bytes) -> None:
    forger = Forger(export)
    next(filter(of_type("intake.cycle.closed.v1"), forger.events))["data"]["assignment_seed"] = "no hex"
    assert verify(forger.made()).exit_code == 1


def test_an_opening_behind_the_last_line_is_found(shipped: Played, export: bytes) -> None:
    auditor = unpack((shipped.out / f"{CYCLE}-auditor.zip").read_bytes())["openings.ndjson"].splitlines()
    files = unpack(export)
    files["openings.ndjson"] += auditor[0]
    report = verify(pack(files))
    assert any("does not end" in finding for finding in report.findings)


def test_a_file_that_does_not_belong_is_found_and_other_instructions_are_said(export: bytes) -> None:
    files = unpack(export)
    strange = verify(pack({**files, "declined.txt": b"Port Exemplar"}))
    assert any("declined.txt" in finding for finding in strange.findings)
    other = verify(pack({**files, "VERIFY.md": b"Trust us."}))
    assert any("VERIFY.md" in said for said in other.attested)


def test_a_public_export_that_opens_a_declined_applicants_block_is_refused(shipped: Played, export: bytes) -> None:
    declined, _ = ids_of_the_fictional(shipped)
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


@pytest.mark.parametrize("stated", [False, True])
def test_a_close_that_leaves_out_an_amendment_is_found(export: bytes, stated: bool) -> None:
    forger = Forger(export)
    at, closed = next((n, e) for n, e in enumerate(forger.events) if e["type"] == "intake.cycle.closed.v1")
    gone = {event["subject"] for event in forger.events if event["type"] == "intake.application.withdrawn.v1"}
    submitted = [event for event in forger.events if event["type"] == "intake.application.submitted.v1"]
    standing = {event["subject"]: event for event in submitted if event["subject"] not in gone}
    name, before = next(iter(standing.items()))
    standing[name] = amendment = before | {"id": event_id(), "sequence": 2, "data": before["data"] | {"version": 2}}
    forger.events.insert(at, amendment)
    forger.openings = [{**row, "index": row["index"] + (row["index"] >= at)} for row in forger.openings]
    if stated:
        closed["data"]["submitted"] = SetDigest.of(event["id"] for event in standing.values()).model_dump()
    report = verify(forger.made())
    assert report.exit_code == 1
    assert any("not the last versions" in finding for finding in report.findings) is not stated
    assert any("scored from another version" in finding for finding in report.findings)


def test_a_redacted_leaf_excuses_one_missing_number_only(shipped: Played) -> None:
    files = unpack(shipped.export(CYCLE))
    lines = files["events.ndjson"].splitlines()
    reviews = [n for n, line in enumerate(lines) if b"scoring.review.submitted.v1" in line]
    lines[reviews[0]] = canonical({"redacted": leaf_hash(lines[reviews[0]]).hex()})
    del lines[reviews[1]], lines[reviews[2] - 1]
    files["events.ndjson"] = b"".join(line + b"\n" for line in lines)
    report = verify(pack(files))
    assert any("sequence" in finding for finding in report.findings)


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
