"""Devices: phones, laptops and routers, with the numbers by which mail and management systems know them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Select, bindparam, func, insert, or_, select, update
from sqlmodel import Session

from audit.log import Actor, Event, record
from foundation.statements import Prepared
from foundation.tables import table_of
from people.addresses import normalise_dns_name
from people.errors import AlreadyTaken, InvalidField, UnknownDevice, UnknownPerson
from people.identifiers import (
    is_id,
    normalise_eas_device_id,
    normalise_iccid,
    normalise_imei,
    normalise_key,
    normalise_mac,
    normalise_phone_number,
    normalise_text,
    normalise_udid,
)
from people.membership import members
from people.persons import MAX_PAGE, find_person
from people.records import Device, Person
from people.uniqueness import claiming

_LONGEST_NAME: Final = 100
_DEVICE = table_of(Device)
_PERSON = table_of(Person)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFields:
    """What an administrator or MDM says of a device. ``owner`` is the UPN of who carries it, None for shared equipment."""

    name: str
    owner: str | None = None
    dns_name: str | None = None
    platform: str = ""
    serial_number: str | None = None
    udid: str | None = None
    imei: str | None = None
    phone_number: str = ""
    wifi_mac: str | None = None
    iccid: str | None = None
    eas_device_id: str | None = None
    mdm_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord(DeviceFields):
    """A device as recorded."""

    id: int
    owner_id: int | None
    active: bool
    created_at: datetime
    changed_at: datetime

    @property
    def fields(self) -> DeviceFields:
        """What may be changed: hand a ``dataclasses.replace`` of it to ``change_device``."""
        return DeviceFields(**{name: getattr(self, name) for name in FIELD_NAMES})


FIELD_NAMES = tuple(field.name for field in fields(DeviceFields))
_STORED_FIELDS = tuple(name for name in FIELD_NAMES if name != "owner")
# No two devices share one of these.
_UNIQUE_FIELDS = tuple(name for name in _STORED_FIELDS if name not in {"platform", "phone_number"})

_COLUMNS = ("id", "owner_id", "active", "created_at", "changed_at", *_STORED_FIELDS)
_DEVICES = select(*(_DEVICE.c[name] for name in _COLUMNS), _PERSON.c.upn.label("owner")).join_from(_DEVICE, _PERSON, isouter=True)
_BY_ID = Prepared(_DEVICES.where(_DEVICE.c.id == bindparam("device_id")))
_BY_NAME = _DEVICES.where(_DEVICE.c.name == bindparam("device_name"))
_CALLED = (
    select(_DEVICE.c.id)
    .where(
        or_(
            # SQLite lowers letters of ASCII only.
            func.lower(_DEVICE.c.name) == bindparam("folded"),
            _DEVICE.c.name == bindparam("device_name"),
            _DEVICE.c.dns_name == bindparam("folded"),
        )
    )
    .limit(1)
)
_BY_DNS_NAME = _DEVICES.where(_DEVICE.c.dns_name == bindparam("host"))
_BY_MDM_IDS = _DEVICES.where(_DEVICE.c.mdm_id.in_(bindparam("mdm_ids", expanding=True))).order_by(_DEVICE.c.id).limit(1)


def normalise_device(given: DeviceFields) -> DeviceFields:
    """Return ``given`` with every field but the owner in its stored form.

    Raises:
        InvalidField: the first field that breaks its rules.
    """
    return DeviceFields(
        name=normalise_text(given.name, field="name", maximum=_LONGEST_NAME, required=True),
        owner=given.owner or None,
        dns_name=normalise_dns_name(given.dns_name) if given.dns_name else None,
        platform=normalise_text(given.platform, field="platform", maximum=30).lower(),
        serial_number=normalise_key(given.serial_number or "", field="serial_number", maximum=100) or None,
        udid=normalise_udid(given.udid) if given.udid else None,
        imei=normalise_imei(given.imei) if given.imei else None,
        phone_number=normalise_phone_number(given.phone_number) if given.phone_number else "",
        wifi_mac=normalise_mac(given.wifi_mac) if given.wifi_mac else None,
        iccid=normalise_iccid(given.iccid) if given.iccid else None,
        eas_device_id=normalise_eas_device_id(given.eas_device_id) if given.eas_device_id else None,
        mdm_id=normalise_key(given.mdm_id or "", field="mdm_id", maximum=100) or None,
    )


def add_device(session: Session, given: DeviceFields, *, actor: Actor, now: datetime, within: str | None = None) -> DeviceRecord:
    """Record a new device, active at once. ``within`` names a group beside whose members nobody can be the owner.

    Raises:
        InvalidField: a field breaks its rules.
        UnknownPerson: nobody has the owner's UPN.
        AlreadyTaken: another device has the name or one of the numbers.
    """
    wanted, owner_id = _resolved(session, given, within)
    values = {name: getattr(wanted, name) for name in _STORED_FIELDS} | {"owner_id": owner_id}
    with claiming(session, lambda: _taken(session, wanted, None)):
        inserted = session.execute(
            insert(_DEVICE).returning(_DEVICE.c.id),
            {**values, "active": True, "created_at": now, "changed_at": now},
        )
        device_id: int = inserted.scalar_one()
    set_fields = {name: value for name in FIELD_NAMES if (value := getattr(wanted, name))}
    record(session, Event(actor, "device.added", f"device:{device_id}", details=set_fields), now=now)
    return DeviceRecord(**values, owner=wanted.owner, id=device_id, active=True, created_at=now, changed_at=now)


def change_device(session: Session, device_id: int, given: DeviceFields, *, actor: Actor, now: datetime) -> DeviceRecord:
    """Make the device's fields those ``given``; what already agrees is not touched, and no difference leaves no trace.

    Raises:
        UnknownDevice: there is no device of this id.
        InvalidField, UnknownPerson, AlreadyTaken: as ``add_device``.
    """
    current = _locked(session, device_id)
    wanted, owner_id = _resolved(session, given)
    changed = [name for name in FIELD_NAMES if getattr(current, name) != getattr(wanted, name)]
    if not changed:
        return current
    values = {name: getattr(wanted, name) for name in changed if name != "owner"} | {"owner_id": owner_id}
    with claiming(session, lambda: _taken(session, wanted, device_id)):
        session.execute(update(_DEVICE).where(_DEVICE.c.id == device_id).values(**values, changed_at=now))
    details = {
        "name": wanted.name,
        "changed": {name: [getattr(current, name), getattr(wanted, name)] for name in changed},
    }
    record(session, Event(actor, "device.changed", f"device:{device_id}", details=details), now=now)
    return get_device(session, device_id)


def deactivate_device(session: Session, device_id: int, *, actor: Actor, now: datetime) -> DeviceRecord:
    """Bar the device from enrolment and renewal; certificates stay as they are. Raises UnknownDevice."""
    return _set_active(session, device_id, "device.deactivated", active=False, actor=actor, now=now)


def reactivate_device(session: Session, device_id: int, *, actor: Actor, now: datetime) -> DeviceRecord:
    """Let the device enrol again. Raises UnknownDevice."""
    return _set_active(session, device_id, "device.reactivated", active=True, actor=actor, now=now)


def find_device_for_enrolment(session: Session, device_id: int) -> DeviceRecord | None:
    """Return the device of this id, in one statement prepared beforehand."""
    row = _BY_ID.row(session, {"device_id": device_id})
    return DeviceRecord(**row._asdict()) if row else None


def find_device(session: Session, name: str) -> DeviceRecord | None:
    """Return the device of this name, if there is one; what can be nobody's name is none."""
    try:
        wanted = normalise_text(name.strip(), field="name", maximum=_LONGEST_NAME)
    except InvalidField:
        return None
    return _record(session.execute(_BY_NAME, {"device_name": wanted}).one_or_none())


