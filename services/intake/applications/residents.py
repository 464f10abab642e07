"""What in a text looks like a resident's: phone, social security and plate numbers, e-mail and street addresses.

A warning and no verdict: whoever wrote the text looks again and says that it stands. What is a government's own (its
channels, its domain, any .gov address, toll-free and N11 numbers) is nobody's home, and neither are years, amounts and
ranges. Patterns are those of the United States. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["e-mail address", "phone number", "street address", "social security number", "license plate"]

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@((?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24})(?![\w-])")
_PHONE = re.compile(
    r"(?<![\w.$-])(?:\+?1[ .-]?)?"
    r"(?:\(([2-9]\d\d)\) ?([2-9]\d\d)[ .-](\d{4})|([2-9]\d\d)([ .-])([2-9]\d\d)\5(\d{4})|(?<=\+1)([2-9]\d\d[2-9]\d{6}))"
    r"(?![\w-]|[.,]\d)"
)
_SSN = re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}([- ])(?!00)\d\d\1(?!0000)\d{4}(?![\w-]|[.,]\d)")
_SUFFIX = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Drive|Dr|Lane|Ln|Court|Ct|Place|Pl|Terrace|Ter|Circle|Cir|Way|"
    "Highway|Hwy|Parkway|Pkwy"
)
_STREET = re.compile(
    r"(?<![\w.,$/-])(\d{1,6})[A-Z]? (?:(?:[NSEW]{1,2}\.?|North|South|East|West) )?"
    rf"(?:(?:[A-Z][\w’'-]{{0,30}}|\d{{1,3}}(?:st|nd|rd|th)) ){{1,3}}(?:{_SUFFIX})\b(?! [A-Z][a-z])"
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_DATED = re.compile(
    r"(?i)\b(?:in|since|of|by|until|during|from|for|year|fy|spring|summer|fall|autumn|winter|"
    r"january|february|march|april|may|june|july|august|september|october|november|december),? $"
)
_PLATE = re.compile(
    r"(?i:\b(?:license|licence|number|vehicle|car)[ -](?:plate|tag)s?|\bplates?|\btags?)"
    r"(?: (?i:number|no\.?|is|was|with|reading|of))*[ :#]{1,3}([A-Z0-9]{1,4}[ -]?[A-Z0-9]{2,5})(?![\w-])"
)
_DIGIT = re.compile(r"[0-9]")
_NUMBER = re.compile(r"\d[ .-]\d{4}|\+1\d{10}")
_ROAD = re.compile(rf"(?:{_SUFFIX})\b")
_TAG = re.compile(r"(?i)plate|tag")
"""What any of them has, any phone or social security number, any address, any plate: few texts do, and it is quick."""
_TOLL_FREE = frozenset({"800", "833", "844", "855", "866", "877", "888"})


@dataclass(frozen=True)
class Found:
    """What was found, and how it is written."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Own:
    """What is the government's own: its domains, and its channels as it names them."""

    domains: frozenset[str] = frozenset()
    channels: tuple[str, ...] = ()

    @classmethod
    def of(cls, *, sites: Iterable[str], email: str, channels: Iterable[str]) -> Own:
        """By its web sites or domains, its official's address and the channels that it promotes."""
        named = tuple(channels)
        hosts = {_host(text) for text in (*sites, *(text for text in named if "://" in text))}
        mail = {text.rpartition("@")[2] for text in (email, *named) if "@" in text}
        domains = {name.lower().removeprefix("www.") for name in hosts | mail}
        return cls(frozenset(domains - {""}), named)

    def has_domain(self, domain: str) -> bool:
        """Whether an address there is the government's, or some government's."""
        name = domain.lower()
        return name.endswith((".gov", ".mil")) or any(name == own or name.endswith(f".{own}") for own in self.domains)

    def has_number(self, digits: str) -> bool:
        """Whether one of its channels is this phone number."""
        return any(digits in re.sub(r"\D", "", channel) for channel in self.channels)

    def has_place(self, address: str) -> bool:
        """Whether one of its channels names this street address."""
        return any(address.lower() in channel.lower() for channel in self.channels)


def _host(site: str) -> str:
    """The name in an address, or the bare name itself."""
    try:
        return urlsplit(site if "://" in site else f"//{site}").hostname or ""
    except ValueError:
        return ""


def found(text: str, own: Own = Own()) -> list[Found]:
    """What looks like a resident's in `text`, each once."""
    return list(dict.fromkeys(_each(text, own)))


def _each(text: str, own: Own) -> Iterator[Found]:
    for match in _EMAIL.finditer(text) if "@" in text else ():
        if not own.has_domain(match[1]):
            yield Found("e-mail address", match[0])
    if _DIGIT.search(text):
        yield from _numbered(text, own)


def _numbered(text: str, own: Own) -> Iterator[Found]:
    numbered = _NUMBER.search(text)
    for match in _PHONE.finditer(text) if numbered else ():
        digits = re.sub(r"\D", "", match[0])[-10:]
        if digits[:3] not in _TOLL_FREE and not own.has_number(digits):
            yield Found("phone number", match[0])
    for match in _SSN.finditer(text) if numbered else ():
        yield Found("social security number", match[0])
    for match in _STREET.finditer(text) if _ROAD.search(text) else ():
        dated = _YEAR.fullmatch(match[1]) and _DATED.search(text[max(0, match.start() - 12) : match.start()])
        if not dated and not own.has_place(match[0]):
            yield Found("street address", match[0])
    for match in _PLATE.finditer(text) if _TAG.search(text) else ():
        if re.search(r"\d", match[1]) and re.search(r"[A-Z]", match[1]):
            yield Found("license plate", match[1])
