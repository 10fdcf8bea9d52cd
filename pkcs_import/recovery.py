"""Getting a person's keys back under dual control: one asks and exports, another one decides, and the keys are a third's.

An officer asks with a reason; a recovery agent, who is somebody else, approves or rejects; the officer exports, once, within an
hour of the approval. Neither of them may be whose keys they are. What each was let in with (the number of an API token, opaque
here) is on record and must still be in force when the keys are exported: an approval given with a stolen token ends with it.

Nothing here opens a seal. Source: design.md section 5.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import insert, update
from sqlmodel import Session

from audit import log
from audit.log import Actor, Event
from ca.authorisation import PersonId
from foundation.errors import BadRequest
from foundation.tables import table_of
from people.activity import Inactive, require_active
from pkcs_import.errors import RecoveryRefused, UnknownArchivedKey
from pkcs_import.keeping import KeptKey, key_of, keys_of
from pkcs_import.records import RecoveryRequest
from pkcs_import.recovery_requests import OPEN, Recovery, State, get

WAITS_FOR_DECISION: Final = timedelta(days=7)
EXPORT_WITHIN: Final = timedelta(hours=1)
LONGEST_REASON: Final = 1000

_REQUEST = table_of(RecoveryRequest)
_STANDS: Final[Mapping[State, str]] = {
    State.WAITING: "is not approved yet",
    State.APPROVED: "is approved already",
    State.REJECTED: "was rejected",
    State.EXPORTED: "was exported already, which is done once",
    State.EXPIRED: "is too old: ask again",
}


class Duty(StrEnum):
    """What somebody does in a recovery; nobody does both."""

    ASKING = "asking"
    DECIDING = "deciding"


@dataclass(frozen=True, slots=True)
class Participant:
    """A named person who takes part, as they have shown to be: ``token`` is the number of what they were let in with."""

    person: PersonId
    token: int
    actor: Actor


# Whether the token of this number is in force at this time, is this person's, and is for this duty.
InOffice = Callable[[Session, Duty, PersonId, int, datetime], bool]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: a person's archived key of this id, or the one whose certificate ends last; all with ``history``."""

    person: PersonId
    key: int | None = None
    history: bool = False


@dataclass(frozen=True, slots=True)
class RecoveryClaim:
    """What the archive may open, this once: the keys, the newest first."""

    request: int
    person: PersonId
    keys: tuple[KeptKey, ...]


def ask(session: Session, wanted: Wanted, reason: str, *, by: Participant, in_office: InOffice, now: datetime) -> Recovery:
    """Ask for a person's keys, in the caller's transaction.

    Args:
        session: a writing one.
        wanted: whose keys, and which.
        reason: why, in a line; it is shown to who decides, and stands in the audit record.
        by: who asks.
        in_office: tells whether they may.
        now: the time.

    Raises:
        BadRequest: there is no reason, or it is too long or no line of text, or both a key and the history are asked for.
        UnknownArchivedKey: the person has no such key in the archive, or none at all.
        RecoveryRefused: ``by`` may not ask, not for their own keys, and nobody for a key that is not for encryption.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= LONGEST_REASON or not reason.isprintable():
        raise BadRequest(f"reason: one line of up to {LONGEST_REASON} characters, for who decides to read")
    if wanted.history and wanted.key is not None:
        raise BadRequest("key: one key is asked for, or the whole history")
    _require(session, Duty.ASKING, by.person, by.token, in_office, now)
    if by.person == wanted.person:
        raise RecoveryRefused("nobody asks for the recovery of their own keys: they are delivered to one's devices")
    key = _chosen(session, wanted)
    values = {
        "person_id": wanted.person,
        "archived_key_id": key,
        "reason": reason,
        "state": str(State.WAITING),
        "asked_by": by.actor.name[:200],
        "asked_by_person": by.person,
        "asked_by_token": by.token,
        "asked_at": now,
        "expires_at": now + WAITS_FOR_DECISION,
    }
    number: int = session.execute(insert(_REQUEST).returning(_REQUEST.c.id), values).scalar_one()
    asked = get(session, number, now=now)
    _record(session, "recovery.asked", asked, by, now, reason=reason)
    return asked


def approve(session: Session, number: int, *, by: Participant, in_office: InOffice, now: datetime) -> Recovery:
    """Approve a request that waits, in the caller's transaction: its keys may be exported within ``EXPORT_WITHIN``.

    Raises:
        UnknownRecovery: there is none of this number.
        RecoveryRefused: it does not wait any more; ``by`` may not decide, asked for it or owns the keys; or who asked may not
            ask any more.
    """
    request = _to_decide_on(session, number, (State.WAITING,), by, in_office, now)
    _require(session, Duty.ASKING, request.asked_by_person, request.asked_by_token, in_office, now)
    return _decide(session, request, State.APPROVED, by, expires_at=now + EXPORT_WITHIN, now=now)


def reject(session: Session, number: int, *, by: Participant, in_office: InOffice, now: datetime) -> Recovery:
    """Reject a request, in the caller's transaction; an approval that has not been used is taken back.

    Raises:
        UnknownRecovery: there is none of this number.
        RecoveryRefused: it is over; or ``by`` may not decide, asked for it or owns the keys.
    """
    request = _to_decide_on(session, number, OPEN, by, in_office, now)
    return _decide(session, request, State.REJECTED, by, expires_at=request.expires_at, now=now)


def claim_export(session: Session, number: int, *, by: Participant, in_office: InOffice, now: datetime) -> RecoveryClaim:
    """Use up an approved request, in the caller's transaction, and return what may be opened for it.

    The archive process calls it before it opens anything, with a ``by`` whose token it has authenticated itself
    (``signetry.access.dual_control``), and commits before it answers. When this, or the opening, raises, the request stays as it
    was. Of two exports at the same moment one gets the keys. The keys are those that the archive held at the approval.

    Raises:
        UnknownRecovery: there is none of this number.
        RecoveryRefused: it is not approved, not by another, too old, or was used; ``by`` is not who asked; or one of the two
            may not do any more what they did.
    """
    request, keys = require_exportable(session, number, by=by, in_office=in_office, now=now)
    _move(session, request, {"state": str(State.EXPORTED), "exported_by": by.actor.name[:200], "exported_at": now}, now)
    exported = [each.spki_sha256 for each in keys]
    _record(session, "recovery.exported", request, by, now, approved_by=request.decided_by, exported=exported)
    return RecoveryClaim(number, request.person, keys)


def require_exportable(
    session: Session, number: int, *, by: Participant, in_office: InOffice, now: datetime
) -> tuple[Recovery, tuple[KeptKey, ...]]:
    """Return a request with its keys if ``by`` may export it now; nothing is used up. Raises as ``claim_export``."""
    request = get(session, number, now=now)
    decider, decided_with, decided_at = request.decided_by_person, request.decided_by_token, request.decided_at
    if request.state is not State.APPROVED or decider is None or decided_with is None or decided_at is None:
        raise RecoveryRefused(f"recovery {number} {_STANDS[request.state]}")
    if by.person != request.asked_by_person:
        raise RecoveryRefused(f"recovery {number}: only who asked for it exports it")
    if decider in (request.asked_by_person, request.person) or by.person == request.person:
        raise RecoveryRefused(f"recovery {number}: who asks, who approves and whose keys they are must be three persons")
    for token in (request.asked_by_token, by.token):
        _require(session, Duty.ASKING, request.asked_by_person, token, in_office, now)
    _require(session, Duty.DECIDING, decider, decided_with, in_office, now)
    keys = covered(request, keys_of(session, request.person))
    if not keys:
        raise RecoveryRefused(f"recovery {number}: the archive holds nothing of what was approved")
    return request, keys


def covered(request: Recovery, keys: Iterable[KeptKey]) -> tuple[KeptKey, ...]:
    """Return those of a person's keys that a request brings: what was not there yet when it was decided on was not approved."""
    return tuple(
        each
        for each in recoverable(keys)
        if request.key in (None, each.id) and (request.decided_at is None or each.kept_at <= request.decided_at)
    )


