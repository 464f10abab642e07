"""What was submitted, over HTTP: every version to read again, to print and to compare, and a withdrawal at last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel

from schemas.applications import Answer, Contact, Identity
from schemas.envelope import Instant
from services.chassis.problems import Problem, not_found
from services.chassis.web import Asked, CommandRoute, SignedIn, Writing
from services.intake.access import acting, known_cycle, sheet_of
from services.intake.applications import receipts, store, versions
from services.intake.applications.forms import ClaimsView, DifferenceView, Reason
from services.intake.applications.printing import printed
from services.intake.forms import Named
from services.intake.locks import OWNED, SHARED
from services.intake.screening.domain import request_withdrawal
from services.intake.screening.store import ask_withdrawal, asked_withdrawal, keep_statement, withdrawal_request

if TYPE_CHECKING:
    from services.chassis.auth import Principal
    from services.chassis.database import Connection
    from services.chassis.service import Service
    from services.intake.applications.sections import Document
    from services.intake.applications.store import Sheet

router = APIRouter(route_class=CommandRoute)

MOST = 2**31 - 1
"""What PostgreSQL's `int` holds: versions are counted in it."""
Number = Annotated[int, Path(ge=1, le=MOST)]
Since = Annotated[int | None, Query(ge=1, le=MOST, description="The earlier version; absent: the one before.")]


class KeysView(BaseModel):
    """A JSON Web Key Set: what this program's receipts are checked with."""

    keys: list[dict[str, str]]


class VersionLine(BaseModel):
    """A version that was submitted, with its signed receipt."""

    version: int
    event: str
    leaf_hash: str
    submitted_at: Instant
    receipt: str
    """Compact JWS."""


class VersionsView(BaseModel):
    """All versions, the newest first: that one stands."""

    application: str
    versions: list[VersionLine]


class SubmittedApplication(VersionLine):
    """A whole application as it was submitted, frozen: what nobody can change any more."""

    form: Literal["cec-application/1"] = "cec-application/1"
    application: str
    cycle: str
    identity: Identity
    claims: ClaimsView
    answers: dict[str, Answer]
    """By criterion of the charter; empty for those that are for other kinds of applicant."""
    contact: Contact
    erased: list[str] = []
    """Names of the blocks that were erased since: what they said is empty, or left out, here."""


class DifferencesView(BaseModel):
    """What a version changed since an earlier one; `since` is 0 where there is none before."""

    application: str
    version: int
    since: int
    differences: list[DifferenceView]


class RequestView(BaseModel):
    """A request to withdraw, and how the board settled it; `answer` is why it was refused."""

    application: str
    event: str
    state: Literal["requested", "withdrawn", "refused"] = "requested"
    answer: str = ""


@router.get("/keys")
async def show_keys(asked: Asked) -> KeysView:
    """The public keys that receipts are signed with. Keep them with the receipts."""
    return KeysView.model_validate(receipts.public_keys(asked.settings).as_dict(private=False))


@router.get("/applications/{application}/versions")
async def list_versions(application: Named, asked: Asked, who: SignedIn) -> VersionsView:
    """What was submitted so far: to the government's people; program-admin's and auditors' reading is noted."""
    await readable(asked, who, application, "versions")
    async with asked.database.reading() as db:
        found = await versions.versions(db, application)
    return VersionsView(
        application=application,
        versions=[
            VersionLine(version=number, event=event, leaf_hash=leaf.hex(), submitted_at=at, receipt=receipt)
            for number, event, leaf, at, receipt in found
        ],
    )


@router.get(
    "/applications/{application}/versions/{version}.pdf",
    response_class=Response,
    responses={200: {"content": {"application/pdf": {}}}},
)
async def print_version(application: Named, version: Number, asked: Asked, who: SignedIn) -> Response:
    """A version as PDF, the same bytes every time, with its JSON attached."""
    sheet = await readable(asked, who, application, f"version {version}, printed")
    async with asked.database.reading() as db:
        found = await _known(db, application, version)
        cycle = await known_cycle(db, sheet.cycle)
    document = _whole(found, sheet.cycle).model_dump_json(indent=2).encode()
    return Response(
        await printed(found, cycle.charter, document),
        media_type="application/pdf",
        headers={
            "Content-Disposition": f'attachment; filename="application-{application}-{version}.pdf"',
            "X-Content-Type-Options": "nosniff",
        },
    )


