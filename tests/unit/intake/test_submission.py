"""What is submitted stays as it was: versions, their differences, their print, their receipts."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.applications import ApplicationSubmitted
from schemas.screening import ApplicationClarified
from services.chassis.receipts import ReceiptError, Stated, opened, read_keys, signed
from services.chassis.refusal import RefusedError
from services.chassis.settings import Settings
from services.intake.applications import domain as applications
from services.intake.applications import drafts, receipts
from services.intake.applications.domain import Application
from services.intake.applications.printing import layout, printed
from services.intake.applications.sections import Document, changes, joined, replayed, sections, split, tidy
from services.intake.applications.versions import Version, differences, frozen
from services.intake.cycles.domain import Cycle, open_cycle, parsed
from services.intake.governments.domain import Government
from services.intake.screening.domain import Screened, clarify, evolve_screened, screen
from tests.applicants import SHIPPED, complete_draft
from tests.screened import SCREENED

CHARTER = parsed(SCREENED)
DRAFT = complete_draft(CHARTER, "city")
ONE, TWO = list(CHARTER.criteria("city"))[:2]
OPENS = datetime(2026, 11, 2, 9, tzinfo=UTC)
DEADLINE = datetime(2026, 11, 30, 17, tzinfo=UTC)
SPRINGFIELD = Government("g1", "Springfield", "Oregon", "city", 59_403, "2010 Census", "https://springfield.example")
HEBREW = "\u05e9\u05dc\u05d5\u05dd"
ARABIC = "\u0645\u0631\u062d\u0628\u0627"
SCRIPTS = f"{HEBREW}, {ARABIC}, e\u0301\u0302, \u65e5\u672c, \U0001f469\u200d\U0001f692, \u202eabc\u202c"


def cycle_of(charter: str = SCREENED) -> Cycle:
    event = open_cycle("c", charter, DEADLINE, seed=bytes(32), now=OPENS, taken=False, demonstration=False)
    return Cycle(opened=event, deadline=DEADLINE, closed=False, latest="opened")


# --- any sequence ---------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40).filter(
    str.strip
)


@dataclass
class Intake:
    """One application as its commands leave it, decided by the rules themselves; `acknowledged` is what was taken."""

    cycle: Cycle = field(default_factory=cycle_of)
    pages: dict[str, Document] = field(default_factory=lambda: split(DRAFT, CHARTER))
    history: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    standing: Application | None = None
    versions: list[tuple[Document, Document]] = field(default_factory=list)
    events: list[ApplicationSubmitted] = field(default_factory=list)
    screened: Screened | None = None
    answers: list[tuple[str, str]] = field(default_factory=list)
    clarified: list[ApplicationClarified] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.history = [(name, changes({}, page)) for name, page in self.pages.items()]

    def edit(self, criterion: str, text: str) -> None:
        applications.must_be_editable(self.cycle, self.standing, OPENS)
        name = next(n for n, page in self.pages.items() if criterion in page.get("answers", {}))
        patch = {"answers": {criterion: {"statement": text}}}
        content = tidy(drafts.merged(self.pages[name], patch))
        drafts.shaped(content, CHARTER)
        self.history.append((name, changes(self.pages[name], content)))
        self.pages[name] = content
        self.acknowledged[criterion] = text

    def submit(self, *_: str) -> None:
        content = joined(self.pages)
        warned = applications.check(
            self.cycle, SPRINGFIELD, self.standing, drafts.Draft.model_validate(content), now=OPENS
        )
        if any(one.rule == "not-acknowledged" for one in warned):
            return  # somebody has to look at it first
        event = applications.submit(
            self.cycle,
            SPRINGFIELD,
            "a1",
            self.standing,
            drafts.Draft.model_validate(content),
            attested=True,
            now=OPENS,
        )
        self.standing = applications.evolve_application(self.standing, event, f"s{event.version}")
        self.events.append(event)
        kept = frozen(event)
        self.versions.append((kept, json.loads(json.dumps(kept))))
        for criterion, text in self.acknowledged.items():
            assert kept["answers"][criterion]["statement"] == text

    def withdraw(self, *_: str) -> None:
        event = applications.withdraw(self.cycle, "a1", self.standing, "", now=OPENS)
        self.standing = applications.evolve_application(self.standing, event, "w")

    def ask(self, _: str, text: str) -> None:
        self.cycle = replace(self.cycle, closed=True)
        event = screen(self.cycle, self.standing, self.screened, "sent-back", text=text, now=DEADLINE)
        self.screened = evolve_screened(self.screened, event, f"q{len(self.answers)}")

    def clarify(self, _: str, text: str) -> None:
        event = clarify(self.cycle, self.screened, text, now=DEADLINE + timedelta(hours=1))
        self.screened = evolve_screened(self.screened, event, "answer")
        self.clarified.append(event)
        self.answers.append((event.question, text))


COMMANDS = st.tuples(
    st.sampled_from(["edit", "edit", "submit", "withdraw", "ask", "clarify"]), st.sampled_from([ONE, TWO]), TEXT
)


@settings(max_examples=200)
@given(st.lists(COMMANDS, max_size=25))
def test_no_sequence_loses_an_acknowledged_character_or_changes_a_submitted_version(
    commands: list[tuple[str, str, str]],
) -> None:
    intake = Intake()
    for command, criterion, text in commands:
        try:
            getattr(intake, command)(criterion, text)
        except RefusedError:
            continue
        for name, page in intake.pages.items():
            assert replayed(change for section, change in intake.history if section == name) == page
        for criterion_, said in intake.acknowledged.items():
            assert joined(intake.pages)["answers"][criterion_]["statement"] == said
        for event, (kept, as_then) in zip(intake.events, intake.versions, strict=True):
            assert kept == as_then == frozen(event)
        assert [(one.question, one.private and one.private.text) for one in intake.clarified] == intake.answers


# --- versions -------------------------------------------------------------------------------------------------------


def submitted(**statements: str) -> ApplicationSubmitted:
    answers = {**DRAFT["answers"], **{name: {"statement": text} for name, text in statements.items()}}
    draft = drafts.shaped({**DRAFT, "answers": answers}, CHARTER)
    return applications.submit(cycle_of(), SPRINGFIELD, "a1", None, draft, attested=True, now=OPENS)


def test_a_version_holds_every_block_of_its_event_and_every_character() -> None:
    event = submitted(**{ONE: SCRIPTS})
    content = frozen(event)
    assert {name.partition("/")[0] for name in event.blocks()} == content.keys()
    assert content["answers"][ONE]["statement"] == SCRIPTS


def test_two_versions_differ_in_the_fields_that_were_amended_and_in_no_other() -> None:
    before, after = frozen(submitted(**{ONE: "old"})), frozen(submitted(**{ONE: "new"}))
    (found,) = differences(before, after)
    assert (found.field, found.before, found.after) == (f"/answers/{ONE}/statement", "old", "new")
    assert differences(after, after) == []


def version_of(event: ApplicationSubmitted) -> Version:
    return Version("a1", 1, "e1", bytes(32), OPENS, frozen(event), "a.b.c")


async def test_the_print_has_the_same_bytes_every_time_and_carries_its_json() -> None:
    version = version_of(submitted(**{ONE: SCRIPTS}))
    document = json.dumps(version.content).encode()
    first, second = await printed(version, CHARTER, document), await printed(version, CHARTER, document)
    assert first == second
    assert first.startswith(b"%PDF-")
    assert b"application.json" in first
    assert document in [
        zlib.decompress(raw) for raw in re.findall(rb"stream\r?\n(x.*?)\r?\nendstream", first, re.DOTALL)
    ]
    assert await printed(version_of(submitted(**{ONE: "other"})), CHARTER, document) != first


def test_what_runs_from_right_to_left_is_set_so_and_nothing_that_was_written_is_left_out() -> None:
    version = version_of(submitted(**{ONE: f"Hello\n{HEBREW}\n{ARABIC}\nworld"}))
    items = [item for section in layout(version, CHARTER)["sections"] for item in section["items"]]
    item = next(one for one in items if one["paragraphs"] and one["paragraphs"][0]["text"] == "Hello")
    assert [(one["text"], one["rtl"]) for one in item["paragraphs"]] == [
        ("Hello", False),
        (f"{HEBREW}\n{ARABIC}", True),
        ("world", False),
    ]


async def test_text_is_never_read_as_markup() -> None:
    evil = '#read("/etc/passwd") #panic("x") $ 1/0 $ *b* @ref <label> // comment \\ #import "x"'
    version = version_of(submitted(**{ONE: evil}))
    assert (await printed(version, CHARTER, b"{}")).startswith(b"%PDF-")


# --- receipts -------------------------------------------------------------------------------------------------------

STATED = Stated(
    iss="https://program.example",
    cycle="c",
    application="a1",
    version=1,
    event="e1",
    leaf_hash="00" * 32,
    submitted_at=OPENS,
)


def test_a_receipt_says_what_was_signed_to_whoever_has_the_public_key(tmp_path: Path) -> None:
    here = Settings(var=tmp_path)
    receipt = signed(STATED, receipts.key_of(here))
    keys = read_keys(json.dumps(receipts.public_keys(here).as_dict(private=False)))
    assert opened(receipt, keys) == STATED
    assert opened(json.dumps({"version": 1, "receipt": receipt}), keys) == STATED
    (public,) = receipts.public_keys(here).as_dict(private=False)["keys"]
    assert set(public) == {"kty", "crv", "x", "kid"}
    assert (tmp_path / "keys" / "receipts.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "broken", ["", "{}", "{", "a.b.c", '{"receipt": 1}', "x" * 30_000, "{receipt}x", "other-key", "other-kind"]
)
def test_what_is_no_receipt_of_this_program_is_named(tmp_path: Path, broken: str) -> None:
    here, there = Settings(var=tmp_path / "here"), Settings(var=tmp_path / "there")
    keys = receipts.public_keys(here)
    receipt = signed(STATED, receipts.key_of(here))
    header, payload, signature = receipt.split(".")
    text = {
        "{receipt}x": f"{header}.{payload[:-2]}AA.{signature}",
        "other-key": signed(STATED, receipts.key_of(there)),
        "other-kind": f"{header[:-4]}AAAA.{payload}.{signature}",
    }.get(broken, broken)
    with pytest.raises(ReceiptError):
        opened(text, keys)


@pytest.mark.parametrize("broken", ["", "[]", "{}", '{"keys": [{}]}', '{"keys": 1}'])
def test_a_file_without_keys_is_named(broken: str) -> None:
    with pytest.raises(ReceiptError, match="GET /intake/v1/keys"):
        read_keys(broken)


def test_the_shipped_charter_names_every_section_that_a_version_has() -> None:
    assert set(sections(parsed(SHIPPED))) == set(sections(CHARTER))
