"""``/notices``: mails to persons, and trying them again."""

from datetime import datetime
from typing import Annotated

from fastapi import Path, Query
from pydantic import Field

from notices.listing import State, get
from signetry.access.roles import Permission
from signetry.administration import notices
from signetry.administration.rehearsal import perform
from signetry.api.context import Here
from signetry.api.fields import ASKS_FOR_SOMEBODY, DryRun, OfPerson
from signetry.api.models import Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/notices", "Notices")

NoticeNumber = Annotated[
    int,
    Path(ge=1, le=2**31 - 1, description="The mail's number.", openapi_examples={"seven": {"value": 7}}),
]


class NoticeShown(Shown):
    """A mail to a person. What it says is shown to nobody."""

    model_config = with_examples(
        {
            "id": 7,
            "state": "deferred",
            "template": "delivery-link",
            "person": "taro@corp.example.com",
            "address": "taro@example.com",
            "attachment_name": "",
            "owed_at": "2026-06-01T12:00:00Z",
            "good_until": "2026-06-02T12:00:00Z",
            "next_attempt": "2026-06-01T12:02:00Z",
            "sent_at": None,
            "failures": 1,
            "error": "it answers 451 4.7.1 Greylisted, come back later",
        }
    )

    id: int
    state: Annotated[
        State, Field(description="`sent`: the mail server has taken it; whether it bounced later nobody knows here.")
    ]
    template: str
    person: Annotated[str | None, Field(description="The UPN of whose mail it is.")]
    address: str
    attachment_name: Annotated[str, Field(description="The name of the file that goes with it; empty without one.")]
    owed_at: datetime
    good_until: Annotated[datetime | None, Field(description="When it is of no use any more, and is not sent.")]
    next_attempt: datetime | None
    sent_at: datetime | None
    failures: int
    error: Annotated[str, Field(description="Why it was not sent, in the mail server's own words where it said any.")]


@routes.get("", responses=ASKS_FOR_SOMEBODY)
def list_all(
    _caller: Annotated[Caller, requires(Permission.READ_NOTICES)],
    here: Here,
    paging: InPages,
    *,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    person: OfPerson = None,
) -> Page[NoticeShown]:
    """List mails to persons, the newest first."""
    (before,) = paging.after(int) or (None,)
    with here.transactions.reading() as session:
        found = notices.listed(session, state=state, person=person, before=before, limit=paging.one_more)
    return paging.page(found, lambda mail: (mail.id,), NoticeShown.model_validate)


@routes.get("/{notice_id}")
def show(notice_id: NoticeNumber, _caller: Annotated[Caller, requires(Permission.READ_NOTICES)], here: Here) -> NoticeShown:
    """Show what became of a mail."""
    with here.transactions.reading() as session:
        return NoticeShown.model_validate(get(session, notice_id))


@routes.post("/{notice_id}/send", status_code=202)
def send(
    notice_id: NoticeNumber,
    caller: Annotated[Caller, requires(Permission.SEND_NOTICES)],
    *,
    dry_run: DryRun = False,
) -> NoticeShown:
    """Have a mail tried at once, one that was given up, too. The service's worker does it.

    One that was sent is not sent again.
    """
    house = caller.house
    (mail,) = house.transactions.write(
        lambda session: perform(session, lambda inner: notices.owe_again(inner, house, [notice_id]), dry_run=dry_run)
    )
    return NoticeShown.model_validate(mail)
