"""Deciding on requests that wait: for whom they are approved, or in which words they are rejected (RFC 8894 section 4.4).

A decision may be changed until the client has come back and got its certificate; after that there is revocation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import exists, func
from sqlmodel import Session, col, select

from audit import log
from audit.log import Actor, Event
from ca.authorisation import DeviceId, PersonId, ProfileName
from foundation.errors import BadRequest, Conflict, NotFound
from scep.pending import WAITS_FOR_APPROVAL, State
from scep.readable import printable
from scep.records import Enrolment, PendingRequest

DEFAULT_REJECTION: Final = "the request was rejected by an administrator"
LONGEST_REJECTION: Final = 200


class UnknownPendingRequest(NotFound):
    """No request of this number is kept."""


class AlreadyGranted(Conflict):
    """The request has got its certificate."""


class NothingToDecide(Conflict):
    """The request waits for a key, not for a decision."""


@dataclass(frozen=True, slots=True)
class Approval:
    """For whom a request is approved, and as what."""

    person: PersonId | None
    device: DeviceId | None
    profile: ProfileName


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many requests wait at an endpoint, for a decision or, where ``state`` is late, for a key; ``since`` the oldest does."""

    endpoint: str
    state: State
    count: int
    since: datetime


# What waited for a key only, and has got its certificate since.
_HAS_CAUGHT_UP = (col(PendingRequest.state) == State.LATE) & exists().where(
    col(Enrolment.retry_key) == col(PendingRequest.retry_key)
)


def backlog(session: Session, *, now: datetime) -> list[Backlog]:
    """Return what waits at each endpoint where anything does."""
    query = (
        select(
            PendingRequest.endpoint,
            PendingRequest.state,
            func.count(),
            func.min(col(PendingRequest.created_at)),
        )
        .where(col(PendingRequest.state).in_((State.WAITING, State.LATE)), col(PendingRequest.expires_at) > now, ~_HAS_CAUGHT_UP)
        .group_by(col(PendingRequest.endpoint), col(PendingRequest.state))
    )
    return [Backlog(endpoint, State(state), count, since) for endpoint, state, count, since in session.exec(query)]


def get(session: Session, number: int, *, now: datetime, lock: bool = False) -> PendingRequest:
    """Return the kept request of this number; with ``lock``, nobody else decides on it before this transaction ends.

    Raises:
        UnknownPendingRequest: there is none, or its time is up.
    """
    query = select(PendingRequest).where(col(PendingRequest.id) == number, col(PendingRequest.expires_at) > now)
    row = session.exec(query.with_for_update() if lock else query).first()
    if row is None:
        raise UnknownPendingRequest(f"there is no request {number} that waits, or did of late")
    return row


def matching(
    session: Session,
    *,
    state: State | None = None,
    endpoint: str | None = None,
    before: int | None = None,
    limit: int,
    now: datetime,
) -> Sequence[PendingRequest]:
    """Return up to ``limit`` kept requests, the newest first, from below the number ``before``; None does not restrict.

    Of those that waited for a key only, none that has got its certificate.
    """
    query = select(PendingRequest).where(col(PendingRequest.expires_at) > now, ~_HAS_CAUGHT_UP)
    if state is not None:
        query = query.where(col(PendingRequest.state) == state)
    if endpoint is not None:
        query = query.where(col(PendingRequest.endpoint) == endpoint)
    if before is not None:
        query = query.where(col(PendingRequest.id) < before)
    return session.exec(query.order_by(col(PendingRequest.id).desc()).limit(limit)).all()


def approve(session: Session, number: int, approval: Approval, *, actor: Actor, now: datetime) -> bool:
    """Approve a request, in the caller's transaction, and let it wait for its client; return whether that changed anything.

    Raises:
        UnknownPendingRequest, NothingToDecide: there is nothing to decide on.
        AlreadyGranted: for somebody else, or as something else.
    """
    row = _undecided(session, number, now=now)
    decided = (row.person_id, row.device_id, row.profile) == (approval.person, approval.device, approval.profile)
    if row.state in (State.APPROVED, State.GRANTED) and decided:
        return False
    _require_ungranted(row)
    row.person_id, row.device_id, row.profile, row.rejection = approval.person, approval.device, approval.profile, None
    details = {"person": approval.person, "device": approval.device, "profile": approval.profile}
    _decide(session, row, State.APPROVED, "request.approved", details, actor=actor, now=now)
    return True


def reject(session: Session, number: int, words: str, *, actor: Actor, now: datetime) -> bool:
    """Reject a request, in the caller's transaction, in ``words`` for its client; return whether that changed anything.

    Raises:
        UnknownPendingRequest, NothingToDecide, AlreadyGranted: it cannot be.
        BadRequest: the words are too many, or more than a line of text.
    """
    words = words.strip() or DEFAULT_REJECTION
    if len(words) > LONGEST_REJECTION or printable(words) != words:
        raise BadRequest(f"reason: one line of up to {LONGEST_REJECTION} characters, for the client to read")
    row = _undecided(session, number, now=now)
    if row.state == State.REJECTED and row.rejection == words:
        return False
    _require_ungranted(row)
    row.person_id, row.device_id, row.profile, row.rejection = None, None, None, words
    _decide(session, row, State.REJECTED, "request.rejected", {"reason": words}, actor=actor, now=now)
    return True


def _undecided(session: Session, number: int, *, now: datetime) -> PendingRequest:
    row = get(session, number, now=now, lock=True)
    if row.state == State.LATE:
        raise NothingToDecide(
            f"request {number} waits for a key that was out of reach: its client gets its certificate with the key"
        )
    return row


def _require_ungranted(row: PendingRequest) -> None:
    if row.state == State.GRANTED:
        raise AlreadyGranted(f"request {row.id} has got its certificate; what is to be taken back is revoked")


def _decide(
    session: Session,
    row: PendingRequest,
    state: State,
    action: str,
    details: Mapping[str, object],
    *,
    actor: Actor,
    now: datetime,
) -> None:
    row.state, row.decided_at, row.decided_by = state, now, actor.name[:200]
    # Long enough for a client that is switched off over the holidays.
    row.expires_at = now + WAITS_FOR_APPROVAL
    session.add(row)
    session.flush()
    event = Event(actor, action, f"request:{row.id}", details={"endpoint": row.endpoint, **details})
    log.record(session, event, now=now)
