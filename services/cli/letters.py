"""What the services could not take."""

from __future__ import annotations

from enum import StrEnum
from time import monotonic, sleep
from typing import Annotated, Any

import typer

from services.cli.shell import AsJson, CommandError, ServiceName, ask, known_service, plain, print_json, say, show

letters_app = typer.Typer(help="Look at what a service could not take, and try it again.", no_args_is_help=True)


class Kept(StrEnum):
    """Why a record is kept."""

    POISON = "poison"
    WAITING = "waiting"


def _letters(service: str, kind: Kept | None = None) -> dict[str, Any]:
    """What a service keeps, all pages of it."""
    params = {"limit": "1000"} | ({"kind": kind.value} if kind else {})
    found: dict[str, Any] = ask("GET", f"/{service}/dead-letters", role="auditor", params=params).json()
    while found["next"]:
        more = ask("GET", f"/{service}/dead-letters", role="auditor", params=params | {"after": found["next"]}).json()
        found |= {"records": found["records"] + more["records"], "next": more["next"]}
    return found


def _place(record: dict[str, Any]) -> str:
    return f"{record['topic']}/{record['partition']}/{record['offset']}"


def _parsed(place: str) -> dict[str, Any]:
    topic, _, rest = place.partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise CommandError(f"{place!r} is no topic/partition/offset: take it from `cec dead-letters list`")
    return {"topic": topic, "partition": int(partition), "offset": int(offset)}


def _age(seconds: int) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


@letters_app.command("list")
def letters_list(
    service: Annotated[str | None, typer.Argument(help="One service; all without it.")] = None,
    kind: Annotated[Kept | None, typer.Option(help="Only what is poison, or only what waits.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what could not take effect: poison, and events that wait for something.

    Example: cec dead-letters list scoring --kind poison
    """
    from schemas.topics import EVENT_TOPICS

    found = {name: _letters(name, kind) for name in ([known_service(service)] if service else EVENT_TOPICS)}
    if as_json:
        print_json(found)
        return
    for name, letters in found.items():
        say(f"{name}: {letters['poison']} poison, {letters['waiting']} waiting")
        for stop in letters["stopped"]:
            say(f"  STOPPED at {_place(stop)} since {stop['since']}: {plain(stop['reason'])}")
        for record in letters["records"]:
            what = f"{record['subject']} {record['sequence']}" if record["subject"] else "unreadable"
            kept = f"{record['kind']}, {_age(record['age_seconds'])}"
            say(plain(f"  {_place(record)}  {kept}, {what}: {record['reason']}"))


@letters_app.command("show")
def letters_show(
    service: ServiceName,
    place: Annotated[str, typer.Argument(help="topic/partition/offset, as `list` prints it.")],
    as_json: AsJson = False,
) -> None:
    """Show one record: why it is kept, and what of it is public.

    Example: cec dead-letters show scoring intake.events.v1/3/1042
    """
    path = f"/{known_service(service)}/dead-letters/{_place(_parsed(place))}"
    show(ask("GET", path, role="auditor").json(), as_json=as_json)


@letters_app.command("redrive")
def letters_redrive(
    service: ServiceName,
    places: Annotated[list[str] | None, typer.Argument(help="topic/partition/offset, one or more.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All poison of the service.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the result.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Try poison again now, in the order of its key, and show what came of it. Exit code 1: some is poison still.

    Example: cec dead-letters redrive scoring intake.events.v1/3/1042
    """
    if bool(places) == everything:
        raise CommandError("name the records as topic/partition/offset, or give --all")
    known_service(service)
    named = [_parsed(place) for place in places or ()]
    body = {} if everything else {"records": named}
    asked = ask("POST", f"/{service}/dead-letters/redrive", role="program-admin", body=body).json()
    if missing := {_place(one) for one in named} - {_place(one) for one in asked}:
        raise CommandError(f"no poison at {', '.join(sorted(missing))}: see `cec dead-letters list {service}`")
    until = monotonic() + wait
    while (left := _letters(service))["again"] and monotonic() < until:
        sleep(0.2)
    kept = {_place(record): record for record in left["records"]}
    results = [{"place": _place(one)} | _came_of(kept.get(_place(one))) for one in asked]
    if as_json:
        print_json(results)
    else:
        for one in results:
            say(plain(f"{one['place']}: {one['result']}" + (f" ({one['reason']})" if one["reason"] else "")))
        say(f"tried again: {len(results)}")
    raise typer.Exit(int(any(one["result"] in {"poison", "not tried yet"} for one in results)))


def _came_of(record: dict[str, Any] | None) -> dict[str, Any]:
    if record is None:
        return {"result": "took effect", "reason": None}
    return {"result": "not tried yet" if record["again"] else record["kind"], "reason": record["reason"]}


@letters_app.command("dismiss")
def letters_dismiss(
    service: ServiceName,
    places: Annotated[list[str], typer.Argument(help="topic/partition/offset, one or more.")],
    reason: Annotated[str, typer.Option(help="How it is known to be none of ours: for the service's log.")],
    as_json: AsJson = False,
) -> None:
    """Drop poison that nobody can read and that is no event of ours: all that is named, or none.

    Example: cec dead-letters dismiss scoring intake.events.v1/3/1042 --reason "a test of the network team"
    """
    body = {"records": [_parsed(place) for place in places], "reason": reason}
    gone = ask("POST", f"/{known_service(service)}/dead-letters/dismiss", role="program-admin", body=body).json()
    if as_json:
        print_json(gone)
    else:
        for one in gone:
            say(f"dismissed {_place(one)}")


@letters_app.command("go-on")
def letters_go_on(service: ServiceName, as_json: AsJson = False) -> None:
    """Have a service that stopped at too much poison set it aside, until an event takes effect.

    Example: cec dead-letters go-on scoring
    """
    stops = ask("POST", f"/{known_service(service)}/dead-letters/go-on", role="program-admin").json()
    if as_json:
        print_json(stops)
    else:
        for stop in stops:
            say(f"goes on at {_place(stop)}")
        say(f"stopped: {len(stops)}")
