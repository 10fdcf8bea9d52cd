"""``/devices``: phones, laptops and routers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import Field
from sqlmodel import Session

from foundation.errors import RefusedByPolicy
from people import devices
from people.devices import DeviceFields, DeviceRecord, device_named
from people.errors import AlreadyTaken
from people.persons import person_named
from signetry.access.roles import Permission
from signetry.api.context import Here
from signetry.api.fields import ASKS_FOR_SOMEBODY, TEXT, DeviceName, OfPerson, OnlyActive, Searched
from signetry.api.idempotency import Once
from signetry.api.models import Asked, Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/devices", "Devices")

_ASKED = {"name": "taro-iphone", "owner": "taro@corp.example.com", "platform": "ios", "serial_number": "F2LXK0ABCDEF"}
_SHOWN = {
    "id": 5,
    **_ASKED,
    "owner_id": 17,
    "dns_name": None,
    "udid": "00008030-001A2B3C4D5E6F70",
    "imei": "490154203237518",
    "phone_number": "+819012345678",
    "wifi_mac": "aa:bb:cc:dd:ee:ff",
    "iccid": None,
    "eas_device_id": "ABCDEF0123456789ABCDEF0123456789",
    "mdm_id": None,
    "active": True,
    "created_at": "2026-06-01T12:00:00Z",
    "changed_at": "2026-06-01T12:00:00Z",
}

_PUNCTUATED = r"^[0-9 ().\u00a0-]*$"
_UDID = r"^(?:[0-9A-Fa-f]{40}|[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{16}|[0-9A-Fa-f]{4}(?:-[0-9A-Fa-f]{4}){2}-[0-9A-Fa-f]{12}))?$"
_MAC = (
    r"^(?:[0-9A-Fa-f]{2}(?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{10})|"
    r"(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4})?$"
)

NewName = Annotated[str, Field(min_length=1, max_length=100, pattern=TEXT, description="A name no other device has.")]
Owner = Annotated[str, Field(max_length=320, description="The UPN of who carries it; empty for shared equipment.")]
DnsName = Annotated[str, Field(max_length=253, pattern=TEXT, description="DNS name, for device certificates.")]
Platform = Annotated[str, Field(max_length=30, pattern=TEXT, description="ios, android, windows, …")]
Key = Annotated[str, Field(max_length=100, pattern=TEXT)]
Udid = Annotated[str, Field(max_length=40, pattern=_UDID, description="Apple's UDID.")]
Imei = Annotated[str, Field(max_length=30, pattern=_PUNCTUATED, description="15 digits, of which the last checks the others.")]
PhoneNumber = Annotated[str, Field(max_length=30, pattern=r"^[0-9 ().\u00a0+-]*$")]
WifiMac = Annotated[str, Field(max_length=17, pattern=_MAC, description="MAC address of its Wi-Fi.")]
Iccid = Annotated[str, Field(max_length=30, pattern=r"^[0-9A-Fa-f ().\u00a0-]*$", description="Number of its SIM card.")]
EasDeviceId = Annotated[str, Field(max_length=32, pattern=r"^[0-9A-Za-z]*$", description="Exchange ActiveSync device id.")]


class DeviceBeyondReach(RefusedByPolicy):
    """A token that is limited to a group registers devices of its members only."""

    def __init__(self) -> None:
        super().__init__("owner: this token registers devices of the members of its group; name one")


class DeviceShown(Shown):
    """A device as recorded."""

    model_config = with_examples(_SHOWN)

    id: int
    name: str
    owner: str | None
    owner_id: int | None
    dns_name: str | None
    platform: str
    serial_number: str | None
    udid: str | None
    imei: str | None
    phone_number: str
    wifi_mac: str | None
    iccid: str | None
    eas_device_id: str | None
    mdm_id: str | None
    active: bool
    created_at: datetime
    changed_at: datetime


class DeviceAsked(Asked):
    """A device to record."""

    model_config = with_examples(_ASKED)

    name: NewName
    owner: Owner = ""
    dns_name: DnsName = ""
    platform: Platform = ""
    serial_number: Key = ""
    udid: Udid = ""
    imei: Imei = ""
    phone_number: PhoneNumber = ""
    wifi_mac: WifiMac = ""
    iccid: Iccid = ""
    eas_device_id: EasDeviceId = ""
    mdm_id: Key = ""


class DeviceChange(Asked):
    """What to change; fields that are left out stay as they are, an empty text empties."""

    model_config = with_examples({"owner": "hanako@corp.example.com", "phone_number": ""})

    name: NewName | None = None
    owner: Owner | None = None
    dns_name: DnsName | None = None
    platform: Platform | None = None
    serial_number: Key | None = None
    udid: Udid | None = None
    imei: Imei | None = None
    phone_number: PhoneNumber | None = None
    wifi_mac: WifiMac | None = None
    iccid: Iccid | None = None
    eas_device_id: EasDeviceId | None = None
    mdm_id: Key | None = None


@routes.get("", responses=ASKS_FOR_SOMEBODY)
def list_all(
    caller: Annotated[Caller, requires(Permission.READ_DEVICES)],
    here: Here,
    paging: InPages,
    *,
    text: Annotated[Searched, Query(description="Only those with this in name, DNS name or one of the numbers.")] = None,
    owner: OfPerson = None,
    active: OnlyActive = None,
) -> Page[DeviceShown]:
    """List devices in the order of their names."""
    (after,) = paging.after(str) or ("",)
    within = caller.scope.group if caller.scope else None
    with here.transactions.reading() as session:
        owner_id = person_named(session, owner, within=within).id if owner else None
        found = devices.list_devices(
            session, text=text, owner_id=owner_id, active=active, within=within, after=after, limit=paging.one_more
        )
    return paging.page(found, lambda device: (device.name,), DeviceShown.model_validate)


@routes.post("", status_code=201, response_model=DeviceShown)
def add(asked: DeviceAsked, caller: Annotated[Caller, requires(Permission.REGISTER_DEVICES)], here: Here, once: Once) -> Response:
    """Record a device, active at once. A token of role `mdm` registers those of its group's members."""
    fields = DeviceFields(**asked.model_dump())
    scope = caller.scope
    if scope and not fields.owner:
        raise DeviceBeyondReach

    def act(session: Session) -> DeviceShown:
        within = scope.group if scope else None
        made = devices.add_device(session, fields, actor=caller.actor, now=here.now(), within=within)
        return DeviceShown.model_validate(made)

    try:
        return once.answer(act)
    except AlreadyTaken as taken:
        if scope is None:
            raise
        # Whose it is may be beyond what this token sees.
        raise AlreadyTaken(taken.field, "is another device's already") from None


