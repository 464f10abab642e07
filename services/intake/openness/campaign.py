"""Whom the program invites to a cycle, over HTTP, and what became of it. The list is the program's alone.

Letters are sent by notifications, which says what became of each; whoever writes by other means says which went out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request

from schemas.screening import InvitationIssued, Invitee
from services.chassis.ids import opaque_id
from services.chassis.problems import not_found
from services.chassis.refusal import RefusedError, Violation
from services.chassis.web import CommandRoute, Reading, SignedIn, Writing
from services.intake.access import known_cycle
from services.intake.cycles.domain import must_be_open
from services.intake.forms import Named
from services.intake.openness import invited
from services.intake.openness.domain import Invited, listed, must_be_invitable
from services.intake.openness.forms import (
    CampaignView,
    InviteeView,
    InvitingView,
    ListedView,
    NewCampaign,
    OpenedApplications,
    OpenedView,
    Send,
    SentInvitations,
)

if TYPE_CHECKING:
    from services.chassis.database import Tx

router = APIRouter(route_class=CommandRoute)

After = Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9_.-]*$")]
Limit = Annotated[int, Query(ge=1, le=500)]


@router.post("/cycles/{cycle}/campaign", status_code=201)
async def invite(cycle: Named, body: NewCampaign, tx: Writing, who: SignedIn) -> ListedView:
    """Put governments on the list of those to invite; each row that cannot be is told, and then none is taken."""
    who.require("program-admin")
    rows = [Invited(one.name.strip(), one.state.strip(), one.email.strip()) for one in body.invited]
    try:
        return await _invite(tx, cycle, rows)
    except RefusedError as error:
        raise RefusedError.all(
            [Violation(one.rule, one.detail, "/invited" + one.field) for one in error.violations], status=error.status
        ) from error


@router.post(
    "/cycles/{cycle}/campaign.csv",
    status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def invite_by_csv(cycle: Named, request: Request, tx: Writing, who: SignedIn) -> ListedView:
    """The same from CSV in UTF-8 with the columns name, state and email; pointers begin with the row, from 0."""
    who.require("program-admin")
    try:
        text = (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise RefusedError("csv", "The list is not in UTF-8: save it as CSV UTF-8.", status=422) from error
    return await _invite(tx, cycle, listed(text))


async def _invite(tx: Tx, cycle: str, rows: list[Invited]) -> ListedView:
    await known_cycle(tx.db, cycle)
    must_be_invitable(rows)
    added = await invited.add_invitees(tx.db, cycle, [(opaque_id(), one) for one in rows], tx.clock.now())
    return ListedView(added=added, known=len(rows) - added)


@router.get("/cycles/{cycle}/campaign")
async def show_campaign(
    cycle: Named, db: Reading, who: SignedIn, after: After = "", limit: Limit = 100
) -> CampaignView:
    """Whom the program invited to a cycle, and who of them opened an application."""
    who.require("program-admin")
    await known_cycle(db, cycle)
    found = await invited.invitees(db, cycle, after, limit + 1)
    views = [InviteeView(**vars(one)) for one in found[:limit]]
    return CampaignView(
        cycle=cycle,
        counts=await invited.campaign_counts(db, cycle),
        invitees=views,
        next=views[-1].invitee if len(found) > limit else None,
    )


@router.post("/cycles/{cycle}/campaign/send")
async def send_invitations(cycle: Named, body: Send, tx: Writing, who: SignedIn) -> InvitingView:
    """Have a letter sent to everybody on the list to whom none went out, or to some; what becomes of it, the list says.

    One that could not be sent because there was no mail server, or that its reader wanted none of, is sent again.
    """
    who.require("program-admin")
    found = await known_cycle(tx.db, cycle)
    must_be_open(found, tx.clock.now())
    rows = await invited.uninvited(tx.db, cycle, body.invitees)
    for one in rows:
        event = InvitationIssued(
            invitee=one.invitee,
            of_cycle=cycle,
            deadline=found.deadline,
            contact=Invitee(name=one.name, state=one.state, email=one.email),
        )
        await invited.keep_invitation(tx.db, event, tx.record(event))
    return InvitingView(cycle=cycle, queued=len(rows))


@router.post("/cycles/{cycle}/campaign/sent")
async def mark_sent(cycle: Named, body: SentInvitations, tx: Writing, who: SignedIn) -> CampaignView:
    """Say whose invitations went out; when it was said first stands. Ids of other lists are refused."""
    who.require("program-admin")
    await known_cycle(tx.db, cycle)
    unknown = await invited.mark_sent(tx.db, cycle, body.invitees, tx.clock.now())
    if unknown:
        wrong = [
            Violation("unknown-invitee", f"{name} is not on this cycle's list.", f"/invitees/{number}")
            for number, name in enumerate(body.invitees)
            if name in unknown
        ]
        raise RefusedError.all(wrong)
    return await show_campaign(cycle, tx.db, who)


@router.delete("/cycles/{cycle}/campaign/{invitee}", status_code=204)
async def forget_invitee(cycle: Named, invitee: Named, tx: Writing, who: SignedIn) -> None:
    """Take somebody off the list, address and all."""
    who.require("program-admin")
    if not await invited.remove_invitee(tx.db, cycle, invitee):
        raise not_found("Nobody on this cycle's list has this id.")


@router.get("/cycles/{cycle}/applications")
async def list_opened(
    cycle: Named, db: Reading, who: SignedIn, after: After = "", limit: Limit = 100
) -> OpenedApplications:
    """Who opened an application in a cycle, and whether it was submitted: nothing of what is in it."""
    who.require("program-admin", "auditor")
    await known_cycle(db, cycle)
    found = await invited.opened(db, cycle, after, limit + 1)
    views = [OpenedView(**vars(one)) for one in found[:limit]]
    return OpenedApplications(
        cycle=cycle, applications=views, next=views[-1].application if len(found) > limit else None
    )
