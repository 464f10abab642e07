"""Which letters are sent and when again, and what they say in which language."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from string import Formatter
from typing import Any, get_args

import pytest

from schemas.charter import Charter
from schemas.notices import MailFailed, MailSent
from schemas.workdays import Calendar
from services.chassis.ids import event_id
from services.notifications.domain import RETRIES
from services.notifications.mail import domain
from services.notifications.mail.domain import STOPPABLE, TAKEN, Answer, Kind, Letter
from services.notifications.mail.letter import HERE, Origin, language_of, message, stop_page, write
from services.notifications.notice import Cycle
from tests.applicants import SHIPPED, SMALL

NOW = datetime(2027, 4, 24, 12, tzinfo=UTC)
EVENT = event_id()
LETTER = Letter(domain.mail_id(EVENT, "p-1"), EVENT, "reminder")
KINDS: tuple[Kind, ...] = get_args(Kind)
ORIGIN = Origin("https://awards.example", "")
ENGLISH = Charter.parse(SHIPPED).model_copy(update={"calendar": Calendar(zone="America/New_York")})
SPANISH = Charter.parse(SMALL)
SAID = {
    "application": "a-1",
    "government": "Springfield <Oregon>",
    "days": 7,
    "version": 2,
    "deadline": "2027-05-01T21:00:00.000Z",
    "due": "2027-05-01T21:00:00.000Z",
    "incomplete": [
        {"section": f"answers.{ENGLISH.areas[0].id}", "asked": 8, "done": 3},
        {"section": "facts", "asked": 12, "done": 0},
    ],
}


def cycle(charter: Charter = ENGLISH, *, demonstration: bool = False) -> Cycle:
    return Cycle("2027", charter, demonstration, announced=False)


# --- rules ----------------------------------------------------------------------------------------------------------


def test_the_same_letter_to_the_same_reader_has_the_same_id_and_no_other_has() -> None:
    ids = {domain.mail_id(event, reader) for event in (EVENT, event_id()) for reader in ("p-1", "p-2")}
    assert len(ids) == 4
    assert domain.mail_id(EVENT, "p-1") in ids


def test_a_letter_that_the_server_took_is_sent_and_one_that_it_refuses_for_good_bounced() -> None:
    taken = domain.settle(LETTER, TAKEN, NOW, 0)
    assert (taken.state, taken.fact) == ("sent", MailSent(mail=LETTER.mail, event=EVENT, attempts=1))
    bounced = domain.settle(LETTER, Answer(taken=False, code="550 5.1.1", final=True), NOW, 0)
    assert (bounced.state, bounced.why, bounced.next_at) == ("failed", "bounced 550 5.1.1", None)
    assert bounced.fact == MailFailed(mail=LETTER.mail, event=EVENT, attempts=1, why="bounced", code="550 5.1.1")


def test_what_passes_is_tried_again_ever_later_and_given_up_at_last() -> None:
    letter, waits = LETTER, []
    for _ in RETRIES:
        settlement = domain.settle(letter, Answer(taken=False, code="451"), NOW, 0)
        assert (settlement.state, settlement.fact) == ("pending", None)
        waits.append(settlement.next_at or NOW)
        letter = replace(letter, tries=letter.tries + 1)
    assert waits == sorted(waits)
    last = domain.settle(letter, Answer(taken=False, code="451"), NOW, 0)
    assert isinstance(last.fact, MailFailed)
    assert (last.state, last.fact.why, last.fact.attempts) == ("failed", "given-up", len(RETRIES) + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_who_stopped_letters_still_gets_what_answers_their_own_doing(kind: Kind) -> None:
    stopped = replace(LETTER, kind=kind, stopped=True)
    assert domain.needless(stopped, NOW, off=False) == ("stopped" if kind in STOPPABLE else None)


def test_a_letter_about_what_is_over_or_without_a_mail_server_is_dropped() -> None:
    until = replace(LETTER, until=NOW)
    assert domain.needless(until, NOW - timedelta(seconds=1), off=False) is None
    assert domain.needless(until, NOW, off=False) == "late"
    assert domain.needless(LETTER, NOW, off=True) == "off"
    dropped = domain.drop(LETTER, "late")
    assert (dropped.state, dropped.attempted) == ("failed", False)
    assert domain.drop(replace(LETTER, kind="receipt"), "off").fact is None


def test_of_a_servers_answer_only_its_status_is_kept() -> None:
    assert domain.refused(550, "5.1.1 <clerk@town.example>: no such user") == "550 5.1.1"
    assert domain.refused(550, "clerk@town.example is unknown") == "550"


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("charter", [ENGLISH, SPANISH])
@pytest.mark.parametrize("kind", KINDS)
def test_every_letter_is_written_in_the_programs_language_as_text_and_html(kind: Kind, charter: Charter) -> None:
    written = write(kind, SAID, cycle(charter), ORIGIN, "t" * 32)
    assert written.language == charter.program.language
    for form in (written.text, written.html):
        assert charter.program.name in form
        assert "https://awards.example/apply?" in form
        assert "{" not in form
        assert ("/mail/stop/" + "t" * 32 in form) == (kind in STOPPABLE)
    assert "<Oregon>" not in written.html


def test_a_reminder_says_what_is_missing_and_the_deadline_in_the_programs_zone_by_the_servers_clock() -> None:
    text = write("reminder", SAID, cycle(), ORIGIN, "").text
    assert "Saturday, May 1, 2027, 5:00 PM Eastern Daylight Time (2027-05-01 21:00 UTC)" in text
    assert "the server's clock" in text
    assert f"- {ENGLISH.areas[0].name}: 3/8" in text
    assert "- Facts: 0/12" in text
    assert "what is left is to submit it" in write("reminder", {**SAID, "incomplete": []}, cycle(), ORIGIN, "").text
    spanish = write("reminder", SAID, cycle(SPANISH), ORIGIN, "")
    assert "sábado, 1 de mayo de 2027" in spanish.text


def test_letters_of_a_demonstration_say_so_first() -> None:
    written = write("invitation", SAID, cycle(demonstration=True), ORIGIN, "")
    assert written.subject.startswith("DEMONSTRATION: ")
    assert written.text.startswith("DEMONSTRATION\n")
    assert "<p>DEMONSTRATION</p>" in written.html


def test_every_language_says_the_same_things_with_the_same_names() -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(part) for key, part in value.items() if key != "moment"}
        if isinstance(value, list):
            return sorted(name for text in value for name in shape(text))
        return sorted(name for _, name, _, _ in Formatter().parse(value) if name)

    files = {file.stem: shape(tomllib.loads(file.read_text(encoding="utf-8"))) for file in HERE.glob("*.toml")}
    assert files["en"] == files["es"]
    assert set(KINDS) < files["en"].keys()


def test_a_language_that_nobody_translated_gets_english() -> None:
    for language in ("fi", "../en", "en-US"):
        program = ENGLISH.program.model_copy(update={"language": language})
        assert language_of(ENGLISH.model_copy(update={"program": program})) == "en"


def test_a_letter_can_be_stopped_by_one_click_and_names_its_reader_only_where_it_must() -> None:
    written = write("reminder", SAID, cycle(), ORIGIN, "t" * 32)
    made = message(written, mail="m-1", to="jose@town.example", stop="t" * 32, program="CEC", origin=ORIGIN, now=NOW)
    read = message_from_bytes(made.as_bytes(policy=policy.SMTPUTF8), policy=policy.SMTPUTF8)
    assert read["Message-ID"] == "<m-1@awards.example>"
    assert read["List-Unsubscribe"] == f"<https://awards.example/notifications/v1/mail/stop/{'t' * 32}>"
    assert read["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert read["From"] == "CEC <no-reply@awards.example>"
    assert read["Content-Language"] == "en"
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    bare = message(written, mail="m-1", to="a@town.example", stop="", program="CEC", origin=ORIGIN, now=NOW)
    assert "List-Unsubscribe" not in bare


def test_the_address_that_stops_a_letter_is_sent_in_one_piece_however_long_it_is() -> None:
    written = write("reminder", SAID, cycle(), ORIGIN, "t" * 64)
    made = message(written, mail="m-1", to="a@town.example", stop="t" * 64, program="CEC", origin=ORIGIN, now=NOW)
    sent = made.as_bytes(policy=policy.SMTP)
    assert f"List-Unsubscribe: <{ORIGIN.stop('t' * 64)}>\r\n".encode() in sent


@pytest.mark.parametrize(
    "address", ["", "town.example", "a@b@c.example", "jos\u00e9@town.example", "a@town.example\r\nBcc: b@town.example"]
)
def test_what_is_no_address_is_refused_before_the_server_sees_it(address: str) -> None:
    written = write("receipt", SAID, cycle(), ORIGIN, "")
    with pytest.raises(ValueError, match=r"address|newline|addr|CR or LF|non-ASCII"):
        message(written, mail="m", to=address, stop="", program="CEC", origin=ORIGIN, now=NOW)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\u2028", "\x85"])
def test_a_name_with_the_end_of_a_line_in_it_is_written_in_one(end: str) -> None:
    said = {**SAID, "government": f"Spring{end}Bcc: b@town.example"}
    written = write("reminder", said, cycle(), ORIGIN, "t" * 32)
    written = replace(written, subject=f"{written.subject}{end}Bcc: b@town.example")
    made = message(
        written, mail="m", to="a@town.example", stop="", program=f"C{end}Bcc: b@town.example", origin=ORIGIN, now=NOW
    )
    assert "Bcc" not in message_from_bytes(made.as_bytes(policy=policy.SMTPUTF8), policy=policy.SMTPUTF8)


def test_the_page_to_stop_letters_has_a_button_and_afterwards_none() -> None:
    assert re.search(r'<form method="post"><button', stop_page("en", stopped=False))
    assert "<form" not in stop_page("es", stopped=True)
