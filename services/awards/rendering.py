"""An announcement as plain text, Markdown, an HTML page or JSON; nothing is worded, counted or left out here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, assert_never

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from services.awards.announcement import Announcement, Finding

Format = Literal["text", "markdown", "html", "json"]


def render(announcement: Announcement, form: Format) -> str:
    """The whole announcement in one form, ending with a newline."""
    match form:
        case "text":
            return _TEMPLATES.get_template("announcement.txt").render(a=announcement)
        case "markdown":
            return _TEMPLATES.get_template("announcement.md").render(a=announcement)
        case "html":
            return _TEMPLATES.get_template("announcement.html").render(a=announcement)
        case "json":
            return json.dumps(document(announcement), ensure_ascii=False, indent=2) + "\n"
        case _:
            assert_never(form)


def document(announcement: Announcement) -> dict[str, Any]:
    """The announcement as JSON values: text, whole numbers, lists; each highlight with what it counts."""
    return {
        "form": "cec-announcement/1",
        "program": announcement.program,
        "language": announcement.language,
        "cycle": announcement.label,
        "announced_on": announcement.announced_on.isoformat(),
        "date": announcement.date,
        "heading": announcement.heading,
        "lead": list(announcement.lead),
        "areas_intro": announcement.areas_intro,
        "areas": list(announcement.areas),
        "list_heading": announcement.list_heading,
        "total": announcement.total,
        "groups": [
            {
                "id": group.id,
                "heading": group.heading,
                "designees": [
                    {"designation": member, "name": name}
                    for member, name in zip(group.members, group.designees, strict=True)
                ],
            }
            for group in announcement.groups
        ],
        "highlights_heading": announcement.highlights_heading,
        "sections": [
            {"heading": section.heading, "highlights": [_highlight(finding) for finding in section.findings]}
            for section in announcement.sections
        ],
        "narrative": list(announcement.narrative),
        "simulated": announcement.simulated,
        "notes": list(announcement.notes),
    }


def _highlight(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "scope": finding.scope,
        "text": finding.text,
        "assumed": finding.assumed,
        "sentences": [
            {"text": statement.text, "counts": list(statement.counts), "figures": dict(statement.figures)}
            for statement in finding.statements
        ],
    }


def one_line(text: str) -> str:
    """`text` on one line, so that a name with a line break cannot pass for a line of its own."""
    return " ".join(text.split())


def escaped_markdown(text: str) -> str:
    """`text` on one line with Markdown's marks made plain, so that a name cannot add links, markup or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", one_line(text))


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters["line"] = one_line
_TEMPLATES.filters["md"] = escaped_markdown
