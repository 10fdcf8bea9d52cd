"""Delivering a person's encryption keys to a device of theirs, as administrators order it, and what became of deliveries."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from urllib.parse import quote

from sqlmodel import Session

from ca.authorisation import PersonId
from foundation.errors import BadRequest
from people.devices import DeviceRecord, device_named, names_of
from people.person import PersonRecord
from people.persons import person_named, upns_of
from pkcs_import import delivery, delivery_ends, delivery_register
from pkcs_import import http as links
from pkcs_import.archive import Delivered, DeliveryOrder, PackedKey
from pkcs_import.delivery import Method, State
from pkcs_import.delivery_links import LinkToken, new_link
from pkcs_import.delivery_register import DeliveryFilter, DeliveryRecord
from pkcs_import.delivery_targets import Target, encoding_for, takes_one_at_a_time, usual_target
from pkcs_import.errors import DeliveryRefused
from pkcs_import.keeping import KeptKey
from pkcs_import.packing import Encoding
from signetry import delivery_mails
from signetry.house import House

# What an administrator orders by itself; profiles and Intune have their own commands.
METHODS: Final = (Method.LINK, Method.FILE, Method.MAIL)
LONGEST: Final = timedelta(days=30)
# The templates of mails (``notices.kinds``).
_LINK_MAIL: Final = "delivery-link"
_KEYS_MAIL: Final = "delivery-mail"


@dataclass(frozen=True, slots=True)
class DeliveryRequest:
    """What is wanted: ``person`` and ``device`` as an administrator names them.

    Attributes:
        method: link, file or mail.
        target: what imports it; by the method and the device's platform where it is not said.
        separate: a file, or mail, for each key; by what imports them where it is not said.
        send_link: whether the link is mailed to the person, and shown to nobody else.
        lifetime: for how long it may be fetched; as the settings say where it is not said.
    """

    person: str
    device: str
    method: Method
    target: Target | None = None
    separate: bool | None = None
    send_link: bool = False
    lifetime: timedelta | None = None


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery: whose keys, to which device, and how it stands. ``keys`` are the SHA-256 (hex) of their public keys."""

    id: int
    person: str | None
    device: str | None
    method: Method
    encoding: str
    state: State
    keys: tuple[str, ...]
    ordered_by: str
    ordered_at: datetime
    expires_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveredCertificate:
    """A key that would be delivered, by the certificate that goes with it."""

    key: int
    subject: str
    serial: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Planned:
    """What an order would do, the current key first."""

    person: str
    device: str
    method: Method
    encoding: Encoding
    separate: bool
    expires_at: datetime
    keys: tuple[DeliveredCertificate, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """What an order came to, for the only time: the passphrase is kept nowhere, and of the link only a digest.

    ``link`` is None where it was mailed or there is none, ``files`` are there for the method file only, ``mailed_to`` is the
    address of a mail.
    """

    delivery: DeliveryView
    passphrase: str = field(repr=False)
    link: str | None = field(default=None, repr=False)
    mailed_to: str | None = None
    files: tuple[PackedKey, ...] = ()


def plan(session: Session, house: House, request: DeliveryRequest) -> Planned:
    """Return what an order would do, in a writing session; nothing is changed. Raises as ``order``."""
    person, device, wanted, _ = _order(session, house, request)
    keys = delivery.admit(session, wanted, house.clock.now(), methods=house.settings.archive.delivery_methods)
    assert wanted.expires_at is not None  # noqa: S101 - made above
    certificates = tuple(map(_certificate, keys))
    return Planned(
        person=person.upn,
        device=device.name,
        method=Method(wanted.method),
        encoding=wanted.encoding,
        separate=wanted.separate,
        expires_at=wanted.expires_at,
        keys=certificates,
    )


def order(house: House, request: DeliveryRequest) -> Ordered:
    """Have a person's encryption keys packed for a device of theirs, and send, show or return them.

    The files of the method file are on record as handed over once ``handed`` says so.

    Raises:
        UnknownPerson, UnknownDevice: there is none.
        BadRequest: the lifetime is out of bounds, or the wishes contradict each other.
        DeliveryRefused: person or device may get nothing, or there is no key.
        NoticesNotConfigured: it is a matter of mail, and no mail server is configured.
        ArchiveUnavailable, NoArchiveKey, SealBroken: the archive process does not answer, or cannot open what is stored.
    """
    _check(request)
    if request.send_link or request.method is Method.MAIL:
        house.notices.require()
    with house.transactions.reading() as session:
        person, device, wanted, link = _order(session, house, request)
    delivered = house.archive.deliver(wanted, actor=house.actor)
    passphrase = delivered.passphrase or ""
    url = None if link is None else link_url(house, link)
    mailed = None
    if request.method is Method.MAIL:
        mail = partial(_mail_keys, house=house, person=person, device=device, delivered=delivered, order=wanted)
        house.transactions.write(mail)
        mailed = person.email
    elif url is not None and request.send_link:
        send = partial(_mail_link, house=house, person=person, device=device, delivered=delivered, url=url, order=wanted)
        house.transactions.write(send)
        mailed, url = person.email, None
    with house.transactions.reading() as session:
        shown = show(session, delivered.delivery_id)
    files = delivered.files if request.method is Method.FILE else ()
    return Ordered(shown, passphrase, url, mailed, files)


def handed(house: House, delivery_id: int) -> None:
    """Note that the files of a delivery are where they should be. Raises UnknownDelivery."""

    def act(session: Session) -> None:
        delivery.hand(session, delivery_id, actor=house.actor, now=house.clock.now(), listeners=house.handed_listeners)

    house.transactions.write(act)


def stop(session: Session, house: House, delivery_id: int) -> DeliveryView:
    """Stop a delivery that has not gone out yet, in the session's transaction. Raises UnknownDelivery."""
    delivery_ends.stop(session, delivery_id, actor=house.actor, now=house.clock.now(), listeners=house.ended_listeners)
    return show(session, delivery_id)


def show(session: Session, delivery_id: int) -> DeliveryView:
    """Return a delivery. Raises UnknownDelivery."""
    return _views(session, [delivery_register.get(session, delivery_id)])[0]


def listed(
    session: Session,
    *,
    person: str | None = None,
    device: str | None = None,
    state: State | None = None,
    before: int | None = None,
    limit: int,
) -> list[DeliveryView]:
    """Return deliveries, the newest first. Raises UnknownPerson, UnknownDevice."""
    wanted = DeliveryFilter(
        person=None if person is None else PersonId(person_named(session, person).id),
        device=None if device is None else device_named(session, device).id,
        state=state,
    )
    return _views(session, delivery_register.matching(session, wanted, before=before, limit=limit))


def link_url(house: House, link: LinkToken) -> str:
    """Return the URL of a link, as phones reach the device listener."""
    return f"{house.settings.device_url}{links.PATH}?{links.PARAMETER}={quote(link.text)}"


def _check(request: DeliveryRequest) -> None:
    if request.method not in METHODS:
        raise BadRequest(f"method: {', '.join(METHODS)}")
    if request.lifetime is not None and not timedelta(0) < request.lifetime <= LONGEST:
        raise BadRequest(f"a delivery waits up to {LONGEST.days} days to be fetched")
    if request.send_link and request.method is not Method.LINK:
        raise BadRequest("only a link can be mailed; the method mail sends the keys themselves")


def _order(
    session: Session, house: House, request: DeliveryRequest
) -> tuple[PersonRecord, DeviceRecord, DeliveryOrder, LinkToken | None]:
    _check(request)
    person = person_named(session, request.person)
    device = device_named(session, request.device)
    if device.owner_id != person.id:
        raise DeliveryRefused(f"nothing is delivered: the device {device.name} is not {person.upn}'s")
    target = request.target or usual_target(request.method, device.platform)
    lifetime = request.lifetime or timedelta(hours=house.settings.archive.link_ttl)
    link = new_link(PersonId(person.id)) if request.method is Method.LINK else None
    wanted = DeliveryOrder(
        person=PersonId(person.id),
        device=device.id,
        method=request.method,
        encoding=encoding_for(target),
        ordered_by=house.actor.name,
        separate=takes_one_at_a_time(target) if request.separate is None else request.separate,
        token_digest=None if link is None else link.digest,
        expires_at=house.clock.now() + lifetime,
    )
    return person, device, wanted, link


def _mail_link(
    session: Session,
    *,
    house: House,
    person: PersonRecord,
    device: DeviceRecord,
    delivered: Delivered,
    url: str,
    order: DeliveryOrder,
) -> None:
    assert order.expires_at is not None  # noqa: S101 - made by _order
    keys = sum(len(file.key_ids) for file in delivered.files)
    values: dict[str, str | datetime | int] = {"link": url, "until": order.expires_at, "device": device.name, "keys": keys}
    house.notices.owe(session, person.id, _LINK_MAIL, values, good_until=order.expires_at)


def _mail_keys(
    session: Session, *, house: House, person: PersonRecord, device: DeviceRecord, delivered: Delivered, order: DeliveryOrder
) -> None:
    """Owe the mails; the device holds the keys once all of them have been sent (``signetry.delivery_mails``)."""
    delivery.require_ready(session, delivered.delivery_id)
    for file in delivered.files:
        house.notices.owe(
            session,
            person.id,
            _KEYS_MAIL,
            {"device": device.name, "keys": len(file.key_ids)},
            attachment=file.pkcs12,
            attachment_name=file.name,
            good_until=order.expires_at,
            reference=delivery_mails.reference(delivered.delivery_id),
        )


def _certificate(key: KeptKey) -> DeliveredCertificate:
    certificate = delivery.certificate_for(key)
    return DeliveredCertificate(key.id, certificate.subject, certificate.serial, certificate.not_after)


def _views(session: Session, records: Collection[DeliveryRecord]) -> list[DeliveryView]:
    upns: Mapping[int, str] = upns_of(session, {each.person for each in records})
    devices = names_of(session, {each.device for each in records if each.device is not None})
    return [
        DeliveryView(
            id=each.id,
            person=upns.get(each.person),
            device=devices.get(each.device or 0),
            method=each.method,
            encoding=each.encoding,
            state=each.state,
            keys=each.keys,
            ordered_by=each.ordered_by,
            ordered_at=each.ordered_at,
            expires_at=each.expires_at,
            ended_at=each.ended_at,
        )
        for each in records
    ]
