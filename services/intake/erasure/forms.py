"""What is asked and answered about a person who is to be erased."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from services.intake.forms import Given


class Sought(Given):
    """Who is looked for: a person id, an e-mail address, or the subject of an account of the issuer."""

    person: Annotated[str, Field(min_length=1, max_length=254, pattern=r"^[^\x00-\x1f]*$")]
    issuer: Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f]*$")] = ""
    """Empty: the one of the caller's token."""


class SomebodyView(BaseModel):
    """A person as the program knows them."""

    person: str
    issuer: str
    subject: str
    name: str
    email: str


class FoundView(BaseModel):
    """Who was found."""

    people: list[SomebodyView]
