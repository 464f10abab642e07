"""A submitted application as PDF: the same bytes for the same version on any machine, by Typst with its own fonts.

Each paragraph runs in the direction of its first letter that has one. The PDF carries the application as JSON, too, so
that no character is lost that the fonts (Latin, Greek, Cyrillic, Hebrew, Arabic) have no picture of.
"""

from __future__ import annotations

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import typst

from schemas.applications import Answer, Claims, Contact, Identity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.charter import Charter
    from services.intake.applications.versions import Version

_TEMPLATE = Path(__file__).with_name("application.typ")
_PRINTER = ThreadPoolExecutor(1, "print")
"""One after the other: the longest application takes a processor for ten seconds, and 200 MB."""
_LINES = 300
"""Of one text, as lines of their own."""


async def printed(version: Version, charter: Charter, document: bytes) -> bytes:
    """The PDF of a version; `document` is its JSON, which is attached."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_PRINTER, _print, layout(version, charter), document)


@cache
def _source() -> bytes:
    return _TEMPLATE.read_bytes()


def _print(data: dict[str, Any], document: bytes) -> bytes:
    inputs = {"data": orjson.dumps(data).decode(), "json": document.decode()}
    made = typst.compile(_source(), format="pdf", sys_inputs=inputs, ignore_system_fonts=True)
    if not isinstance(made, bytes):
        raise TypeError("Typst gave no PDF")
    return made


def layout(version: Version, charter: Charter) -> dict[str, Any]:
    """What is printed, in order."""
    identity = Identity.model_validate(version.content["identity"])
    at = version.submitted_at
    title = f"{identity.name}, {identity.state}"
    name = f"application {version.application}, version {version.version}"
    return {
        "title": title,
        "running": f"{charter.program.name} · {name}",
        "lang": charter.program.language.partition("-")[0],
        "paper": "us-letter" if charter.program.language == "en" else "a4",
        "date": [at.year, at.month, at.day, at.hour, at.minute, at.second],
        "lines": [
            f"{charter.program.name}, {name}",
            f"Submitted {at:%Y-%m-%d %H:%M:%S} UTC by the program's clock, event {version.event}",
            f"Leaf hash {version.leaf_hash.hex()}",
        ],
        "sections": [*_profile(identity), *_answers(version, charter, identity.kind), *_figures(version, charter)],
        "closing": "The attached application.json says the same, character by character, with the signed receipt.",
    }


def _profile(identity: Identity) -> Iterable[dict[str, Any]]:
    lines = [
        f"{identity.kind}, population {identity.population:,} ({identity.population_source})",
        identity.website,
        *([f"tier {identity.tier}"] if identity.tier else []),
    ]
    yield {"title": "Government", "items": [_item("", "\n".join(lines))]}


def _answers(version: Version, charter: Charter, kind: str) -> Iterable[dict[str, Any]]:
    given = {name: Answer.model_validate(answer) for name, answer in version.content["answers"].items()}
    for area in charter.areas:
        items = []
        for criterion in area.applicable(kind):
            answer = given.get(criterion.id, Answer())
            note = "Not applicable:" if answer.not_applicable is not None else ""
            if f"answers/{criterion.id}" in version.erased:
                note = "Erased on request. The leaf keeps its digest."
            mark = f" ({answer.carried.mark} since {answer.carried.since})" if answer.carried else ""
            item = _item(criterion.name + mark, answer.not_applicable or answer.statement, note)
            item["evidence"] = [
                [
                    line
                    for text in (one.url, one.file.name if one.file else "", one.page, one.quote)
                    if text
                    for line in _paragraphs(text)
                ]
                for one in answer.evidence
            ]
            items.append(item)
        yield {"title": area.name, "items": items}


def _figures(version: Version, charter: Charter) -> Iterable[dict[str, Any]]:
    claims = Claims.model_validate(version.content["claims"])
    labels = {fact.id: fact.label for fact in charter.facts}
    facts = [
        _item(labels.get(name, name), _value(value), "assumed" if name in claims.assumed else "")
        for name, value in claims.facts.items()
    ]
    names = {metric.id: metric.name for metric in charter.metrics}
    metrics = [
        _item(
            names.get(metric.id, metric.id),
            f"{metric.value} {metric.unit} ({metric.period})",
            ", ".join(
                word for word, holds in (("published", metric.published), ("simulated", metric.simulated)) if holds
            ),
        )
        for metric in claims.metrics
    ]
    contact = Contact.model_validate(version.content["contact"])
    lines = [f"{contact.official}, {contact.title}", contact.email]
    lines += [f"{name}: {channel}" for name, channel in contact.channels.items()]
    if "contact" in version.erased:
        lines = ["Erased on request. The leaf keeps its digest."]
    yield {"title": "Facts", "items": facts}
    yield {"title": "Metrics", "items": metrics}
    yield {"title": "Contact", "items": [_item("", "\n".join(lines))]}


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _item(title: str, text: str, note: str = "") -> dict[str, Any]:
    return {"title": title, "note": note, "paragraphs": _paragraphs(text), "evidence": []}


def _paragraphs(text: str) -> list[dict[str, Any]]:
    """The lines of a text, those together that follow each other in one direction: a block of its own costs memory."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > _LINES:
        lines = [" ¶ ".join(lines)]  # nobody reads 9,000 lines of one letter, and they would take half a gigabyte
    return [{"text": "\n".join(some), "rtl": rtl} for rtl, some in groupby(lines, _rtl)]


def _rtl(text: str) -> bool:
    """Whether the first letter with a direction goes from right to left (Unicode's rule P2)."""
    for character in text:
        if (direction := unicodedata.bidirectional(character)) in {"L", "R", "AL"}:
            return direction != "L"
    return False
