"""What a domain function raises when a rule forbids a command: which rule, which field, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Violation:
    """One broken rule. `field` is an RFC 6901 pointer into the request, "" for the whole."""

    rule: str
    detail: str
    field: str = ""


def pointer(parts: Sequence[str | int]) -> str:
    """An RFC 6901 JSON pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class RefusedError(Exception):
    """A command that the rules do not allow; carries every violation at once. `status` is the HTTP status to answer."""

    def __init__(self, rule: str, detail: str, *, field: str = "", status: int = 409) -> None:
        super().__init__(detail)
        self.violations: tuple[Violation, ...] = (Violation(rule, detail, field),)
        self.status = status

    @property
    def rule(self) -> str:
        """The first broken rule."""
        return self.violations[0].rule

    @classmethod
    def all(cls, violations: list[Violation], *, status: int = 422) -> RefusedError:
        """One refusal for several violations, at least one."""
        error = cls(violations[0].rule, "; ".join(dict.fromkeys(v.detail for v in violations)), status=status)
        error.violations = tuple(violations)
        return error
