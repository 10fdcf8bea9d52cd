"""``/requests``: SCEP requests that wait for a decision, and deciding on them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import Path, Query
from pydantic import Field
from sqlmodel import Session

from scep.pending import State
from scep.pending_decisions import LONGEST_REJECTION
from signetry.access.roles import Permission
from signetry.administration import requests
from signetry.administration.rehearsal import perform
from signetry.administration.requests import ApprovalOrder, Decided
from signetry.api.context import Here
from signetry.api.fields import NAME, DryRun, Profile, Which, Who
from signetry.api.models import Asked, Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/requests", "Requests")

RequestNumber = Annotated[
    int,
    Path(ge=1, le=2**31 - 1, description="The request's number.", openapi_examples={"seven": {"value": 7}}),
]

_LISTED = {
    "id": 7,
    "state": "waiting",
    "endpoint": "routers",
    "subject": "CN=router-7.example.com, O=Example",
    "asked_for": {
        "common_name": "router-7.example.com",
        "emails": [],
        "upns": [],
        "dns_names": ["router-7.example.com"],
        "uris": [],
        "sids": [],
        "other": [],
        "organisational_units": [],
    },
    "key": "RSA 2048",
    "key_sha256": "5f" * 32,
    "transaction_id": "6f1a",
    "origin": "192.0.2.7",
    "created_at": "2026-06-01T12:00:00Z",
    "expires_at": "2026-07-01T12:00:00Z",
    "decided_at": None,
    "decided_by": None,
    "person": None,
    "device": None,
    "profile": None,
    "rejection": None,
    "serial": None,
}
_COMPARED = {
    "kind": "DNS names",
    "requested": ["router-7.example.com"],
    "recorded": ["router-7.example.com"],
    "agrees": True,
}
_APPROVED = {
    **_LISTED,
    "state": "approved",
    "decided_at": "2026-06-01T13:00:00Z",
    "decided_by": "token:3:Olga",
    "device": "router-7",
    "profile": "device",
    "comparison": [_COMPARED],
}


class AskedFor(Shown):
    """The names that a request asks for. They are the client's words: nothing of them has been verified."""

    model_config = with_examples(_LISTED["asked_for"])  # type: ignore[arg-type] # a mapping, among other things

    common_name: str
    emails: list[str]
    upns: list[str]
    dns_names: list[str]
    uris: list[str]
    sids: list[str]
    other: Annotated[list[str], Field(description="Names of other kinds, which are never certified.")]
    organisational_units: list[str]


class Compared(Shown):
    """Names of one kind: what the request asks for, beside what is on record."""

    model_config = with_examples(_COMPARED)

    kind: str
    requested: list[str]
    recorded: list[str]
    agrees: Annotated[bool, Field(description="Whether all that is asked for is on record.")]


class RequestListed(Shown):
    """A SCEP request as lists show it."""

    model_config = with_examples(_LISTED)

    id: int
    state: Annotated[State, Field(description="`late` ones wait for a key that was out of reach, not for a decision.")]
    endpoint: str
    subject: Annotated[str, Field(description="The subject of the request, as the client wrote it.")]
    asked_for: AskedFor
    key: Annotated[str, Field(description="Family and size of the key to be certified.")]
    key_sha256: Annotated[str, Field(description="SHA-256 of its SubjectPublicKeyInfo.")]
    transaction_id: str
    origin: Annotated[str, Field(description="The address it came from.")]
    created_at: datetime
    expires_at: Annotated[datetime, Field(description="When it is forgotten.")]
    decided_at: datetime | None
    decided_by: Annotated[str | None, Field(description="Who decided, as the audit record names them.")]
    person: Annotated[str | None, Field(description="The UPN of whom it was approved for.")]
    device: Annotated[str | None, Field(description="The name of the device it was approved for.")]
    profile: str | None
    rejection: Annotated[str | None, Field(description="What the client of a rejected request is told.")]
    serial: Annotated[str | None, Field(description="The serial number of the certificate that it got.")]


class RequestShown(RequestListed):
    """All that is known of a SCEP request."""

    model_config = with_examples(_APPROVED)

    comparison: Annotated[
        list[Compared], Field(description="What it asks for, beside the record of whom it is, or may be, approved for.")
    ]


