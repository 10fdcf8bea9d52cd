"""Handing a person's encryption keys to a device of theirs: who may get what, and what is on record of it.

A delivery is packed when it is ordered, under a passphrase that is kept nowhere, and is *ready*. It ends *fetched* (by its link,
``delivery_links``) or *handed* (the file was written, the mail was sent, Intune has it), or it *expires* or is *stopped*
(``delivery_ends``). A device holds a key when a delivery to it with that key was fetched or handed. Source: design.md section 5.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import insert, select, update
from sqlmodel import Session

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import PersonId
from ca.records import Certificate
from foundation.tables import table_of
from people.activity import Inactive, require_active
from people.records import Device
from pkcs_import.archive import DeliveryOrder, PackedKey
from pkcs_import.delivery_package import packed_together
from pkcs_import.errors import DeliveryRefused, UnknownDelivery
from pkcs_import.keeping import KeptCertificate, KeptKey, keys_of
from pkcs_import.purpose import Purpose
from pkcs_import.records import DeliveredKey, Delivery

_DELIVERY = table_of(Delivery)
_DELIVERED = table_of(DeliveredKey)
_CERTIFICATE = table_of(Certificate)
_DEVICE = table_of(Device)
_FOR_ENCRYPTION: Final = (Purpose.ENCRYPTION, Purpose.BOTH)


class Method(StrEnum):
    """By which way a delivery reaches its device."""

    LINK = "link"
    """Fetched once from the device listener."""
    FILE = "file"
    """Given to whoever ordered it, for a desktop."""
    MAIL = "mail"
    """Attached to a mail to the person."""
    PROFILE = "profile"
    """Payloads of a configuration profile."""
    INTUNE = "intune"
    """Imported PFX certificates of Intune, for whatever devices of the person it manages."""


class State(StrEnum):
    """How a delivery stands."""

    READY = "ready"
    FETCHED = "fetched"
    HANDED = "handed"
    EXPIRED = "expired"
    STOPPED = "stopped"


_HELD: Final = (State.FETCHED, State.HANDED)


@dataclass(frozen=True, slots=True)
class Handed:
    """Keys that a device holds from now on, as listeners see it: before the commit. Those for Intune name no device."""

    delivery_id: int
    person: PersonId
    device: int | None
    method: Method
    key_ids: tuple[int, ...]


HandedListener = Callable[[Session, Handed], None]


def admit(session: Session, order: DeliveryOrder, now: datetime, *, methods: Collection[str] = tuple(Method)) -> list[KeptKey]:
    """Return the keys that an order is for, the current one first, then the newest first; hold person and device so.

    To be asked by whoever opens the seals, in the transaction that records the delivery. ``methods`` are those that the settings
    allow.

    Raises:
        DeliveryRefused: the method is switched off or does not fit, person or device is not active, the device is somebody
            else's, or there is no such key.
    """
    _require_fitting(order, methods, now)
    require_recipient(session, order.person, order.device)
    keys = keys_to_deliver(session, order.person, now)
    if order.key_ids:
        keys = [key for key in keys if key.id in order.key_ids]
        if len(keys) != len(set(order.key_ids)):
            raise DeliveryRefused("one of the keys is none of the person's encryption keys")
    if not keys:
        raise DeliveryRefused("the archive holds no encryption key of this person")
    return keys


def require_recipient(session: Session, person: PersonId, device: int | None) -> None:
    """Return if the person is active and the device, where there is one, is theirs and active; hold both so until the commit.

    Raises:
        DeliveryRefused: the message says what is not so.
    """
    try:
        require_active(session, person=person, device=device)
    except Inactive as error:
        raise DeliveryRefused(f"nothing is delivered: {error}") from None
    if device is not None and session.scalar(select(_DEVICE.c.owner_id).where(_DEVICE.c.id == device)) != person:
        raise DeliveryRefused("nothing is delivered: the device is not this person's")


def keys_to_deliver(session: Session, person: PersonId, now: datetime) -> list[KeptKey]:
    """Return all encryption keys of a person: the current one, whose certificate is in force and began last, then the newest."""
    keys = [key for key in keys_of(session, person) if key.is_for_encryption]
    ours = [each.certificate_id for key in keys for each in key.certificates if each.certificate_id is not None]
    is_revoked = _CERTIFICATE.c.revoked_at.is_not(None)
    revoked = set(session.scalars(select(_CERTIFICATE.c.id).where(_CERTIFICATE.c.id.in_(ours), is_revoked)))

    def began(key: KeptKey) -> tuple[datetime, int] | None:
        in_force = (each for each in key.certificates if each.purpose in _FOR_ENCRYPTION and each.certificate_id not in revoked)
        return max(((each.not_before, each.id) for each in in_force if each.not_before <= now < each.not_after), default=None)

    ranked = [(rank, key) for key in keys if (rank := began(key)) is not None]
    current = max(ranked, key=lambda each: each[0])[1] if ranked else None
    return keys if current is None else [current, *(key for key in keys if key is not current)]


def certificate_for(key: KeptKey) -> KeptCertificate:
    """Return the certificate that goes with an encryption key into a PKCS #12: of those for encryption the one that ends last."""
    return certificates_for(key)[0]


def certificates_for(key: KeptKey) -> list[KeptCertificate]:
    """Return an encryption key's certificates for encryption, the one that ends last first."""
    return [each for each in key.certificates if each.purpose in _FOR_ENCRYPTION]


