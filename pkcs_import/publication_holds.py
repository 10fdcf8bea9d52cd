"""Holding back a new encryption certificate that is made here until the person's devices hold its key.

As long as it is held back it is published nowhere and its predecessor stays: otherwise mail arrives that nobody can read. It is
let go when every active device of the person holds the key, when there is nothing that a device could lose by it, when there is
no earlier certificate any more that could be published in its place, or when its time is up. Source: design.md section 5.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import delete, insert, select
from sqlmodel import Session

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import PersonId
from ca.profiles import MAIL_ALL_IN_ONE, SMIME_DUAL, SMIME_ENCRYPTION
from ca.records import Certificate
from foundation.clock import Clock
from foundation.tables import table_of
from foundation.transactions import Transactions
from people.devices import list_devices
from people.persons import MAX_PAGE
from pkcs_import.delivery import Method, State, held_by
from pkcs_import.encryption_certificates import current
from pkcs_import.keeping import Origin
from pkcs_import.records import ArchivedCertificate, DeliveredKey, Delivery, PublicationHold

_HOLD = table_of(PublicationHold)
_ARCHIVED = table_of(ArchivedCertificate)
_CERTIFICATE = table_of(Certificate)
_DELIVERY = table_of(Delivery)
_DELIVERED = table_of(DeliveredKey)
# Those that mail may be encrypted to, and that a device may have got for a key of its own.
_OF_DEVICES: Final = (SMIME_ENCRYPTION.name, SMIME_DUAL.name, MAIL_ALL_IN_ONE.name)
_REVIEWED_AT_ONCE: Final = 200

# Told of each person whose certificate is held back no more, in the transaction that lets it go.
ReleaseListener = Callable[[Session, PersonId], None]
# Returns the ids of the certificates that have not been handed out: nobody holds them.
Withheld = Callable[[Session], Collection[int]]


@dataclass(frozen=True, slots=True)
class Holds:
    """Who holds back, and lets go.

    Attributes:
        actor: in whose name certificates are let go, for the audit record.
        publish_after: how long a certificate is held back at most.
        withheld: which certificates nobody holds though they were issued.
        listeners: who is told when one is let go.
    """

    actor: Actor
    publish_after: timedelta
    withheld: Withheld
    listeners: Sequence[ReleaseListener] = ()

    def hold(self, session: Session, person: PersonId, key_id: int, certificate_id: int, now: datetime) -> datetime | None:
        """Hold back a certificate that is being issued over an archived key; return until when at most, None if it is not.

        To be called in the issuing transaction, behind the certificate's record and the key's.
        """
        end = self._until(session, person, key_id, certificate_id, now)
        if end is None:
            return None
        until = min(end, now + self.publish_after)
        if until <= now:
            return None
        session.execute(insert(_HOLD), {"certificate_id": certificate_id, "person_id": person, "until": until})
        return until

    def review(self, session: Session, person: PersonId, now: datetime) -> int:
        """Let go what need not be held back of a person's any more, in the caller's transaction; return how many."""
        key = _ARCHIVED.c.archived_key_id
        query = (
            select(_HOLD.c.id, _HOLD.c.certificate_id, _HOLD.c.until, key)
            .join_from(_HOLD, _ARCHIVED, _ARCHIVED.c.certificate_id == _HOLD.c.certificate_id)
            .where(_HOLD.c.person_id == person)
            .order_by(_HOLD.c.id)
            .with_for_update(of=_HOLD, skip_locked=True)
        )
        released = 0
        for row in session.execute(query).all():
            if row.until > now and self._until(session, person, row.archived_key_id, row.certificate_id, now) is not None:
                continue
            session.execute(delete(_HOLD).where(_HOLD.c.id == row.id))
            details = {"person": person, "reason": "its time is up" if row.until <= now else "nobody has to wait for it"}
            event = Event(self.actor, "publication.released", f"certificate-id:{row.certificate_id}", details=details)
            record_event(session, event, now=now)
            released += 1
        if released:
            for listener in self.listeners:
                listener(session, person)
        return released

    def review_all(self, transactions: Transactions, clock: Clock) -> int:
        """Let go all that need not be held back any more, each person's in a transaction of its own; return how many."""
        released, after = 0, 0
        while True:
            now = clock.now()
            with transactions.reading() as session:
                persons = _persons(session, after)
                due = [person for person in persons if self._is_any_due(session, person, now)]
            for person in due:
                released += transactions.write(partial(self.review, person=person, now=now))
            if len(persons) < _REVIEWED_AT_ONCE:
                return released
            after = persons[-1]

    def _is_any_due(self, session: Session, person: PersonId, now: datetime) -> bool:
        query = select(_HOLD.c.certificate_id, _HOLD.c.until, _ARCHIVED.c.archived_key_id).join_from(
            _HOLD, _ARCHIVED, _ARCHIVED.c.certificate_id == _HOLD.c.certificate_id
        )
        return any(
            row.until <= now or self._until(session, person, row.archived_key_id, row.certificate_id, now) is None
            for row in session.execute(query.where(_HOLD.c.person_id == person))
        )

    def _until(self, session: Session, person: PersonId, key_id: int, certificate_id: int, now: datetime) -> datetime | None:
        """Return until when an earlier certificate can stand in, None where nothing is to be waited for."""
        devices = list_devices(session, owner_id=person, active=True, limit=MAX_PAGE)
        managed = _by_intune(session, person)
        holding = {device.id: held_by(session, device.id) | (managed if device.mdm_id else frozenset()) for device in devices}
        if all(key_id in keys for keys in holding.values()):
            return None
        earlier = [each for each in current(session, [person], now).get(person, ()) if each.key_id != key_id]
        own = self._of_devices(session, person, certificate_id, now)
        if not any(
            # An imported one is used somewhere already, whether it was delivered from here or not.
            any(each.origin is Origin.IMPORTED for each in earlier)
            or own.keys() & holding.keys()
            or {each.key_id for each in earlier} & keys
            for keys in holding.values()
        ):
            return None
        return max([*(each.not_after for each in earlier), *own.values()])

    def _of_devices(self, session: Session, person: PersonId, certificate_id: int, now: datetime) -> dict[int, datetime]:
        """Return the devices that have a good certificate for a key of their own, with its end."""
        columns = (_CERTIFICATE.c.id, _CERTIFICATE.c.device_id, _CERTIFICATE.c.not_after)
        good = (_CERTIFICATE.c.revoked_at.is_(None), _CERTIFICATE.c.not_after > now, _CERTIFICATE.c.profile.in_(_OF_DEVICES))
        query = select(*columns).where(_CERTIFICATE.c.person_id == person, _CERTIFICATE.c.device_id.is_not(None), *good)
        rows = session.execute(query.order_by(_CERTIFICATE.c.not_after)).all()
        withheld = self.withheld(session) if rows else ()
        return {row.device_id: row.not_after for row in rows if row.id != certificate_id and row.id not in withheld}


