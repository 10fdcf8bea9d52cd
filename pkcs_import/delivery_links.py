"""One-time links to deliveries: what their tokens look like, what they lead to, and fetching it, once.

Only the digest of a token is on record. It covers the person, whom the token names: a digest that somebody moved to another
person's delivery opens nothing. Whatever is wrong with a token, whoever presents it learns one and the same.
"""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, func, select
from sqlmodel import Session

from audit.log import Actor
from ca.authorisation import PersonId
from foundation.tables import table_of
from people.records import Device, Person
from pkcs_import.delivery import HandedListener, Method, State, require_recipient, settle
from pkcs_import.delivery_package import Package, described
from pkcs_import.errors import DeliveryRefused, UnknownDelivery
from pkcs_import.records import DeliveredKey, Delivery

_SECRET_BYTES: Final = 32
_DOMAIN: Final = b"signetry delivery link"
_DELIVERY = table_of(Delivery)
_DELIVERED = table_of(DeliveredKey)
_DEVICE = table_of(Device)
_PERSON = table_of(Person)


@dataclass(frozen=True, slots=True)
class LinkToken:
    """A link's token, to be shown once: ``text`` stands in the URL, ``digest`` in the record."""

    text: str = field(repr=False)
    digest: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a link leads to: how many keys, for which device (its name), and until when."""

    delivery_id: int
    device: str
    keys: int
    expires_at: datetime


def new_link(person: PersonId) -> LinkToken:
    """Return a fresh token of 256 bits for a delivery to ``person``."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    text = f"{person}-{secret}"
    return LinkToken(text, _digest(text))


def offered(session: Session, token: str, *, now: datetime) -> Offer:
    """Return what a token leads to; nothing changes by looking.

    Raises:
        UnknownDelivery: nothing, or nothing any more; the message is always the same.
    """
    row = _found(session, token, now)
    keys = session.scalar(select(func.count()).where(_DELIVERED.c.delivery_id == row.id)) or 0
    return Offer(row.id, row.name, keys, row.expires_at)


def fetch(session: Session, token: str, *, origin: str, now: datetime, listeners: Sequence[HandedListener] = ()) -> Package:
    """Return what a token leads to, in the caller's transaction; from then on it leads to nothing.

    The package may leave the process only after the commit.

    Raises:
        UnknownDelivery: as ``offered``.
    """
    row = _found(session, token, now)
    try:
        require_recipient(session, PersonId(row.person_id), row.device_id)
        # Before the change, which empties it.
        package = session.scalar(select(_DELIVERY.c.package).where(_DELIVERY.c.id == row.id).with_for_update())
        settle(session, row.id, State.FETCHED, actor=Actor(f"link:{row.id}", origin), now=now, listeners=listeners)
    except (DeliveryRefused, UnknownDelivery):
        raise _nowhere() from None
    return described(bytes(package or b""), row.id)


def _found(session: Session, token: str, now: datetime) -> Row[Any]:
    """Return the delivery of a token that is ready, whose device is its person's, both active."""
    columns = (_DELIVERY.c.id, _DELIVERY.c.person_id, _DELIVERY.c.device_id, _DELIVERY.c.expires_at, _DEVICE.c.name)
    query = (
        select(*columns)
        .join(_PERSON, _PERSON.c.id == _DELIVERY.c.person_id)
        .join(_DEVICE, (_DEVICE.c.id == _DELIVERY.c.device_id) & (_DEVICE.c.owner_id == _DELIVERY.c.person_id))
        .where(_DELIVERY.c.token_digest == _digest(token), _PERSON.c.active, _DEVICE.c.active)
        .where(_DELIVERY.c.method == str(Method.LINK), _DELIVERY.c.state == str(State.READY), _DELIVERY.c.expires_at > now)
    )
    row = session.execute(query).one_or_none()
    if row is None or token.partition("-")[0] != str(row.person_id):
        raise _nowhere()
    return row


def _digest(token: str) -> str:
    return hashlib.sha256(_DOMAIN + b"\0" + token.encode("utf-8", "surrogatepass")).hexdigest()


def _nowhere() -> UnknownDelivery:
    return UnknownDelivery("this link leads to nothing, or to nothing any more: a link works once, and for a limited time")
