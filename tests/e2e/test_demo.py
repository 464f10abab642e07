"""The main job, as its user runs it: a whole cycle, announced in the program's own words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.e2e.conftest import PROGRAMS, Play, Played

PAGE = Path(__file__).resolve().parents[3] / "shared" / "domain" / "seeds" / "001_6f552bbf02c8e8af.txt"

HEADING = "Presenting the 2011-2013 Citizen Engaged Communities"
TIERS = {
    "City/County Population: 75,001–150,000": ["Santa Monica, California"],
    "City/County Population: 150,001–300,000": [
        "Chesapeake, Virginia",
        "Durham, North Carolina",
        "Winston-Salem, North Carolina",
    ],
    "City/County Population: 300,001 or more": [
        "Boston, Massachusetts",
        "Denver, Colorado",
        "Indianapolis, Indiana",
        "Kansas City, Missouri",
        "Minneapolis, Minnesota",
        "Philadelphia, Pennsylvania",
    ],
}
ALL_TEN = [
    "Issue service requests, with some dispatching to service crews",
    "Provide multiple language support",
    "Address citizen/user accessibility needs",
    "Utilize Web 2.0/social media tools",
    "Provide multiple self-service options",
    "Track six to sixteen established performance metrics",
]
IN_ADDITION = [
    (
        "Four of the local government designees have implemented mobile channels. "
        "Four governments are in the process of launching mobile channels"
    ),
    "Eight of the ten designees have Service Level Agreements with service departments/agencies",
    "Eight of the ten designees have a centralized or single knowledge-base",
    "Nine of the ten designees have contact center systems integrated with their GIS system",
    (
        "Nine of the ten designees utilize up to seven tools for citizen feedback and are using the data collected to "
        "improve internal business processes"
    ),
    "Nine of the ten designees have a written technology plan that addresses their contact center operations",
]
EDITOR = (
    "Citizen-Engaged Communities designees are also being creative about budget constraints, such as working with "
    "veteran and community groups and educational institutions for agents-in-training and transitioning to more "
    "“virtual agents.”"
)


def flat(text: str) -> str:
    """One line, single spaces: the page's own line breaks mean nothing."""
    return re.sub(r"\s+", " ", text)


def in_order(text: str, parts: list[str]) -> bool:
    at = 0
    for part in parts:
        at = text.find(part, at) + 1
        if not at:
            return False
    return True


def test_the_shipped_cycle_holds_from_opening_to_expiry(shipped: Played) -> None:
    assert shipped.exit_code == 0, shipped.errors
    assert shipped.summary["held"] is True
    assert shipped.summary["events"]["awards.designation.granted.v1"] == 10
    assert shipped.summary["events"]["awards.designation.expired.v1"] == 10
    assert shipped.summary["events"]["awards.renewal.due.v1"] == 30


def test_the_announcement_says_what_the_programs_page_says(shipped: Played) -> None:
    text = flat(shipped.text())
    groups = [part for heading, members in TIERS.items() for part in (heading, *members)]
    assert in_order(text, [HEADING, *groups, "All 10 designees:", *ALL_TEN, "In addition:", *IN_ADDITION, EDITOR])
    assert "up to 75,000" not in text


def test_the_announcement_agrees_with_the_page_itself_where_it_is_at_hand(shipped: Played) -> None:
    if not PAGE.exists():
        assert HEADING in shipped.text()
        return
    page = re.sub(r"\s", "", PAGE.read_text(encoding="utf-8"))  # it also breaks lines after hyphens
    names = [name for group in TIERS.values() for name in group]
    for part in (HEADING, *TIERS, *names, *ALL_TEN, *IN_ADDITION, EDITOR):
        assert re.sub(r"\s", "", part) in page
        assert part in flat(shipped.text())


def test_every_form_of_the_announcement_is_written(shipped: Played) -> None:
    for ending in ("txt", "md", "html", "json"):
        assert "Santa Monica" in (shipped.out / f"announcement.{ending}").read_text(encoding="utf-8")
    provenance = json.loads((shipped.out / "announcement.json").read_text(encoding="utf-8"))
    assert "simulated" in json.dumps(provenance)


def test_what_is_assumed_or_simulated_says_so_in_every_form(shipped: Played) -> None:
    for ending in ("txt", "md", "html", "json"):
        text = (shipped.out / f"announcement.{ending}").read_text(encoding="utf-8").lower()
        assert "assumed" in text
        assert "simulated" in text


def test_a_subscriber_got_every_notice_and_none_before_the_announcement(shipped: Played) -> None:
    assert shipped.summary["notices"] == {
        "awards.cohort.announced.v1": 1,
        "awards.designation.granted.v1": 10,
        "awards.renewal.due.v1": 30,
        "awards.designation.expired.v1": 10,
    }
    assert shipped.summary["notices_before_announcement"] == 0
    assert shipped.summary["unverified_notices"] == 0


def test_a_higher_cut_off_designates_fewer(variant: Play) -> None:
    raised = variant("cutoff", charter=lambda text: re.sub(r'(?m)^total = "60 %"', 'total = "75 %"', text))
    assert raised.exit_code == 0, raised.errors
    assert 0 < raised.summary["events"]["awards.designation.granted.v1"] < 10


def test_changing_one_fact_of_one_designee_changes_that_highlights_number_word(variant: Play) -> None:
    def without_gis(data: dict[str, Any]) -> None:
        boston = next(one for one in data["applicants"] if one["name"] == "Boston")
        boston["facts"]["gis_integrated"] = False

    played = variant("fact", cohort=without_gis)
    assert played.exit_code == 0, played.errors
    text = flat(played.text())
    assert "Eight of the ten designees have contact center systems integrated with their GIS system" in text
    assert in_order(text, [line for line in IN_ADDITION if "GIS" not in line])


def test_removing_one_designee_changes_ten_everywhere(variant: Play) -> None:
    def without_denver(data: dict[str, Any]) -> None:
        data["applicants"] = [one for one in data["applicants"] if one["name"] != "Denver"]

    played = variant("removed", cohort=without_denver)
    assert played.exit_code == 0, played.errors
    text = flat(played.text())
    assert "All 9 designees:" in text
    assert "of the nine designees" in text
    assert "ten designees" not in text
    assert "10 designees" not in text
    assert "Denver" not in text


def test_a_second_charter_of_another_shape_runs_the_whole_way(play: Play) -> None:
    program, cohort = PROGRAMS / "servicio-claro.toml", PROGRAMS / "servicio-claro-2025.json"
    played = play("servicio", "--program", str(program), "--cohort", str(cohort))
    assert played.exit_code == 0, played.errors
    assert played.summary["events"]["awards.designation.granted.v1"] == 5
    assert "Servicio Claro" in played.text()
