"""What an official attests to follows from the charter's disclosure, and from nothing else."""

from __future__ import annotations

from hashlib import sha256

from services.intake.applications.attestation import CONFIDENTIAL, Terms, objections
from services.intake.cycles.domain import parsed
from tests.applicants import SHIPPED

CHARTER = parsed(SHIPPED)
OPEN = parsed(
    SHIPPED.replace('designated = ["identity", "claims", "scores"]', 'designated = ["identity", "answers"]').replace(
        "not_designated = []", 'not_designated = ["scores"]'
    )
)


def test_the_list_says_what_becomes_public_if_designated_if_not_and_never() -> None:
    terms = Terms.of(CHARTER)
    assert len(terms.designated) == 5
    assert terms.not_designated == ()
    assert any("statements with their evidence" in line for line in terms.never)
    assert "- nothing" in terms.text
    assert all(f"- {line}\n" in terms.text for line in (*terms.designated, *terms.never))
    assert "your own public records law" in terms.text
    assert terms.digest == sha256(terms.text.encode()).hexdigest()
    assert CONFIDENTIAL == ("/contact/official", "/contact/title", "/contact/email")


def test_another_disclosure_is_another_list() -> None:
    assert OPEN.disclosure != CHARTER.disclosure
    terms = Terms.of(OPEN)
    assert any("statements with their evidence" in line for line in terms.designated)
    assert terms.not_designated
    assert terms.digest != Terms.of(CHARTER).digest


def test_an_attestation_to_another_list_or_to_none_is_objected_to() -> None:
    digest = Terms.of(CHARTER).digest
    assert objections(CHARTER, attested=True, seen=None) == objections(CHARTER, attested=True, seen=digest) == []
    assert [one.rule for one in objections(CHARTER, attested=False, seen="0" * 64)] == [
        "not-attested",
        "attestation-changed",
    ]
