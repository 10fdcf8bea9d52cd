"""Recovering archived keys, as officers and recovery agents describe it: persons by name, and what was refused on record."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from audit import log
from audit.log import Event
from ca.authorisation import PersonId
from people.persons import person_named, upns_of
from pkcs_import import recovery, recovery_requests
from pkcs_import.archive import Recovered
from pkcs_import.delivery import certificate_for
from pkcs_import.errors import RecoveryRefused
from pkcs_import.keeping import KeptKey, keys_of_all
from pkcs_import.packing import Encoding
from pkcs_import.recovery import Participant, Wanted
from pkcs_import.recovery_requests import Recovery, State
from signetry.access.dual_control import in_office
from signetry.house import House


@dataclass(frozen=True, slots=True)
class RecoveryOrder:
    """What is asked for: ``person`` as one is named; ``key`` an archived key's number; ``history`` all encryption keys."""

    person: str
    reason: str
    key: int | None = None
    history: bool = False


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """How keys are exported: ``separate`` stands for a PKCS #12 for each of them, instead of one for all."""

    encoding: Encoding = Encoding.MODERN
    separate: bool = False


@dataclass(frozen=True, slots=True)
class RecoveredKey:
    """A key that is asked for, by what the certificate says that comes with it."""

    id: int
    algorithm: str
    subject: str
    serial: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class RecoveryView:
    """A recovery request: whose keys, which, and who did what. ``keys`` are those that it would bring, or brought."""

    id: int
    state: State
    person: str | None
    history: bool
    keys: tuple[RecoveredKey, ...]
    reason: str
    asked_by: str
    asked_by_person: str | None
    asked_at: datetime
    decided_by: str | None
    decided_by_person: str | None
    decided_at: datetime | None
    expires_at: datetime
    exported_by: str | None
    exported_at: datetime | None


def listed(
    session: Session, house: House, *, state: State | None, person: str | None, before: int | None, limit: int
) -> list[RecoveryView]:
    """Return requests, the newest first. Raises UnknownPerson."""
    whose = None if person is None else PersonId(person_named(session, person).id)
    now = house.clock.now()
    return _views(session, recovery_requests.matching(session, state=state, person=whose, before=before, limit=limit, now=now))


def show(session: Session, house: House, number: int) -> RecoveryView:
    """Return a request. Raises UnknownRecovery."""
    return _view(session, recovery_requests.get(session, number, now=house.clock.now()))


def ask(session: Session, house: House, order: RecoveryOrder, *, by: Participant) -> RecoveryView:
    """Ask for keys, in the session's transaction. Raises UnknownPerson, and as ``recovery.ask``."""
    wanted = Wanted(PersonId(person_named(session, order.person).id), order.key, order.history)
    asked = recovery.ask(session, wanted, order.reason, by=by, in_office=in_office, now=house.clock.now())
    return _view(session, asked)


def approve(session: Session, house: House, number: int, *, by: Participant) -> RecoveryView:
    """Approve a request, in the session's transaction. Raises as ``recovery.approve``."""
    return _view(session, recovery.approve(session, number, by=by, in_office=in_office, now=house.clock.now()))


def reject(session: Session, house: House, number: int, *, by: Participant) -> RecoveryView:
    """Reject a request, in the session's transaction. Raises as ``recovery.reject``."""
    return _view(session, recovery.reject(session, number, by=by, in_office=in_office, now=house.clock.now()))


def export(house: House, number: int, order: ExportOrder, *, token: str, by: Participant) -> Recovered:
    """Have the archive process export an approved request, once; it is on record as exported when this returns.

    ``token`` is that of ``by``: the archive process goes by it, not by what this process says.

    Raises:
        UnknownRecovery, RecoveryRefused: as ``recovery.claim_export``.
        ArchiveUnavailable, KeyUnavailable, SealBroken: nothing can be opened; the request stays as it was.
    """
    # What cannot be exported is told also where the archive process is not there; what it says itself is what counts. A writing
    # session, in which nothing is written: a reading one holds nobody.
    house.transactions.write(
        lambda session: recovery.require_exportable(session, number, by=by, in_office=in_office, now=house.clock.now())
    )
    return house.archive.recover(number, token=token, encoding=order.encoding, separate=order.separate, origin=by.actor.origin)


@contextmanager
def noting_refusals(house: House, by: Participant, attempt: str, subject: str) -> Iterator[None]:
    """Put on record what is refused inside: who tries to be both of the two is worth knowing.

    Args:
        house: where.
        by: who tries.
        attempt: what: ``ask``, ``approve``…
        subject: of which request, or for whose keys, as audit events say it.
    """
    try:
        yield
    except RecoveryRefused as refusal:
        event = Event(
            by.actor, "recovery.refused", subject, outcome="refused", details={"attempt": attempt, "reason": str(refusal)}
        )
        house.transactions.write(lambda session: log.record(session, event, now=house.clock.now()))
        raise


def _view(session: Session, found: Recovery) -> RecoveryView:
    (view,) = _views(session, [found])
    return view


def _views(session: Session, found: Sequence[Recovery]) -> list[RecoveryView]:
    taking_part = {each for row in found for each in (row.person, row.asked_by_person, row.decided_by_person) if each is not None}
    upns = upns_of(session, taking_part)
    keys = keys_of_all(session, {row.person for row in found})
    return [
        RecoveryView(
            id=row.id,
            state=row.state,
            person=upns.get(row.person),
            history=row.key is None,
            keys=tuple(map(_key, recovery.covered(row, keys.get(row.person, ())))),
            reason=row.reason,
            asked_by=row.asked_by,
            asked_by_person=upns.get(row.asked_by_person),
            asked_at=row.asked_at,
            decided_by=row.decided_by,
            decided_by_person=upns.get(row.decided_by_person or 0),
            decided_at=row.decided_at,
            expires_at=row.expires_at,
            exported_by=row.exported_by,
            exported_at=row.exported_at,
        )
        for row in found
    ]


def _key(kept: KeptKey) -> RecoveredKey:
    newest = certificate_for(kept)
    return RecoveredKey(kept.id, kept.algorithm, newest.subject, newest.serial, newest.not_after)
