"""What an official attests to: what becomes public of an application, if designated and if not, and what never does.

Made of the charter's disclosure alone, so that it is the same for everyone in a cycle; its digest says which list was
seen. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from schemas.charter import Block, Charter
from services.chassis.refusal import Violation

_OPENED: dict[Block, str] = {
    "identity": "the government's name, state, kind, population with its source, web site and tier",
    "claims": "every fact and metric as stated, with what is marked assumed, and the figures of evidence probes",
    "answers": "the statements with their evidence, and why a criterion was called not applicable",
    "scores": "every reviewer's points, and the shares, totals and outcome that follow from them",
}
CONFIDENTIAL = ("/contact/official", "/contact/title", "/contact/email")
"""What no announcement opens, whatever the charter says."""


@dataclass(frozen=True)
class Terms:
    """The list, line by line."""

    program: str
    designated: tuple[str, ...]
    not_designated: tuple[str, ...]
    never: tuple[str, ...]

    @classmethod
    def of(cls, charter: Charter) -> Terms:
        """What this charter makes of an application."""
        opened = charter.disclosure
        ever = {*opened.designated, *opened.not_designated}
        return cls(
            program=charter.program.name,
            designated=(
                *(_OPENED[block] for block in opened.designated),
                "the channels by which residents reach the government: 311, phone, portal and the like",
                "a single answer as a best practice, if the government consents to that then",
            ),
            not_designated=tuple(_OPENED[block] for block in opened.not_designated),
            never=(
                "the official's name, title and e-mail address",
                "reviewers' reasons and comments, which the government itself gets to read",
                *(text for block, text in _OPENED.items() if block not in ever),
                "the draft: its history and its comments, which only the government's people see",
            ),
        )

    @cached_property
    def text(self) -> str:
        """The whole list in plain words."""
        return "\n".join(
            [
                f"{self.program}: what I attest to",
                "",
                "I am authorised to speak for this government. To the best of my knowledge, what the application says",
                "is accurate, and it holds no personal data of residents.",
                "",
                "If the government is designated, this becomes public at the announcement:",
                *_listed(self.designated),
                "",
                "If it is not designated, is ineligible or withdraws, this becomes public:",
                *_listed(self.not_designated),
                "",
                "The program never publishes:",
                *_listed(self.never),
                "",
                "Anyone can see how many applied and when something was recorded, never by whom. What the program does",
                "not publish, your own public records law may still oblige you to.",
                "",
            ]
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of `text` in UTF-8."""
        return sha256(self.text.encode()).hexdigest()


def _listed(lines: tuple[str, ...]) -> list[str]:
    return [f"- {line}" for line in lines] or ["- nothing"]


def objections(charter: Charter, *, attested: bool, seen: str | None) -> list[Violation]:
    """List what is wrong with an attestation; `seen` is the digest of the list that was shown, where it was told."""
    found = []
    if not attested:
        detail = "An authorised official must attest to accuracy and to what becomes public: send attest true."
        found.append(Violation("not-attested", detail, "/attest"))
    if seen is not None and seen != Terms.of(charter).digest:
        detail = "This is not the list of what becomes public in this cycle: read it again and attest to that."
        found.append(Violation("attestation-changed", detail, "/sha256"))
    return found