@router.get("/applications/{application}/versions/{version}")
async def show_version(application: Named, version: Number, asked: Asked, who: SignedIn) -> SubmittedApplication:
    """A version, whole, as it was submitted."""
    sheet = await readable(asked, who, application, f"version {version}")
    async with asked.database.reading() as db:
        return _whole(await _known(db, application, version), sheet.cycle)


@router.get("/applications/{application}/versions/{version}/changes")
async def show_differences(
    application: Named, version: Number, asked: Asked, who: SignedIn, since: Since = None
) -> DifferencesView:
    """What a version changed since the one before, or since another one."""
    await readable(asked, who, application, f"version {version}, changes")
    earlier = version - 1 if since is None else since
    async with asked.database.reading() as db:
        after = await _known(db, application, version)
        before = _content(await _known(db, application, earlier)) if earlier else {}
    found = versions.differences(before, _content(after))
    return DifferencesView(
        application=application,
        version=version,
        since=earlier,
        differences=[DifferenceView(**vars(one)) for one in found],
    )


@router.post("/applications/{application}/withdrawal-request", status_code=201)
async def ask_for_withdrawal(
    application: Named,
    tx: Writing,
    who: SignedIn,
    body: Reason = Reason(),  # noqa: B008  (frozen)
) -> RequestView:
    """Ask for an application back after the deadline; the board settles it. Before, withdraw at once."""
    sheet = await sheet_of(tx.db, who, application, "lead", lock=OWNED)
    cycle = await known_cycle(tx.db, sheet.cycle, SHARED, application)
    event = request_withdrawal(
        cycle,
        await store.application(tx.db, application),
        body.reason,
        asked=await asked_withdrawal(tx.db, application),
        now=tx.clock.now(),
    )
    await tx.act_as(who.issuer, who.subject, cycle.id)
    recorded = tx.record(event, cause=cycle.latest)
    await ask_withdrawal(tx.db, event, recorded)
    await keep_statement(tx.db, recorded, application, "withdrawal", body.reason, tx.clock.now())
    return RequestView(application=application, event=recorded)


@router.get("/applications/{application}/withdrawal-request")
async def show_withdrawal_request(application: Named, asked: Asked, who: SignedIn) -> RequestView:
    """The request to withdraw an application, and how the board settled it; 404 where nobody asked."""
    await readable(asked, who, application, "withdrawal request")
    async with asked.database.reading() as db:
        found = await withdrawal_request(db, application)
    if found is None:
        raise not_found()
    event, state, answer = found
    return RequestView(application=application, event=event, state=state, answer=answer)


async def readable(asked: Service, who: Principal, application: str, what: str) -> Sheet:
    """Whose application it is, once the caller may read what was submitted. The program's own reading is noted."""
    async with asked.database.transaction() as tx:
        sheet = await store.sheet(tx.db, application)
        if sheet is None:
            raise not_found()
        if who.roles & {"program-admin", "auditor"}:
            if "auditor" not in who.roles and not (await known_cycle(tx.db, sheet.cycle)).closed:
                raise Problem(403, "not-closed", "The program reads applications once their cycle is closed.")
            await versions.note_reading(tx.db, who.issuer, who.subject, what, application)
        else:
            await acting(tx.db, who, sheet.government)
        return sheet


async def _known(db: Connection, application: str, number: int) -> versions.Version:
    found = await versions.version(db, application, number)
    if found is None:
        raise not_found(f"This application has no version {number}.")
    return found


def _content(found: versions.Version) -> Document:
    """What a version says, in the words of `SubmittedApplication`."""
    claims = ClaimsView.model_validate(found.content["claims"]).model_dump(mode="json")
    return found.content | {"claims": claims}


def _whole(found: versions.Version, cycle: str) -> SubmittedApplication:
    return SubmittedApplication(
        application=found.application,
        cycle=cycle,
        version=found.version,
        event=found.event,
        leaf_hash=found.leaf_hash.hex(),
        submitted_at=found.submitted_at,
        receipt=found.receipt,
        erased=list(found.erased),
        **found.content,
    )
