"""Text as people enter it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Line = Annotated[str, Field(max_length=300, pattern=r"^\P{Cc}*$")]
Prose = Annotated[str, Field(max_length=20_000)]
