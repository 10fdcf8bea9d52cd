"""Renewing what was made here before it expires: with a new key, the old one stays in the archive.

Only the newest certificate that was made for a person is renewed, and only while nobody has revoked it; one that has expired
meanwhile is, too, so that a service that was down for long catches up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlmodel import Session

from ca.authorisation import PersonId
from ca.records import Certificate
from foundation.clock import Clock
from foundation.errors import SignetryError
from foundation.tables import table_of
from foundation.transactions import Transactions
from people.records import Person
from pkcs_import.keeping import Origin
from pkcs_import.making import Demand, Maker, Order, Outcome
from pkcs_import.records import ArchivedCertificate, ArchivedKey

_KEY = table_of(ArchivedKey)
_ARCHIVED = table_of(ArchivedCertificate)
_CERTIFICATE = table_of(Certificate)
_PERSON = table_of(Person)
# A new key takes a fraction of a second.
BATCH = 20
_LOOKED_AT_EVERY = timedelta(minutes=10)

_log = structlog.get_logger("pkcs_import.renewing")


@dataclass(frozen=True, slots=True)
class DueRenewal:
    """A certificate to be renewed, by its number, and whose it is."""

    person: PersonId
    certificate_id: int
    serial: str


def due(session: Session, now: datetime, renew_before: timedelta, *, after: int = 0, limit: int) -> list[DueRenewal]:
    """Return certificates made here that end within ``renew_before``, in the order of their numbers from behind ``after``."""
    newer = _ARCHIVED.alias("newer")
    newer_key = _KEY.alias("newer_key")
    is_superseded = (
        select(newer.c.id)
        .join(newer_key, newer_key.c.id == newer.c.archived_key_id)
        .where(newer.c.person_id == _ARCHIVED.c.person_id, newer.c.certificate_id > _ARCHIVED.c.certificate_id)
        .where(newer_key.c.origin == str(Origin.MADE))
        .exists()
    )
    query = (
        select(_ARCHIVED.c.person_id, _ARCHIVED.c.certificate_id, _ARCHIVED.c.serial)
        .join_from(_ARCHIVED, _KEY, _KEY.c.id == _ARCHIVED.c.archived_key_id)
        .join(_CERTIFICATE, _CERTIFICATE.c.id == _ARCHIVED.c.certificate_id)
        .join(_PERSON, _PERSON.c.id == _ARCHIVED.c.person_id)
        .where(_KEY.c.origin == str(Origin.MADE), _ARCHIVED.c.certificate_id > after)
        .where(_ARCHIVED.c.not_after <= now + renew_before, _CERTIFICATE.c.revoked_at.is_(None), _PERSON.c.active, ~is_superseded)
        .order_by(_ARCHIVED.c.certificate_id)
        .limit(limit)
    )
    return [DueRenewal(PersonId(row.person_id), row.certificate_id, row.serial) for row in session.execute(query)]


class Renewals:
    """What the worker does about them: a batch at a time, from the oldest certificate on, and from the start again later.

    Who cannot be renewed is left for the next time round, and keeps nobody else waiting.
    """

    def __init__(self, transactions: Transactions, clock: Clock, renew_before: timedelta) -> None:
        self._transactions = transactions
        self._clock = clock
        self._renew_before = renew_before
        self._after = 0
        self._next = clock.now()

    def next_due(self, _session: Session) -> datetime:
        """Return when to look again: a batch's end tells, no row."""
        return self._next

    def batch(self) -> Sequence[DueRenewal]:
        """Return what is to be renewed next; nothing where there is nothing left before the next round."""
        with self._transactions.reading() as session:
            found = due(session, self._clock.now(), self._renew_before, after=self._after, limit=BATCH)
        if found:
            self._after = found[-1].certificate_id
        if len(found) < BATCH:
            self._after, self._next = 0, self._clock.now() + _LOOKED_AT_EVERY
        return found

    def run(self, maker: Maker, batch: Sequence[DueRenewal]) -> int:
        """Renew a batch; return how many were renewed. What cannot be renewed is logged."""
        renewed = 0
        for each in batch:
            order = Order(each.person, Demand.RENEWAL, instead_of=each.serial)
            try:
                renewed += maker.make(order).outcome is Outcome.ISSUED
            except SignetryError as error:
                _log.error("encryption certificate not renewed", serial=each.serial, person=each.person, reason=str(error))
        return renewed
