"""When two registrations are of one government: the same name, state and kind once spelled alike, or nearly so. Pure.

*Same* is what is equal after normalising (case, accents, punctuation, "City of …", "St." for Saint, a state's postal
code). *Near* is a name in the same state, of whichever kind, that differs by about a letter in six, or only by words
such as "city" or "county". Neither decides anything: a person looks at both.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from rapidfuzz import fuzz, process

Likeness = Literal["same", "near"]

NEAR: Final = 84.0
"""Percent by `rapidfuzz.fuzz.ratio`: "sprngfield" is 95 of "springfield", "springdale" 67."""
SHOWN: Final = 20

_GENERIC: Final = frozenset(
    {"city", "town", "township", "village", "county", "borough", "parish", "municipality", "government", "metro"}
)
_SHORT: Final = {"st": "saint", "ste": "sainte", "ft": "fort", "mt": "mount", "twp": "township", "co": "county"}
_STATES: Final = """
al alabama, ak alaska, az arizona, ar arkansas, ca california, co colorado, ct connecticut, de delaware,
dc district of columbia, fl florida, ga georgia, hi hawaii, id idaho, il illinois, in indiana, ia iowa, ks kansas,
ky kentucky, la louisiana, me maine, md maryland, ma massachusetts, mi michigan, mn minnesota, ms mississippi,
mo missouri, mt montana, ne nebraska, nv nevada, nh new hampshire, nj new jersey, nm new mexico, ny new york,
nc north carolina, nd north dakota, oh ohio, ok oklahoma, or oregon, pa pennsylvania, ri rhode island,
sc south carolina, sd south dakota, tn tennessee, tx texas, ut utah, vt vermont, va virginia, wa washington,
wv west virginia, wi wisconsin, wy wyoming, as american samoa, gu guam, mp northern mariana islands, pr puerto rico,
vi us virgin islands
"""
_POSTAL: Final = dict(pair.strip().split(" ", 1) for pair in _STATES.split(","))


@dataclass(frozen=True)
class Registration:
    """What two registrations are compared by."""

    id: str
    name: str
    state: str
    kind: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Equal for those that are the same."""
        return name_key(self.name, self.kind), state_key(self.state), self.kind


def likenesses(one: Registration, others: Iterable[Registration]) -> dict[str, Likeness]:
    """Which of `others` could be the same government as `one`, by id: those that are the same, then the nearest."""
    key = one.key
    there = {other.id: other for other in others if state_key(other.state) == key[1] and other.id != one.id}
    same = [name for name, other in there.items() if other.key == key]
    cores = {name: _core(other.name, other.kind) for name, other in there.items() if name not in same}
    close = process.extract(
        _core(one.name, one.kind), cores, scorer=fuzz.ratio, score_cutoff=NEAR, limit=max(0, SHOWN - len(same))
    )
    return {**dict.fromkeys(same, "same"), **{name: "near" for _, _, name in close}}


@lru_cache(maxsize=50_000)
def name_key(name: str, kind: str) -> str:
    """A name without what is spelled in more than one way: "The City of St. Paul" is "saint paul"."""
    words = [_SHORT.get(word, word) for word in _plain(name).split()]
    if words[:1] == ["the"]:
        words = words[1:]
    if len(words) > 2 and words[0] in _GENERIC and words[1] == "of":  # noqa: PLR2004  ("city of" and a name)
        words = words[2:]
    # "Polk County", a county, is Polk. But Carson City is called so.
    if len(words) > 1 and words[-1] == kind != "city":
        words = words[:-1]
    return " ".join(words)


@lru_cache(maxsize=1_000)
def state_key(state: str) -> str:
    """A state's name however it is written; "OR" is "oregon"."""
    plain = _plain(state)
    return _POSTAL.get(plain, plain)


def _core(name: str, kind: str) -> str:
    words = name_key(name, kind).split()
    return " ".join([word for word in words if word not in _GENERIC] or words)


def _plain(text: str) -> str:
    """Small letters and digits with single spaces between words, without accents."""
    apart = unicodedata.normalize("NFKD", text).casefold()
    kept = "".join(c if c.isalnum() else " " for c in apart if c not in "'’" and not unicodedata.combining(c))
    return " ".join(kept.split())
