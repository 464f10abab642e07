"""A letter in words: subject, text and HTML in the language of the cycle's charter, the deadline in its time zone.

What letters say stands in `<language>.toml` beside this file; where there is none for a charter's language, in English.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import default
from email.utils import format_datetime as rfc5322
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from babel.dates import format_datetime
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from services.notifications.mail.domain import STOPPABLE

if TYPE_CHECKING:
    from email.policy import Policy

    from schemas.charter import Charter
    from services.notifications.mail.domain import Kind
    from services.notifications.notice import Cycle

HERE = Path(__file__).parent
FALLBACK = "en"
_JUDGED: frozenset[Kind] = frozenset({"reminder", "invitation", "question"})
"""What names an instant."""
_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


class _OneLine(UnstructuredHeader, BaseHeader):
    """A header that is written as it is, however long its line."""

    def fold(self, *, policy: Policy) -> str:
        # Folded, an address longer than a line becomes an encoded word, which no mail client reads as a link.
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("List-Unsubscribe", _OneLine)


@dataclass(frozen=True)
class Origin:
    """Where letters come from and lead to."""

    public_url: str
    sender: str
    """Their address; empty: `no-reply` at the public host."""

    @property
    def host(self) -> str:
        """The public host's name."""
        return urlsplit(self.public_url).hostname or "localhost"

    def stop(self, token: str) -> str:
        """Where a reader says that it wants no more."""
        return f"{self.public_url}/notifications/v1/mail/stop/{token}"


@dataclass(frozen=True)
class Written:
    """A letter in words."""

    subject: str
    text: str
    html: str
    language: str


def language_of(charter: Charter) -> str:
    """The language that letters of a charter's program are written in."""
    wanted = charter.program.language.partition("-")[0].lower()
    return wanted if wanted.isalpha() and (HERE / f"{wanted}.toml").exists() else FALLBACK


@cache
def wording(language: str) -> dict[str, Any]:
    """What letters say in a language."""
    return tomllib.loads((HERE / f"{language}.toml").read_text(encoding="utf-8"))


def write(kind: Kind, said: dict[str, Any], cycle: Cycle, origin: Origin, stop: str) -> Written:
    """Word a letter; `said` is what `handlers` kept of the event, `stop` the token by which its reader ends them."""
    charter, language = cycle.charter, language_of(cycle.charter)
    words = wording(language)
    named = {"program": charter.program.name, "cycle": cycle.name, **said}
    for instant in ("deadline", "due"):
        if instant in said:
            named[instant] = shown(datetime.fromisoformat(said[instant]), charter, words["moment"], language)
    subject = words[kind]["subject"].format(**named)
    sections = _sections(said.get("incomplete", ()), charter, words)
    lacking = words["reminder"]["lacking" if sections else "complete"] if kind == "reminder" else ""
    parts = {
        "subject": subject,
        "language": language,
        "body": [words["demonstration"].rstrip(": ")] * cycle.demonstration
        + [paragraph.format(**named) for paragraph in words[kind]["body"]],
        "lacking": lacking,
        "sections": sections,
        "link": words[kind]["link"],
        "href": _href(origin, kind, said, cycle),
        "server": words["server"] if kind in _JUDGED else "",
        "stop": words["stop"].format(**named) if kind in STOPPABLE else "",
        "stop_href": origin.stop(stop),
    }
    return Written(
        subject=(words["demonstration"] if cycle.demonstration else "") + subject,
        text=_TEMPLATES.get_template("letter.txt").render(parts).lstrip("\n"),
        html=_TEMPLATES.get_template("letter.html").render(parts),
        language=language,
    )


def shown(moment: datetime, charter: Charter, pattern: str, language: str) -> str:
    """An instant in the program's zone, with the zone's name, and in UTC."""
    local = format_datetime(moment, pattern, tzinfo=ZoneInfo(charter.calendar.zone), locale=language)
    return f"{local} ({moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"


def _sections(incomplete: Any, charter: Charter, words: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: ANN401  (JSON)
    titles = {f"answers.{area.id}": area.name for area in charter.areas} | words["sections"]
    return [{**one, "title": titles.get(one["section"], one["section"])} for one in incomplete]


def _href(origin: Origin, kind: Kind, said: dict[str, Any], cycle: Cycle) -> str:
    if kind == "invitation":
        return f"{origin.public_url}/apply?cycle={quote(cycle.name)}"
    return f"{origin.public_url}/apply?application={quote(said['application'])}"


def message(
    written: Written, *, mail: str, to: str, stop: str, program: str, origin: Origin, now: datetime
) -> EmailMessage:
    """The letter as it is sent; ValueError for an address that is none. `stop` empty: it cannot be stopped."""
    made = EmailMessage(default.clone(header_factory=_HEADERS))
    made["Message-ID"] = f"<{mail}@{origin.host}>"
    made["Date"] = rfc5322(now)
    made["From"] = Address(_line(program), addr_spec=origin.sender or f"no-reply@{origin.host}")
    made["To"] = _address(to)
    made["Subject"] = _line(written.subject)
    made["Auto-Submitted"] = "auto-generated"
    if stop:
        made["List-Unsubscribe"] = f"<{origin.stop(stop)}>"
        made["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    made.set_content(written.text)
    made.add_alternative(written.html, subtype="html")
    made["Content-Language"] = written.language  # last: setting the content takes headers of content away
    return made


def _line(text: str) -> str:
    """A name may hold what a header takes for the end of a line, such as U+2028."""
    return " ".join(text.split())


def _address(text: str) -> Address:
    try:
        return Address(addr_spec=text)
    except (MessageError, IndexError) as error:  # how the parser says so, of some texts
        message = "no e-mail address"
        raise ValueError(message) from error


def stop_page(language: str, *, stopped: bool) -> str:
    """The page on which a reader says that it wants no more letters, and the one after it."""
    words = wording(language)
    return _TEMPLATES.get_template("stop.html").render(
        language=language,
        text=words["stopped" if stopped else "stop_page"],
        button="" if stopped else words["stop_button"],
    )
