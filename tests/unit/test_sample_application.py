"""The sample application fits the shipped charter, is complete, and is recognizably nobody's."""

from __future__ import annotations

import json

from services.intake.applications import drafts
from services.intake.applications.findings import Ground, obstacles
from services.intake.cycles.domain import parsed
from services.intake.governments.forms import NewGovernment
from tests.applicants import PROGRAMS, SHIPPED

CHARTER = parsed(SHIPPED)
SAMPLE = json.loads((PROGRAMS / "sample-application.json").read_text(encoding="utf-8"))
GOVERNMENT = NewGovernment.model_validate(SAMPLE["government"])


def test_the_sample_could_be_submitted_as_it_stands() -> None:
    draft = drafts.shaped(SAMPLE["draft"], CHARTER)
    assert obstacles(draft, Ground.of(CHARTER, GOVERNMENT.kind, GOVERNMENT.website, draft.contact)) == []
    assert draft.size < 30_000


def test_the_sample_answers_every_criterion_with_a_statement_and_evidence() -> None:
    answers = SAMPLE["draft"]["answers"]
    assert list(answers) == list(CHARTER.criteria(GOVERNMENT.kind))
    assert [name for name, answer in answers.items() if not 60 <= len(answer["statement"].split()) <= 130] == []
    assert [name for name, answer in answers.items() if not answer["evidence"]] == []
    assert not any("not_applicable" in answer for answer in answers.values())


def test_every_page_that_the_sample_names_is_its_own() -> None:
    pages = [evidence["url"] for answer in SAMPLE["draft"]["answers"].values() for evidence in answer["evidence"]]
    assert [page for page in pages if not page.startswith("https://www.sampleton.example/")] == []


def test_the_sample_says_that_it_is_invented() -> None:
    assert SAMPLE["fictional"] is True
    assert GOVERNMENT.website.endswith(".example")
    assert "invented" in " ".join(SAMPLE["notes"])


def test_the_sample_states_as_many_metrics_as_it_says_it_tracks() -> None:
    assert SAMPLE["draft"]["facts"]["metrics_tracked_count"] == len(SAMPLE["draft"]["metrics"])