class RequestDecided(Shown):
    """A request after a decision."""

    model_config = with_examples({"outcome": "approved", "request": _APPROVED})

    outcome: Literal["approved", "rejected", "unchanged"]
    request: RequestShown

    @classmethod
    def of(cls, decided: Decided) -> Self:
        """Return how a decision is shown."""
        request = RequestShown.model_validate(decided.request)
        return cls.model_validate({"outcome": str(decided.request.state) if decided.changed else "unchanged", "request": request})


class ApprovalAsked(Asked):
    """For whom to approve a request: a person, and for profile `device` a device."""

    model_config = with_examples(
        {"person": "taro@corp.example.com", "profile": "identity"}, {"device": "router-7", "profile": "device"}
    )

    person: Who | None = None
    device: Which | None = None
    profile: Annotated[
        Profile | None, Field(description="The certificate profile; not needed where the endpoint issues only one.")
    ] = None


class RejectionAsked(Asked):
    """Why to reject a request."""

    model_config = with_examples({"reason": "unknown device: call the help desk"})

    reason: Annotated[str, Field(max_length=LONGEST_REJECTION, description="One line, which the client is told.")] = ""


@routes.get("")
def list_all(
    _caller: Annotated[Caller, requires(Permission.READ_REQUESTS)],
    here: Here,
    paging: InPages,
    *,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    endpoint: Annotated[
        str | None, Query(min_length=1, max_length=60, pattern=NAME, description="Only those of this SCEP endpoint.")
    ] = None,
) -> Page[RequestListed]:
    """List SCEP requests that wait or were decided of late, the newest first."""
    (before,) = paging.after(int) or (None,)
    with here.transactions.reading() as session:
        found = requests.listed(session, here.house, state=state, endpoint=endpoint, before=before, limit=paging.one_more)
    return paging.page(found, lambda request: (request.id,), RequestListed.model_validate)


@routes.get("/{request_id}")
def show(
    request_id: RequestNumber,
    _caller: Annotated[Caller, requires(Permission.READ_REQUESTS)],
    here: Here,
    *,
    person: Annotated[
        str | None, Query(min_length=1, max_length=320, description="Hold it against this person: UPN, address or number.")
    ] = None,
    device: Annotated[
        str | None, Query(min_length=1, max_length=100, description="Hold it against this device: name or number.")
    ] = None,
) -> RequestShown:
    """Show what a request asks for, beside what the record says of whom it is, or may be, approved for."""
    with here.transactions.reading() as session:
        order = ApprovalOrder(person or "", device or "")
        return RequestShown.model_validate(requests.show(session, here.house, request_id, order))


@routes.post("/{request_id}/approve")
def approve(
    request_id: RequestNumber,
    asked: ApprovalAsked,
    caller: Annotated[Caller, requires(Permission.DECIDE_REQUESTS)],
    *,
    dry_run: DryRun = False,
) -> RequestDecided:
    """Approve a request; its client gets the certificate when it asks the next time, with the names on record then.

    A request for a name that the record does not hold cannot be approved. Approving it again changes nothing.
    """
    order = ApprovalOrder(asked.person or "", asked.device or "", asked.profile or "")
    return _decided(caller, lambda session: requests.approve(session, caller.house, [request_id], order), dry_run=dry_run)


@routes.post("/{request_id}/reject")
def reject(
    request_id: RequestNumber,
    asked: RejectionAsked,
    caller: Annotated[Caller, requires(Permission.DECIDE_REQUESTS)],
    *,
    dry_run: DryRun = False,
) -> RequestDecided:
    """Reject a request; its client is told so when it asks the next time. Rejecting it again changes nothing."""
    return _decided(caller, lambda session: requests.reject(session, caller.house, [request_id], asked.reason), dry_run=dry_run)


def _decided(caller: Caller, act: Callable[[Session], Sequence[Decided]], *, dry_run: bool) -> RequestDecided:
    (decided,) = caller.house.transactions.write(lambda session: perform(session, act, dry_run=dry_run))
    return RequestDecided.of(decided)
