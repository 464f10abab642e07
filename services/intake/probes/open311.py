"""Open311 GeoReport v2 as servers really answer it: discovery, services and requests, in JSON or XML.

Pure: bytes in, values out, UnreadableAnswer where they are not what was asked for. XML is read without building a tree,
without a document type, entity or outside reference, to a bounded depth and number of elements. What servers get wrong
is taken as far as its meaning is certain: lists wrapped in an object, a zone or an id left out, empty text for nothing,
a year 1 for no date. Of a request only what figures need is kept: no address, no description, no place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal
from xml.etree.ElementTree import ParseError

import orjson
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

Format = Literal["json", "xml"]

GEOREPORT = "georeport_v2"
DEPTH = 12
ELEMENTS = 500_000
CHUNK = 65_536
"""Bytes parsed at once: in between, other threads get their turn."""
YEARS = range(1990, 2101)
NAME_LIMIT = 60
"""Characters of a channel's name."""

_TYPES: Mapping[Format, re.Pattern[str]] = {
    "json": re.compile(r"(application|text)/([a-z0-9.-]+\+)?json"),
    "xml": re.compile(r"(application|text)/([a-z0-9.-]+\+)?xml"),
}
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_CLOSED = frozenset({"closed", "resolved", "completed"})
_OPEN = frozenset({"open", "opened", "new", "in progress", "in_progress", "received", "acknowledged", "submitted"})
_SIGNS = frozenset({"service_request_id", "service_code", "service_name", "requested_datetime"})
"""By one of these an object is known as a service request."""
_CHANNELS = ("channel", "source", "service_request_channel", "request_channel")


class UnreadableAnswer(ValueError):  # noqa: N818  (named for what it is about)
    """An answer that is not what was asked for. Its text says so without quoting it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server says that its GeoReport v2 interface is, and in which formats it answers there."""

    url: str
    formats: tuple[Format, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What figures need of a service request. Times are as written: with a zone, or without."""

    key: str
    """By which it is one and the same: its id, else its token, else the digest of all that it says."""
    service: str
    status: Literal["open", "closed", ""]
    requested: datetime | None
    updated: datetime | None
    expected: datetime | None
    closed: datetime | None
    """When it was closed, where the server has a field of its own for that."""
    channel: str


def format_of(content_type: str) -> Format:
    """The format that a Content-Type names; UnreadableAnswer for any other."""
    kind = content_type.partition(";")[0].strip().lower()
    for name, pattern in _TYPES.items():
        if pattern.fullmatch(kind):
            return name
    raise UnreadableAnswer("the answer is neither JSON nor XML by its Content-Type")


def read_discovery(content_type: str, body: bytes) -> Endpoint:
    """The GeoReport v2 endpoint that a discovery document names, one in production rather than one for tests."""
    document = _document(content_type, body, "discovery")
    if isinstance(document, dict) and isinstance(document.get("discovery"), dict):
        document = document["discovery"]
    listed = document.get("endpoints") if isinstance(document, dict) else None
    found = [one for one in _several(listed, "endpoint") if GEOREPORT in _text(one.get("specification")).lower()]
    if not found:
        raise UnreadableAnswer("the discovery document names no GeoReport v2 endpoint")
    chosen = min(found, key=lambda one: _text(one.get("type")).lower() != "production")
    formats = [_text(one) for one in _listed(chosen.get("formats"), "format")]
    known = [name for name in _TYPES for kind in formats if _TYPES[name].fullmatch(kind.lower())]
    return Endpoint(_text(chosen.get("url")), tuple(dict.fromkeys(known)) or ("json", "xml"))


def read_services(content_type: str, body: bytes) -> frozenset[str]:
    """The service types that a server lists, by code (by name where that is missing)."""
    items = _listed(_document(content_type, body, "services"), "service", "services")
    found = frozenset(_service(one) for one in items if isinstance(one, dict)) - {""}
    if items and not found:
        raise UnreadableAnswer("the answer is no list of services")
    return found


def read_requests(content_type: str, body: bytes) -> list[Request]:
    """The service requests in an answer, in its order."""
    items = _listed(_document(content_type, body, "service_requests"), "request", "service_requests", "requests")
    found = [_request(one) for one in items if isinstance(one, dict) and not _SIGNS.isdisjoint(one)]
    if items and not found:
        raise UnreadableAnswer("the answer is no list of service requests")
    return found


def distinct(requests: Iterable[Request]) -> list[Request]:
    """The same without what came twice: of two with one key, the later one stands."""
    return list({request.key: request for request in requests}.values())


def _request(item: dict[str, Any]) -> Request:
    extended = item.get("extended_attributes")
    more: dict[str, Any] = extended if isinstance(extended, dict) else {}
    name = _text(item.get("service_request_id")) or _text(item.get("token"))
    status = _text(item.get("status")).lower()
    channel = next((word for field in _CHANNELS for one in (item, more) if (word := _text(one.get(field)))), "")
    return Request(
        key=name or sha256(orjson.dumps(item, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        service=_service(item),
        status="closed" if status in _CLOSED else "open" if status in _OPEN else "",
        requested=_moment(item.get("requested_datetime")),
        updated=_moment(item.get("updated_datetime")),
        expected=_moment(item.get("expected_datetime")),
        closed=_moment(item.get("closed_datetime")) or _moment(more.get("closed_datetime")),
        channel=_plain(channel),
    )


def _service(item: dict[str, Any]) -> str:
    return _text(item.get("service_code")) or _text(item.get("service_name"))


def _moment(value: Any) -> datetime | None:  # noqa: ANN401  (what a stranger sent)
    text = _text(value)
    if not _DATE.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.year in YEARS else None


def _text(value: Any) -> str:  # noqa: ANN401  (likewise)
    """Text and numbers as trimmed text; nothing, lists and objects as none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value).strip()


