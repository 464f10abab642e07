"""All services on one address with something of everything in them, and nobody outside whom they could call."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.embedded import Stack
from schemas.envelope import rfc3339
from services.chassis.ids import opaque_id
from services.chassis.outbound import Outbound, OutboundFailed
from services.origin import Origin
from tests.applicants import SMALL
from tests.files import CSV
from tests.intake import DRAFT, PROFILE, Intake, Person
from tests.screened import SCREENED

MEDIA = "application/offset+octet-stream"
TUS = {"Tus-Resumable": "1.0.0"}
STAFF = ("program-admin", "auditor", "reviewer", "board", "subscriber", "partner")
METADATA = f"filename {b64encode(b'figures.csv').decode()}"


@dataclass(frozen=True)
class World:
    """Where the services are, who may ask them (tokens by name, "" for nobody), and what there is.

    `known` has the ids and other values that fit, by the name of the parameter or field; `headers` likewise.
    """

    url: str
    tokens: dict[str, str]
    known: dict[str, list[Any]]
    headers: dict[str, list[str]]


@asynccontextmanager
async def made(stack: Stack, var: Path) -> AsyncIterator[World]:
    """The world, as long as it is needed."""
    overrides = {"var": var, "public_url": "http://127.0.0.1:0", "database_prefix": f"o{opaque_id()[:8]}_"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outbound, "request", _unreachable)
        async with (
            Origin(overrides, kafka_bootstrap=stack.kafka_bootstrap, postgres_dsn=stack.postgres_dsn) as origin,
            httpx.AsyncClient(base_url=f"{origin.url}/intake", timeout=60, trust_env=False) as client,
        ):
            yield await _filled(origin, Intake(origin.services[0], client, origin.issuer))


async def _unreachable(*_: object, **__: object) -> None:
    await asyncio.sleep(0)
    raise OutboundFailed("nobody is there")


async def _filled(origin: Origin, intake: Intake) -> World:
    subjects = {name: opaque_id() for name in ("lead", "editor", "viewer", "stranger")}
    tokens = {name: origin.issuer.token("applicant", subject) for name, subject in subjects.items()}
    tokens["clerk"] = origin.issuer.token("applicant", "clerk-1", email="clerk@springfield.example")
    tokens |= {role: origin.issuer.token(role, f"{role}-1") for role in STAFF}
    lead, admin = intake.person("applicant", subjects["lead"]), intake.admin

    cycles = {name: await intake.cycle(SCREENED, days=30) for name in ("open", "closed", "finished")}
    government = (await lead.made("/governments", {**PROFILE, "email_domain": "springfield.example"}))["government"]
    for role in ("editor", "viewer"):
        await lead.made(f"/governments/{government}/members", {"subject": subjects[role], "role": role})
    invitation = await lead.made(f"/governments/{government}/invitations", {"role": "viewer"})
    members = await lead.got(f"/governments/{government}/members")
    stranger, other = intake.person("applicant", subjects["stranger"]), {**PROFILE, "name": "Shelbyville"}
    governments = [government, (await stranger.made("/governments", other))["government"]]
    clerk = Person(intake.client, tokens["clerk"])
    recovery = await clerk.made(f"/governments/{government}/recoveries", {"reason": "Its lead has left."})

    applications = {name: await _application(lead, cycle, government) for name, cycle in cycles.items()}
    for name in ("closed", "finished"):
        await lead.saved(f"/applications/{applications[name]}", DRAFT)
        await lead.made(f"/applications/{applications[name]}/submit", {"attest": True})
        await admin.made(f"/cycles/{cycles[name]}/close")
    await admin.made(f"/cycles/{cycles['finished']}/screening/finish", {"rest_eligible": True})

    cycles["again"] = await intake.cycle(SCREENED, days=60)
    again = {"government": government, "from": "last"}
    applications["again"] = (await lead.made(f"/cycles/{cycles['again']}/applications", again))["application"]
    path = f"/applications/{applications['open']}"
    comment = await lead.made(f"{path}/comments", {"text": "Is this so?"})
    uploads = [await _upload(intake.client, tokens["lead"], path, sent=sent) for sent in (0, len(CSV))]
    question = await lead.made(f"/cycles/{cycles['open']}/questions", {"text": "Until when?"})
    other_question = await lead.made(f"/cycles/{cycles['open']}/questions", {"text": "And from when?"})
    campaign = f"/cycles/{cycles['open']}/campaign"
    await admin.made(campaign, {"invited": [{"name": "Ogdenville", "email": "clerk@ogdenville.example"}]})
    invitees = (await admin.got(campaign))["invitees"]
    later = rfc3339(intake.clock.now() + timedelta(days=40))
    consulted = await admin.made("/charter-drafts", {"title": "Next year", "charter": SMALL, "closes_at": later})
    sections = (await lead.got(f"{path}/sections"))["sections"]

    known: dict[str, list[Any]] = {
        "cycle": list(cycles.values()),
        "label": list(cycles.values()),
        "government": governments,
        "into": [*governments, question["question"]],
        "application": list(applications.values()),
        "person": [one["person"] for one in members],
        "subject": list(subjects.values()),
        "invitation": [invitation["invitation"]],
        "token": [invitation["token"]],
        "recovery": [recovery["recovery"]],
        "comment": [comment["comment"]],
        "upload": uploads,
        "sha256": [sha256(CSV).hexdigest()],
        "file": [sha256(CSV).hexdigest()],
        "question": [question["question"], other_question["question"]],
        "invitee": [one["invitee"] for one in invitees],
        "draft": [consulted["draft"]],
        "section": [one["section"] for one in sections],
        "criterion": list(DRAFT["answers"])[:3],
        "from": ["last"],
        "version": [1],
        "deadline": [later],
        "due": [later],
        "closes_at": [later],
        "charter": [SMALL],
        "attest": [True],
    }
    headers = {
        **{name: [value] for name, value in TUS.items()},
        "Upload-Metadata": [METADATA],
        "Upload-Length": ["10"],
        "Upload-Offset": ["0"],
        "If-Match": ["*"],
    }
    return World(origin.url, {**tokens, "": ""}, known, headers)


async def _application(lead: Person, cycle: str, government: str) -> str:
    return str((await lead.made(f"/cycles/{cycle}/applications", {"government": government}))["application"])


async def _upload(client: httpx.AsyncClient, token: str, path: str, *, sent: int) -> str:
    """An upload of which so many bytes are here."""
    common = {"Authorization": f"Bearer {token}", **TUS}
    headers = {**common, "Upload-Length": str(len(CSV)), "Upload-Metadata": METADATA}
    begun = await client.post(f"/v1{path}/uploads", headers=headers)
    assert begun.status_code == 201, begun.text
    if sent:
        headers = {**common, "Upload-Offset": "0", "Content-Type": MEDIA}
        answer = await client.patch(f"/v1{path}/uploads/{begun.json()['upload']}", headers=headers, content=CSV[:sent])
        assert answer.status_code == 204, answer.text
    return str(begun.json()["upload"])