def certificate_ids(session: Session) -> frozenset[int]:
    """Return the ids of all certificates that are held back."""
    return frozenset(session.scalars(select(_HOLD.c.certificate_id)))


def held_until(session: Session, ids: Collection[int]) -> dict[int, datetime]:
    """Return until when certificates of these ids are held back at most, those that are."""
    rows = session.execute(select(_HOLD.c.certificate_id, _HOLD.c.until).where(_HOLD.c.certificate_id.in_(list(ids))))
    return {row.certificate_id: row.until for row in rows}


def _by_intune(session: Session, person: PersonId) -> frozenset[int]:
    """Return the ids of the archived keys that Intune has for whatever devices of the person it manages."""
    query = (
        select(_DELIVERED.c.archived_key_id)
        .join(_DELIVERY, _DELIVERY.c.id == _DELIVERED.c.delivery_id)
        .where(_DELIVERY.c.person_id == person, _DELIVERY.c.method == str(Method.INTUNE), _DELIVERY.c.state == str(State.HANDED))
    )
    return frozenset(session.scalars(query))


def _persons(session: Session, after: int) -> list[PersonId]:
    query = select(_HOLD.c.person_id).where(_HOLD.c.person_id > after).distinct().order_by(_HOLD.c.person_id)
    return [PersonId(number) for number in session.scalars(query.limit(_REVIEWED_AT_ONCE))]