def is_called(session: Session, name: str) -> bool:
    """Say whether a device has this (normalised) name, or it as its DNS name, in whatever case: certificates differ in none.

    All devices are looked at, so this is for names that somebody else has made up.
    """
    return session.execute(_CALLED, {"folded": name.lower(), "device_name": name}).first() is not None


def find_device_by_dns_name(session: Session, dns_name: str) -> DeviceRecord | None:
    """Return the device that has this (normalised) DNS name, if there is one."""
    return _record(session.execute(_BY_DNS_NAME, {"host": dns_name}).one_or_none())


def find_device_managed_as(session: Session, mdm_id: str) -> DeviceRecord | None:
    """Return the device that its management system numbers so, in either case: GUIDs are written both ways."""
    spellings = [mdm_id, mdm_id.lower(), mdm_id.upper()]
    return _record(session.execute(_BY_MDM_IDS, {"mdm_ids": spellings}).one_or_none())


def carried_by_members(group: str) -> Select[tuple[int]]:
    """Return the query for the ids of the devices that members of the group carry, for use within another query."""
    return select(_DEVICE.c.id).where(_DEVICE.c.owner_id.in_(members(group)))


def get_device(session: Session, device_id: int, *, within: str | None = None) -> DeviceRecord:
    """Return the device of this id, which a member of the group ``within`` carries where one is named. Raises UnknownDevice."""
    device = _seen(session, find_device_for_enrolment(session, device_id), within)
    if device is None:
        raise UnknownDevice(f"there is no device {device_id}")
    return device


