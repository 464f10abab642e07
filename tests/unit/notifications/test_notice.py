"""What a notice says, and what it must not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path

import orjson
import pytest

from schemas.applications import Identity
from schemas.charter import Charter
from schemas.cycles import CohortAnnounced, Highlight
from schemas.designations import DesignationExpired, DesignationGranted, Outcome, RenewalDue
from schemas.envelope import Event, Header
from schemas.exact import Ratio, SetDigest
from services.chassis.ids import event_id
from services.notifications import notice
from services.notifications.domain import Place
from services.notifications.notice import Cycle, Grant

PROGRAMS = Path(__file__).parents[3] / "deploy" / "programs"
CHARTER = Charter.parse((PROGRAMS / "citizen-engaged-communities.toml").read_text(encoding="utf-8"))
OTHER = Charter.parse((PROGRAMS / "servicio-claro.toml").read_text(encoding="utf-8"))


def header(event: Event) -> Header:
    return Header(
        id=event_id(),
        type=event.TYPE,
        source=event.source(),
        subject=event.subject,
        time=datetime(2011, 10, 3, tzinfo=UTC),
        sequence=1,
        cycleid="2011-2013",
        causationid="earlier",
        actor="somebody",
    )


def grant(level: str = "designated") -> Grant:
    event = DesignationGranted(
        cycle="2011-2013",
        designation="d1",
        application="a1",
        decided="decided",
        starts_on=date(2011, 10, 17),
        ends_on=date(2013, 10, 17),
        identity=Identity(
            government="g1",
            name="Boston",
            state="Massachusetts",
            kind="city",
            population=617_594,
            population_source="2010 Census",
            website="https://www.boston.gov",
            tier="t4",
        ),
        scores=Outcome(level=level, total=Ratio.of(Fraction(3, 4)), unmet=[]),
    )
    return Grant(header(event), event)


def cycle(charter: Charter = CHARTER, *, demonstration: bool = False) -> Cycle:
    return Cycle("2011-2013", charter, demonstration, announced=True)


def opening(*blocks: str) -> Cycle:
    disclosure = CHARTER.disclosure.model_copy(update={"designated": blocks})
    return cycle(CHARTER.model_copy(update={"disclosure": disclosure}))


def test_an_award_is_the_event_with_what_the_charter_opens_and_a_line_for_people() -> None:
    granted = grant()
    made = notice.award(cycle(), granted)
    body = orjson.loads(made.message.body)
    assert body == {
        "specversion": "1.0",
        "id": granted.header.id,
        "type": "awards.designation.granted.v1",
        "source": "/awards",
        "subject": "d1",
        "time": "2011-10-03T00:00:00.000Z",
        "sequence": 1,
        "cycleid": "2011-2013",
        "causationid": "earlier",
        "datacontenttype": "application/json",
        "dataschema": "/schemas/awards.designation.granted.v1.json",
        "data": {
            "application": "a1",
            "decided": "decided",
            "starts_on": "2011-10-17",
            "ends_on": "2013-10-17",
            "identity": body["data"]["identity"],
            "scores": {"level": "designated", "total": {"num": 3, "den": 4}, "unmet": []},
            "summary": "Boston, Massachusetts is designated Citizen-Engaged Community until 2013-10-17.",
        },
    }
    assert body["data"]["identity"]["website"] == "https://www.boston.gov"
    assert made.topic.places == (Place("Boston", "Massachusetts", "t4"),)
    assert (made.message.id, made.message.subject) == (granted.header.id, "d1")


def test_a_demonstration_says_so_and_that_its_scores_are_simulated() -> None:
    data = orjson.loads(notice.award(cycle(demonstration=True), grant()).message.body)["data"]
    assert data["summary"] == (
        "DEMONSTRATION: Boston, Massachusetts is designated Citizen-Engaged Community until 2013-10-17"
        " (scores simulated)."
    )
    assert data["demonstration"] is True
    assert data["scores"]["simulated"] is True


def test_what_the_charter_keeps_sealed_is_neither_told_nor_found_by_a_filter() -> None:
    made = notice.award(opening("scores"), grant())
    assert b"Boston" not in made.message.body
    assert b"boston" not in made.message.body
    assert made.topic.places == ()
    assert "A government that is not named is designated Citizen-Engaged Community" in made.message.body.decode()
    data = orjson.loads(notice.award(opening("identity"), grant()).message.body)["data"]
    assert "scores" not in data
    assert data["summary"] == "Boston, Massachusetts is designated by Citizen-Engaged Communities until 2013-10-17."


def test_another_charters_levels_are_called_by_their_own_names() -> None:
    level = OTHER.levels[-1]
    data = orjson.loads(notice.award(cycle(OTHER), grant(level.id)).message.body)["data"]
    assert level.name in data["summary"]


def test_renewal_and_expiry_name_the_government_and_open_no_scores() -> None:
    due = RenewalDue(cycle="2011-2013", designation="d1", days=180, ends_on=date(2013, 10, 17))
    over = DesignationExpired(cycle="2011-2013", designation="d1", ended_on=date(2013, 10, 17))
    renewal = orjson.loads(notice.renewal_due(cycle(), grant(), due, header(due)).message.body)["data"]
    expiry = orjson.loads(notice.expiry(cycle(), grant(), over, header(over)).message.body)["data"]
    assert renewal["summary"] == (
        "Boston, Massachusetts: the designation ends on 2013-10-17; renewal is due (180 days' notice)."
    )
    assert expiry["summary"] == "Boston, Massachusetts: the designation ended on 2013-10-17."
    for data in (renewal, expiry):
        assert data["identity"]["name"] == "Boston"
        assert "scores" not in data


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (0, "Citizen-Engaged Communities 2011-2013: no governments are designated."),
        (1, "Citizen-Engaged Communities 2011-2013: 1 government is designated."),
        (10, "Citizen-Engaged Communities 2011-2013: 10 governments are designated."),
    ],
)
def test_the_announcement_brings_highlights_and_narrative_as_they_are_worded(count: int, line: str) -> None:
    designations = SetDigest.of(str(n) for n in range(count))
    highlight = Highlight(id="crm", scope="all", text="All have a CRM", assumed=True, counted=[designations])
    event = CohortAnnounced(
        cycle="2011-2013",
        announced_on=date(2011, 10, 17),
        designations=designations,
        highlights=[highlight],
        narrative=["They are creative."],
    )
    made = notice.announcement(cycle(), [grant()], event, header(event))
    data = orjson.loads(made.message.body)["data"]
    assert data["summary"] == line
    assert data["highlights"] == [highlight.model_dump(mode="json")]
    assert data["narrative"] == ["They are creative."]
    assert made.topic.places == (Place("Boston", "Massachusetts", "t4"),)


def test_no_notice_names_who_acted_or_gives_a_salt() -> None:
    body = orjson.loads(notice.award(cycle(), grant()).message.body)
    assert not {"actor", "salt"} & body.keys()
    assert not {"sealed", "disclosures"} & body["data"].keys()
