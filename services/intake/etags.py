"""If-Match: a change is of what was read, or it is refused."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header

from services.chassis.problems import Problem

IfMatch = Annotated[str | None, Header(max_length=1_000)]


def must_match(if_match: str | None, etag: str, what: str) -> None:
    """Problem 428 without an If-Match, 412 with one that names neither `etag` nor everything (`*`)."""
    if if_match is None:
        raise Problem(428, "if-match", f"Send If-Match with the ETag of {what} as you read it.")
    if not {"*", etag} & {tag.strip() for tag in if_match.split(",")}:
        detail = f"Someone changed {what} meanwhile: read it again and decide on what it is now."
        raise Problem(412, "changed-meanwhile", detail, headers={"ETag": etag})
