"""The shapes that intake's requests share, without any rule beyond their shape."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _given(value: object) -> datetime:
    """The instant in an RFC 3339 text, in UTC and in the whole milliseconds that an event holds."""
    try:
        if isinstance(value, str) and _RFC3339.fullmatch(value):
            moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
            return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{value} is no instant") from error
    raise ValueError('must be an instant with its time zone, such as "2027-05-01T17:00:00-04:00"')


Deadline = Annotated[AwareDatetime, BeforeValidator(_given)]


Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]


Named = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
"""An id in a path."""
Full = Annotated[str, Field(max_length=300, pattern=r"^\P{Cc}*[^\s\p{Cc}]\P{Cc}*$")]


class Given(BaseModel):
    """A request's body: strict, and refusing what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