def recoverable(keys: Iterable[KeptKey]) -> list[KeptKey]:
    """Return those of a person's keys that can be asked for: those that mail is encrypted to.

    With a key that only signs nobody reads old mail; whoever had it could sign in the person's name.
    """
    return [each for each in keys if each.is_for_encryption]


def _chosen(session: Session, wanted: Wanted) -> int | None:
    if wanted.key is None:
        candidates = recoverable(keys_of(session, wanted.person))
        if not candidates:
            raise UnknownArchivedKey("this person has no encryption key in the archive")
        return None if wanted.history else candidates[0].id
    kept = key_of(session, wanted.key)
    if kept.person != wanted.person:
        raise UnknownArchivedKey(f"this person has no archived key {wanted.key}")
    if not kept.is_for_encryption:
        raise RecoveryRefused(f"archived key {kept.id} is not for encryption: only keys that mail is encrypted to are recovered")
    return kept.id


def _to_decide_on(
    session: Session, number: int, states: Sequence[State], by: Participant, in_office: InOffice, now: datetime
) -> Recovery:
    request = get(session, number, now=now)
    _require(session, Duty.DECIDING, by.person, by.token, in_office, now)
    if by.person == request.asked_by_person:
        raise RecoveryRefused(f"recovery {number}: who asked for it does not decide on it")
    if by.person == request.person:
        raise RecoveryRefused(f"recovery {number}: nobody decides on the recovery of their own keys")
    if request.state not in states:
        raise RecoveryRefused(f"recovery {number} {_STANDS[request.state]}")
    return request


def _decide(
    session: Session, request: Recovery, state: State, by: Participant, *, expires_at: datetime, now: datetime
) -> Recovery:
    values = {
        "state": str(state),
        "decided_by": by.actor.name[:200],
        "decided_by_person": by.person,
        "decided_by_token": by.token,
        "decided_at": now,
        "expires_at": expires_at,
    }
    _move(session, request, values, now)
    _record(session, f"recovery.{state}", request, by, now, asked_by=request.asked_by)
    return get(session, request.id, now=now)


def _move(session: Session, request: Recovery, values: Mapping[str, Any], now: datetime) -> None:
    """Change a request that still stands as it was read; of several who do so at the same moment one does."""
    as_read = (_REQUEST.c.id == request.id) & (_REQUEST.c.state == str(request.state)) & (_REQUEST.c.expires_at > now)
    if session.execute(update(_REQUEST).where(as_read).values(values).returning(_REQUEST.c.id)).scalar_one_or_none() is None:
        raise RecoveryRefused(f"recovery {request.id} does not stand any more as it did a moment ago: look at it again")


def _require(session: Session, duty: Duty, person: PersonId, token: int, in_office: InOffice, now: datetime) -> None:
    """Return if a person may do their duty, and hold them active until the commit."""
    try:
        require_active(session, person=person, device=None)
    except Inactive:
        raise RecoveryRefused(f"who is {duty} for this recovery, or did, is not active any more") from None
    if not in_office(session, duty, person, token, now):
        raise RecoveryRefused(f"the token that is, or was, used for {duty} is not in force any more, or not for that")


def _record(session: Session, action: str, request: Recovery, by: Participant, now: datetime, **more: object) -> None:
    details = {"person": request.person, "key": request.key, **more}
    log.record(session, Event(by.actor, action, f"recovery:{request.id}", details=details), now=now)
