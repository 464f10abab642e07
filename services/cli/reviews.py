"""Signed review commands: the key, the command, and its way to Kafka."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from services.cli.shell import ClientSettings, CommandError, print_json, run, running_here, say

review_app = typer.Typer(help="Make and send signed review commands.", no_args_is_help=True)


@review_app.command("key")
def review_key(
    cycle: Annotated[str, typer.Option(help="The cycle's label.")],
    reviewer: Annotated[str, typer.Option(help="Your reviewer id in this cycle (`GET /scoring/v1/me`).")],
    key: Annotated[Path, typer.Option(help="Your Ed25519 key (JWK); made if it is not there.")],
) -> None:
    """Print what registers your public key: POST it to /scoring/v1/me/keys within minutes, with your token.

    Example: cec review key --cycle 2011-2013 --reviewer ID --key reviewer.jwk > key.json
    """
    from services.chassis.issuer import load_key
    from services.scoring.commands import prove

    held = load_key(key)
    proof = prove(held, reviewer, int(datetime.now(UTC).timestamp()))
    print_json({"cycle": cycle, "jwk": held.as_dict(private=False), "proof": proof})


@review_app.command("sign")
def review_sign(
    review: Annotated[Path, typer.Argument(help="JSON: application, points, recommendation, rationales, comment.")],
    cycle: Annotated[str, typer.Option(help="The cycle's label.")],
    reviewer: Annotated[str, typer.Option(help="Your reviewer id in this cycle (`GET /scoring/v1/me`).")],
    key: Annotated[Path, typer.Option(help="Your Ed25519 key (JWK); made if it is not there.")],
    command_id: Annotated[str | None, typer.Option(help="Give the same id to send the same review again.")] = None,
) -> None:
    """Print a review as a signed command, ready for the topic scoring.submissions.v1.

    Example: cec review sign review.json --cycle 2011-2013 --reviewer ID --key reviewer.jwk > command.jws
    """
    from schemas.reviews import ReviewBody, ReviewCommand
    from services.chassis.ids import opaque_id
    from services.chassis.issuer import load_key
    from services.scoring.commands import sign

    now = int(datetime.now(UTC).timestamp())
    command = ReviewCommand(
        aud="scoring.submissions.v1",
        command_id=command_id or opaque_id(),
        cycle=cycle,
        sub=reviewer,
        iat=now,
        exp=now + 600,
        body=ReviewBody.model_validate_json(review.read_bytes()),
    )
    say(sign(command, load_key(key)))


@review_app.command("post")
def review_post(command: Annotated[Path, typer.Argument(help="A file that `cec review sign` wrote.")]) -> None:
    """Send a signed review command over Kafka.

    Where `cec up` runs with the same data folder, its own Kafka is found.

    Example: CEC_KAFKA_BOOTSTRAP_SERVERS=localhost:9092 cec review post command.jws
    """
    from services.scoring.commands import post

    signed = command.read_text(encoding="utf-8").strip()
    here = running_here()
    bootstrap = ClientSettings().kafka_bootstrap_servers or (here and here.kafka_bootstrap)
    if not bootstrap:
        raise CommandError("set CEC_KAFKA_BOOTSTRAP_SERVERS to the broker's host:port (`cec up` prints it)")
    where = run(post(bootstrap, signed))
    say(f"sent: {where}")
    say(
        "Scoring answers by an event on scoring.events.v1: the review's, or scoring.command.refused.v1 with the reason."
        " Once it is taken, GET /scoring/v1/me/assignments says `submitted`."
    )
