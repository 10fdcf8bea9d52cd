"""``/audit-events``: what was done, by whom."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from audit.reading import EventFilter, events
from signetry.access.roles import Permission
from signetry.api.context import Here
from signetry.api.fields import Moment
from signetry.api.models import Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/audit-events", "Audit")


class EventShown(Shown):
    """An event of the audit record."""

    model_config = with_examples(
        {
            "id": 4711,
            "at": "2026-06-01T12:00:00Z",
            "actor": "token:7:jamf",
            "origin": "192.0.2.7",
            "action": "challenge.minted",
            "subject": "person:17",
            "outcome": "done",
            "details": {"endpoint": "default", "profile": "identity", "count": 1},
        }
    )

    id: int
    at: datetime
    actor: Annotated[str, Field(description="Who acted: `cli:USER`, `token:NUMBER:NAME`, `scep:ENDPOINT`, `worker`, …")]
    origin: Annotated[str, Field(description="From where: a client's address, or `local`.")]
    action: Annotated[str, Field(description="What was done, as `object.verb`.")]
    subject: Annotated[str, Field(description="To what, as `kind:identifier`.")]
    outcome: str
    details: dict[str, Any]


@routes.get("")
def list_all(
    _caller: Annotated[Caller, requires(Permission.READ_AUDIT_EVENTS)],
    here: Here,
    paging: InPages,
    *,
    subject: Annotated[str | None, Query(max_length=200, description="Only those about this, such as person:17.")] = None,
    actor: Annotated[str | None, Query(max_length=200, description="Only those of this actor, such as cli:root.")] = None,
    action: Annotated[str | None, Query(max_length=60, description="Only this action, such as certificate.revoked.")] = None,
    since: Annotated[Moment | None, Query(description="Only those of this moment or later.")] = None,
    until: Annotated[Moment | None, Query(description="Only those before this moment.")] = None,
) -> Page[EventShown]:
    """List what was done, the newest first."""
    (before,) = paging.after(int) or (None,)
    wanted = EventFilter(subject=subject, actor=actor, action=action, since=since, until=until)
    with here.transactions.reading() as session:
        found = events(session, wanted, before=before, limit=paging.one_more)
    return paging.page(found, lambda event: (event.id,), EventShown.model_validate)