def record(session: Session, order: DeliveryOrder, packed: Sequence[PackedKey], *, actor: Actor, now: datetime) -> int:
    """Record a delivery that was packed, ready to go, with its audit event; return its id.

    The package is kept for a link only. A link for the device that nobody has fetched yet is stopped: the new one replaces it.
    """
    method = Method(order.method)
    by_link = method is Method.LINK
    replaced = _stop_replaced(session, order, now) if by_link else []
    values = {
        "person_id": order.person,
        "device_id": order.device,
        "method": str(method),
        "encoding": str(order.encoding),
        "state": str(State.READY),
        "ordered_by": order.ordered_by[:200],
        "ordered_at": now,
        "expires_at": order.expires_at,
        "token_digest": order.token_digest if by_link else None,
        "package": packed_together(packed) if by_link else None,
    }
    delivery_id: int = session.execute(insert(_DELIVERY).returning(_DELIVERY.c.id), values).scalar_one()
    key_ids = dict.fromkeys(key_id for each in packed for key_id in each.key_ids)
    session.execute(insert(_DELIVERED), [{"delivery_id": delivery_id, "archived_key_id": key_id} for key_id in key_ids])
    details = {
        "person": order.person,
        "device": order.device,
        "method": str(method),
        "encoding": str(order.encoding),
        "keys": list(key_ids),
        "certificates": list(dict.fromkeys(sha256 for each in packed for sha256 in each.certificate_sha256s)),
        "ordered_by": order.ordered_by,
        **({"replaces": replaced} if replaced else {}),
    }
    record_event(session, Event(actor, "delivery.ordered", f"delivery:{delivery_id}", details=details), now=now)
    return delivery_id


def require_ready(session: Session, delivery_id: int) -> None:
    """Return if a delivery is ready to be handed over; hold it so until the commit. Those by link are fetched instead.

    Raises:
        UnknownDelivery: there is no such delivery, it is over, or it waits to be fetched.
    """
    is_it = (_DELIVERY.c.id == delivery_id) & (_DELIVERY.c.method != str(Method.LINK))
    row = session.execute(select(_DELIVERY.c.state).where(is_it).with_for_update()).one_or_none()
    if row is None or row.state != State.READY:
        raise UnknownDelivery(f"there is no delivery {delivery_id} that is ready to be handed over")


def hand(session: Session, delivery_id: int, *, actor: Actor, now: datetime, listeners: Sequence[HandedListener] = ()) -> Handed:
    """Note that a delivery has gone out, in the caller's transaction. Raises as ``require_ready``."""
    require_ready(session, delivery_id)
    return settle(session, delivery_id, State.HANDED, actor=actor, now=now, listeners=listeners)


def settle(
    session: Session,
    delivery_id: int,
    state: State,
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[HandedListener] = (),
) -> Handed:
    """Note that a delivery that is ready was fetched or handed: once. Its link and package go, and the listeners are told.

    Raises:
        UnknownDelivery: it is not ready any more.
    """
    ready = (_DELIVERY.c.id == delivery_id) & (_DELIVERY.c.state == str(State.READY))
    columns = (_DELIVERY.c.person_id, _DELIVERY.c.device_id, _DELIVERY.c.method)
    values = {"state": str(state), "ended_at": now, "token_digest": None, "package": None}
    row = session.execute(update(_DELIVERY).where(ready).values(values).returning(*columns)).one_or_none()
    if row is None:
        raise UnknownDelivery(f"delivery {delivery_id} is over")
    keys = select(_DELIVERED.c.archived_key_id).where(_DELIVERED.c.delivery_id == delivery_id).order_by(_DELIVERED.c.id)
    key_ids = tuple(session.scalars(keys))
    handed = Handed(delivery_id, PersonId(row.person_id), row.device_id, Method(row.method), key_ids)
    details = {"person": row.person_id, "device": row.device_id, "method": row.method, "keys": list(key_ids)}
    record_event(session, Event(actor, f"delivery.{state}", f"delivery:{delivery_id}", details=details), now=now)
    for listener in listeners:
        listener(session, handed)
    return handed


def held_by(session: Session, device: int) -> frozenset[int]:
    """Return the ids of the archived keys that a device holds."""
    query = (
        select(_DELIVERED.c.archived_key_id)
        .join(_DELIVERY, _DELIVERY.c.id == _DELIVERED.c.delivery_id)
        .where(_DELIVERY.c.device_id == device, _DELIVERY.c.state.in_([str(state) for state in _HELD]))
    )
    return frozenset(session.scalars(query))


def _require_fitting(order: DeliveryOrder, methods: Collection[str], now: datetime) -> None:
    """Raise DeliveryRefused for an order that makes no sense, or that the settings do not allow."""
    if order.method not in [str(each) for each in Method]:
        raise DeliveryRefused("there is no such method of delivery")
    if order.method not in methods:
        raise DeliveryRefused(f"keys are not delivered by {order.method} here: archive.delivery_methods does not allow it")
    if (order.device is None) != (order.method == Method.INTUNE):
        raise DeliveryRefused("keys go to a registered device of the person, by Intune to those that it manages")
    if order.expires_at is None or order.expires_at <= now:
        raise DeliveryRefused("the delivery would be over before it could be fetched")
    if (order.token_digest is not None) != (order.method == Method.LINK):
        raise DeliveryRefused("a delivery by link has a link, and no other has")


def _stop_replaced(session: Session, order: DeliveryOrder, now: datetime) -> list[int]:
    waiting = (_DELIVERY.c.person_id == order.person, _DELIVERY.c.device_id == order.device)
    ready = (_DELIVERY.c.method == str(Method.LINK), _DELIVERY.c.state == str(State.READY))
    values = {"state": str(State.STOPPED), "ended_at": now, "token_digest": None, "package": None}
    stopped = session.execute(update(_DELIVERY).where(*waiting, *ready).values(values).returning(_DELIVERY.c.id))
    return sorted(stopped.scalars())