def device_named(session: Session, name: str, *, within: str | None = None) -> DeviceRecord:
    """Return the device an administrator means by ``name``: a name or, where none has that, an id.

    ``within`` names a group beside whose members' devices none exists. Raises UnknownDevice.
    """
    device = _seen(session, find_device(session, name), within)
    if device is None and is_id(name):
        return get_device(session, int(name), within=within)
    if device is None:
        raise UnknownDevice(f"there is no device {name}")
    return device


def names_of(session: Session, ids: Collection[int], *, within: str | None = None) -> dict[int, str]:
    """Return the names of the devices of these ids, by id; ``within`` names a group beside whose members' devices none exists."""
    query = select(_DEVICE.c.id, _DEVICE.c.name).where(_DEVICE.c.id.in_(ids))
    if within is not None:
        query = query.where(_DEVICE.c.id.in_(carried_by_members(within)))
    return {row.id: row.name for row in session.execute(query)}


def list_devices(
    session: Session,
    *,
    text: str | None = None,
    owner_id: int | None = None,
    active: bool | None = None,
    within: str | None = None,
    after: str = "",
    limit: int = 100,
) -> Sequence[DeviceRecord]:
    """Return up to ``limit`` (at most 1000) devices in the order of their names, beginning behind the name ``after``.

    ``text`` occurs in the name, the DNS name or one of the numbers; ``within`` names a group whose members carry them. None does
    not restrict.
    """
    query = _DEVICES.where(_DEVICE.c.name > after)
    if owner_id is not None:
        query = query.where(_DEVICE.c.owner_id == owner_id)
    if active is not None:
        query = query.where(_DEVICE.c.active == active)
    if within is not None:
        query = query.where(_DEVICE.c.id.in_(carried_by_members(within)))
    if text:
        searched = (*_UNIQUE_FIELDS, "phone_number")
        query = query.where(or_(*(_DEVICE.c[name].icontains(text, autoescape=True) for name in searched)))
    rows = session.execute(query.order_by(_DEVICE.c.name).limit(max(1, min(limit, MAX_PAGE))))
    return [device for row in rows if (device := _record(row)) is not None]


def _seen(session: Session, device: DeviceRecord | None, within: str | None) -> DeviceRecord | None:
    """Return ``device`` unless it is none of those that the members of the group ``within`` carry."""
    if device is None or within is None:
        return device
    inside = session.execute(carried_by_members(within).where(_DEVICE.c.id == device.id)).first()
    return device if inside else None


def _record(row: Row[Any] | None) -> DeviceRecord | None:
    return DeviceRecord(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name for it


def _resolved(session: Session, given: DeviceFields, within: str | None = None) -> tuple[DeviceFields, int | None]:
    """Return the fields in their stored form, and the owner's id."""
    wanted = normalise_device(given)
    if wanted.owner is None:
        return wanted, None
    owner = find_person(session, upn=wanted.owner, within=within)
    if owner is None:
        raise UnknownPerson(f"owner: nobody has the UPN {wanted.owner}")
    return replace(wanted, owner=owner.upn), owner.id


def _locked(session: Session, device_id: int) -> DeviceRecord:
    """Return the device, which nobody else may change before this transaction ends. Raises UnknownDevice."""
    session.execute(select(_DEVICE.c.id).where(_DEVICE.c.id == device_id).with_for_update())
    return get_device(session, device_id)


def _set_active(
    session: Session,
    device_id: int,
    action: str,
    *,
    active: bool,
    actor: Actor,
    now: datetime,
) -> DeviceRecord:
    current = _locked(session, device_id)
    if current.active == active:
        return current
    session.execute(update(_DEVICE).where(_DEVICE.c.id == device_id).values(active=active, changed_at=now))
    record(session, Event(actor, action, f"device:{device_id}", details={"name": current.name}), now=now)
    return replace(current, active=active, changed_at=now)


def _taken(session: Session, wanted: DeviceFields, device_id: int | None) -> AlreadyTaken:
    """Find what of ``wanted`` another device has."""
    for name in _UNIQUE_FIELDS:
        value = getattr(wanted, name)
        others = select(_DEVICE.c.name).where(_DEVICE.c.id != (device_id or 0), _DEVICE.c[name] == value)
        owner = session.scalar(others) if value else None
        if owner:
            return AlreadyTaken(name, f"{value} already belongs to the device {owner}")
    return AlreadyTaken("device", "was changed by someone else at the same moment; try again")
