"""Requests that were answered with PENDING, and how they are taken up again (RFC 8894 sections 3.3.3 and 4.4).

A poll holds no certificate request, so the record keeps of it what issuing needs. It keeps no challenge in the clear: whoever
reads the database must not be able to enrol with what waits there.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from pydantic import TypeAdapter
from sqlalchemy import delete, func, or_, update
from sqlmodel import Session, col, select

from audit import log
from audit.log import Actor, Event
from ca.csr import CertificateRequest
from ca.names import RequestedNames
from foundation.errors import Unavailable
from foundation.tables import table_of
from scep.certificate import CarriedCertificate
from scep.errors import CannotWait, UnknownRequest
from scep.limits import network_of
from scep.readable import readable_subject
from scep.records import PendingRequest
from scep.request import EnrolmentRequest, PresentedRequest

WAITS_FOR_APPROVAL: Final = timedelta(days=30)
# For a key that was out of reach: clients give up long before.
WAITS_FOR_KEYS: Final = timedelta(days=7)

# Of the names asked for, as they are kept; a request for a hundred addresses takes a tenth of it.
_LONGEST_REQUESTED: Final = 32_768
_REQUESTED: Final = TypeAdapter(RequestedNames)
_PENDING = table_of(PendingRequest)


class State(StrEnum):
    """Where a pending request stands."""

    # An administrator is to decide.
    WAITING = "waiting"
    # One has, and the client has not come back yet.
    APPROVED = "approved"
    REJECTED = "rejected"
    GRANTED = "granted"
    # Nobody is to decide: a key was out of reach.
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Poll:
    """A CertPoll: which transaction it asks after, and whose it is."""

    transaction_id: str
    signer: CarriedCertificate = field(repr=False)


def defer(session: Session, presented: PresentedRequest, *, needs_approval: bool, actor: Actor, now: datetime) -> None:
    """Keep a request until it can be decided or granted, in the caller's transaction; an identical one is kept once.

    Raises:
        CannotWait: somebody would have to decide, and too many requests wait for that, here or from this address; or it asks for
            more names than are kept.
        Unavailable: nobody would have to decide, and too many wait; the request may be sent again.
        UnknownRequest: what was taken up for a poll has been forgotten meanwhile.
    """
    state = State.WAITING if needs_approval else State.LATE
    request = presented.request
    kept = find_by_retry_key(session, presented.retry_key)
    if kept is not None:
        if kept.expires_at > now:
            return
        # Whoever forgets it at the same time is not in the way.
        session.execute(delete(_PENDING).where(_PENDING.c.id == kept.id))
    if not request.csr.der:
        raise UnknownRequest
    requested = _REQUESTED.dump_json(request.csr.requested).decode()
    if len(requested) > _LONGEST_REQUESTED:
        raise CannotWait("the request asks for more names than are kept until a decision")
    row = PendingRequest(
        endpoint=presented.endpoint.name,
        transaction_id=request.transaction_id,
        retry_key=presented.retry_key,
        state=state,
        csr_digest=request.csr_digest,
        challenge_digest=request.challenge_digest,
        must_renew=request.must_renew,
        signer_spki_sha256=request.signer.spki_sha256,
        spki_sha256=_digest(request.csr.public_key),
        spki=request.csr.spki_der,
        subject=readable_subject(request.csr.subject),
        requested=requested,
        origin=actor.origin[:100],
        network=network_of(actor.origin),
        created_at=now,
        expires_at=now + (WAITS_FOR_APPROVAL if needs_approval else WAITS_FOR_KEYS),
    )
    _require_room(session, presented, row, now=now)
    session.add(row)
    session.flush()
    details = {"endpoint": row.endpoint, "state": str(state), "subject": row.subject}
    log.record(session, Event(actor, "request.deferred", f"request:{row.id}", details=details), now=now)


def find_by_retry_key(session: Session, retry_key: str) -> PendingRequest | None:
    """Return what was kept of a request, or of one identical to it."""
    return session.exec(select(PendingRequest).where(col(PendingRequest.retry_key) == retry_key)).first()


def taken_up(session: Session, endpoint: str, poll: Poll, *, now: datetime) -> EnrolmentRequest:
    """Return the request that a poll asks after: the newest of its transactionID that the same key signed, or was to certify.

    Raises:
        UnknownRequest: there is none, or its time is up.
    """
    key = poll.signer.spki_sha256
    query = (
        select(PendingRequest)
        .where(
            col(PendingRequest.endpoint) == endpoint,
            col(PendingRequest.transaction_id) == poll.transaction_id,
            col(PendingRequest.expires_at) > now,
            or_(col(PendingRequest.signer_spki_sha256) == key, col(PendingRequest.spki_sha256) == key),
        )
        .order_by(col(PendingRequest.id).desc())
        .limit(1)
    )
    row = session.exec(query).first()
    if row is None:
        raise UnknownRequest
    csr = CertificateRequest(
        der=b"",
        public_key=serialization.load_der_public_key(row.spki),
        spki_der=row.spki,
        subject=(),
        requested=requested_in(row),
        challenge=None,
    )
    return EnrolmentRequest(
        transaction_id=row.transaction_id,
        csr=csr,
        csr_digest=row.csr_digest,
        challenge="",
        challenge_digest=row.challenge_digest,
        signer=poll.signer,
        must_renew=row.must_renew,
    )


def requested_in(row: PendingRequest) -> RequestedNames:
    """Return the names that a kept request asks for."""
    return _REQUESTED.validate_json(row.requested)


def mark_granted(session: Session, row: PendingRequest, *, certificate_id: int, now: datetime) -> None:
    """Note, in the transaction that stores it, which certificate an approved request got.

    Raises:
        UnknownRequest: it was decided otherwise meanwhile, or its time is up; the transaction must not be committed.
    """
    marked = session.execute(
        update(_PENDING)
        .where(
            _PENDING.c.id == row.id,
            _PENDING.c.state == State.APPROVED,
            _PENDING.c.decided_at == row.decided_at,
            _PENDING.c.expires_at > now,
        )
        .values(state=State.GRANTED, certificate_id=certificate_id)
    )
    if marked.rowcount != 1:  # type: ignore[attr-defined]  # an UPDATE's result counts rows
        raise UnknownRequest


def _require_room(session: Session, presented: PresentedRequest, row: PendingRequest, *, now: datetime) -> None:
    """Return if ``row`` may wait, too. None is pushed out for it: strangers could push out everybody else's."""
    limits = presented.endpoint.limits
    waiting = select(func.count()).where(
        col(PendingRequest.endpoint) == row.endpoint,
        col(PendingRequest.state) == row.state,
        col(PendingRequest.expires_at) > now,
    )
    if session.exec(waiting.where(col(PendingRequest.network) == row.network)).one() >= limits.waiting_per_address:
        text = "too many requests from this address wait here already; try again later"
    elif session.exec(waiting).one() >= limits.waiting_at_most:
        text = "too many requests wait here already; try again later"
    else:
        return
    raise Unavailable(text) if row.state == State.LATE else CannotWait(text)


def _digest(key: PublicKeyTypes) -> str:
    """Return what ``CarriedCertificate.spki_sha256`` is of the same key."""
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()
