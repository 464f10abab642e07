"""What is looked for when a person is erased: an account, and texts such as a name and an e-mail address. Pure.

A text is found as whole words, whatever its case, however its accents are composed, and whichever space, line break,
underscore, apostrophe or hyphen stands in it; an account only as the pair of issuer and subject, for a subject alone
may be anything.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Annotated, Any
from unicodedata import normalize

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=4, max_length=2_000, pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Account(BaseModel):
    """Whose tokens they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Name
    subject: Name


class SealedBlock(BaseModel):
    """A sealed block of an event, by which a log and all services know it. It says nothing of what is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cycle: Name | None
    """None: the event is in the log `program`."""
    about: Name
    """The event's subject."""
    event: Name
    block: Name
    digest: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]


class Sought(BaseModel):
    """What is to be erased."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    account: Account | None = None
    texts: Annotated[list[Text], Field(max_length=100)] = []
    """Each is erased with the whole field, and with the whole sealed block, in which it occurs."""

    @cached_property
    def needles(self) -> list[str]:
        """What stands, once its A to Z are small, in each text and JSON text in which one of the texts occurs.

        It may stand in others, too: a quick way to few of which `in_text` judges.
        """
        return sorted({needle for text in self.texts for needle in _needles(text)})

    @property
    def escaped_needles(self) -> list[str]:
        """The same for bytes, as PostgreSQL's `encode(…, 'escape')` writes them."""
        return ["".join(map(_escaped, needle.encode())) for needle in self.needles]

    @cached_property
    def _found(self) -> re.Pattern[str] | None:
        # What has no word would be found between any two signs.
        either = "|".join(re.escape(plain) for plain in map(_plain, self.texts) if _BETWEEN.sub("", plain))
        return re.compile(rf"(?<!\w)(?:{either})(?!\w)") if either else None

    def in_text(self, text: str) -> bool:
        """Whether one of the texts occurs."""
        return self._found is not None and self._found.search(_plain(text)) is not None

    def mentioned(self, value: Any) -> bool:  # noqa: ANN401  (any JSON value)
        """Whether one of the texts or the account occurs in a JSON value."""
        match value:
            case str():
                return self.in_text(value)
            case dict():
                return self._is_account(value) or any(map(self.mentioned, (*value, *value.values())))
            case list():
                return any(map(self.mentioned, value))
        return False

    def without(self, value: Any) -> Any:  # noqa: ANN401  (any JSON value)
        """A JSON value with "" for each text in which one of the texts occurs; a member so named is left out."""
        match value:
            case str():
                return "" if self.in_text(value) else value
            case dict():
                return {name: self.without(one) for name, one in value.items() if not self.in_text(name)}
            case list():
                return [self.without(one) for one in value]
        return value

    def _is_account(self, value: dict[str, Any]) -> bool:
        if self.account is None or value.get("issuer") != self.account.issuer:
            return False
        return self.account.subject in (value.get("subject"), value.get("subject_claim"))


_RUN = re.compile(r"[!#-&(-,.-\[\]^`-~]{3,}")
"""What JSON writes as it is, that is written in one way, and no case or accent changes but A to Z."""
_BETWEEN = re.compile(r"[\s_'\-\u2010\u2011\u2018\u2019\u02bc]+")
"""What between the words of a name is written in several ways."""
_SAME = str.maketrans({"\u2010": "-", "\u2011": "-", "\u2018": "'", "\u2019": "'", "\u02bc": "'", "_": " "})
_SMALL = str.maketrans({chr(letter): chr(letter + 32) for letter in range(ord("A"), ord("Z") + 1)})


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", normalize("NFC", text).casefold().translate(_SAME))


def _needles(text: str) -> list[str]:
    if runs := _RUN.findall(normalize("NFC", text)):
        return [max(runs, key=len).translate(_SMALL)]
    # Of another script: its longest word as it may be written, in JSON, too.
    word = max(_BETWEEN.split(text), key=len)
    cased = {form for one in (word, word.lower(), word.upper(), word.title()) for form in (one, _inside(one)) if form}
    return [normalize(form, one).translate(_SMALL) for one in cased for form in ("NFC", "NFD")]


def _inside(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _escaped(byte: int) -> str:
    if byte == ord("\\"):
        return r"\\"
    return chr(byte) if chr(byte).isascii() and byte else f"\\{byte:03o}"