def _plain(word: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in word[: 2 * NAME_LIMIT]).split())[:NAME_LIMIT]


def _several(document: Any, *names: str) -> list[dict[str, Any]]:  # noqa: ANN401  (likewise)
    return [one for one in _listed(document, *names) if isinstance(one, dict)]


def _listed(document: Any, *names: str) -> Sequence[Any]:  # noqa: ANN401  (likewise)
    """A list, whether bare, alone, or below one of `names`: as JSON has it, XML has it, or a server wraps it."""
    while isinstance(document, dict) and (inner := next((name for name in names if name in document), None)):
        document = document[inner]
    if isinstance(document, list):
        return document
    return [] if document in (None, "") else [document]


def _document(content_type: str, body: bytes, root: str) -> Any:  # noqa: ANN401  (likewise)
    """The document as JSON has it: text, lists and objects; UnreadableAnswer for another one, or an error's."""
    if format_of(content_type) == "json":
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise UnreadableAnswer("the answer is no JSON, though its Content-Type says so") from None
        if not isinstance(document, dict | list):
            raise UnreadableAnswer(f"the answer is no {root} document")
        return document
    name, document = _xml(body)
    if name == "errors":
        raise UnreadableAnswer("the server answers with an error document")
    if name != root:
        raise UnreadableAnswer(f"the answer is no {root} document")
    return document


def _xml(body: bytes) -> tuple[str, Any]:
    """The name of the root and what is in it."""
    reader = _Reader()
    parser = DefusedXMLParser(target=reader, forbid_dtd=True)
    try:
        for at in range(0, len(body), CHUNK):
            parser.feed(body[at : at + CHUNK])
        parser.close()
    except DefusedXmlException:
        raise UnreadableAnswer("the answer is XML with a document type or entities: these are not read") from None
    except UnreadableAnswer:
        raise
    except (ParseError, ValueError, LookupError):
        raise UnreadableAnswer("the answer is no XML, though its Content-Type says so") from None
    return reader.root


class _Reader:
    """Takes a parser's calls and makes text and objects of elements; an element that occurs again makes a list."""

    def __init__(self) -> None:
        self._open: list[tuple[str, dict[str, Any], list[str]]] = []
        self._seen = 0
        self.root: tuple[str, Any] = ("", "")

    def start(self, tag: str, _attributes: Mapping[str, str]) -> None:
        self._seen += 1
        if self._seen > ELEMENTS or len(self._open) == DEPTH:
            raise UnreadableAnswer(f"the answer has more than {ELEMENTS:,} elements, or is deeper than {DEPTH}")
        self._open.append((tag.rpartition("}")[2], {}, []))

    def data(self, text: str) -> None:
        self._open[-1][2].append(text)

    def end(self, _tag: str) -> None:
        name, inside, texts = self._open.pop()
        value: Any = inside or "".join(texts).strip()
        if not self._open:
            self.root = (name, value)
            return
        around = self._open[-1][1]
        if name not in around:
            around[name] = value
        elif isinstance(around[name], list):
            around[name].append(value)
        else:
            around[name] = [around[name], value]