@routes.get("/{device}")
def show(device: DeviceName, caller: Annotated[Caller, requires(Permission.READ_DEVICES)], here: Here) -> DeviceShown:
    """Show a device."""
    with here.transactions.reading() as session:
        found = device_named(session, device, within=caller.scope.group if caller.scope else None)
    return DeviceShown.model_validate(found)


@routes.patch("/{device}")
def change(
    device: DeviceName, asked: DeviceChange, caller: Annotated[Caller, requires(Permission.CHANGE_DEVICES)], here: Here
) -> DeviceShown:
    """Change what is recorded of a device."""
    changes: dict[str, Any] = asked.model_dump(exclude_none=True)

    def act(session: Session) -> DeviceRecord:
        current = device_named(session, device)
        wanted = replace(current.fields, **changes)
        return devices.change_device(session, current.id, wanted, actor=caller.actor, now=here.now())

    return _written(caller, act)


@routes.post("/{device}/deactivate")
def deactivate(device: DeviceName, caller: Annotated[Caller, requires(Permission.CHANGE_DEVICES)], here: Here) -> DeviceShown:
    """Bar a device from enrolment and renewal. Certificates stay valid until they are revoked."""

    def act(session: Session) -> DeviceRecord:
        return devices.deactivate_device(session, device_named(session, device).id, actor=caller.actor, now=here.now())

    return _written(caller, act)


@routes.post("/{device}/activate")
def activate(device: DeviceName, caller: Annotated[Caller, requires(Permission.CHANGE_DEVICES)], here: Here) -> DeviceShown:
    """Let a device enrol again."""

    def act(session: Session) -> DeviceRecord:
        return devices.reactivate_device(session, device_named(session, device).id, actor=caller.actor, now=here.now())

    return _written(caller, act)


def _written(caller: Caller, act: Callable[[Session], DeviceRecord]) -> DeviceShown:
    return DeviceShown.model_validate(caller.house.transactions.write(act))
