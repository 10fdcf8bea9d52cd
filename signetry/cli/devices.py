"""``signetry device``: phones, laptops and routers."""

from dataclasses import asdict, replace
from typing import Annotated, Any

import typer
from sqlmodel import Session

from people.devices import (
    DeviceFields,
    DeviceRecord,
    add_device,
    change_device,
    deactivate_device,
    device_named,
    list_devices,
    reactivate_device,
)
from people.persons import person_named
from signetry.cli.output import JsonFlag, emit_record, emit_rows
from signetry.house import open_house

app = typer.Typer(no_args_is_help=True, help="Devices: who carries them and which numbers they are known by.")

Which = Annotated[str, typer.Argument(metavar="DEVICE", help="The device's name or number.")]

Owner = Annotated[str | None, typer.Option(metavar="UPN", help="Who carries it; empty for shared equipment.")]
DnsName = Annotated[str | None, typer.Option(help="DNS name, for device certificates.")]
Platform = Annotated[str | None, typer.Option(help="ios, android, windows, …")]
Serial = Annotated[str | None, typer.Option(help="Serial number.")]
Udid = Annotated[str | None, typer.Option(help="Apple's UDID.")]
Imei = Annotated[str | None, typer.Option(help="IMEI, 15 digits.")]
PhoneNumber = Annotated[str | None, typer.Option(help="Telephone number.")]
WifiMac = Annotated[str | None, typer.Option(help="MAC address of its Wi-Fi.")]
Iccid = Annotated[str | None, typer.Option(help="Number of its SIM card.")]
EasDeviceId = Annotated[str | None, typer.Option(help="Exchange ActiveSync device id.")]
MdmId = Annotated[str | None, typer.Option(help="What the MDM calls it.")]


@app.command()
def add(  # noqa: PLR0913 - one parameter an option
    name: Annotated[str, typer.Argument(help="A name no other device has.")],
    *,
    owner: Owner = None,
    dns_name: DnsName = None,
    platform: Platform = None,
    serial_number: Serial = None,
    udid: Udid = None,
    imei: Imei = None,
    phone_number: PhoneNumber = None,
    wifi_mac: WifiMac = None,
    iccid: Iccid = None,
    eas_device_id: EasDeviceId = None,
    mdm_id: MdmId = None,
    as_json: JsonFlag = False,
) -> None:
    """Record a device.

    Example: signetry device add taro-iphone --owner taro@corp.example.com --platform ios --serial-number F2LXK0ABCDEF
    """
    fields = DeviceFields(
        name=name,
        owner=owner,
        dns_name=dns_name,
        platform=platform or "",
        serial_number=serial_number,
        udid=udid,
        imei=imei,
        phone_number=phone_number or "",
        wifi_mac=wifi_mac,
        iccid=iccid,
        eas_device_id=eas_device_id,
        mdm_id=mdm_id,
    )
    house = open_house()
    now = house.clock.now()
    device = house.transactions.write(lambda session: add_device(session, fields, actor=house.actor, now=now))
    emit_record(_shown(device), as_json=as_json)


@app.command()
def show(which: Which, *, as_json: JsonFlag = False) -> None:
    """Show a device."""
    with open_house().transactions.reading() as session:
        device = device_named(session, which)
    emit_record(_shown(device), as_json=as_json)


@app.command("list")
def list_(
    *,
    text: Annotated[str | None, typer.Option(help="Only those with this in name, DNS name or one of the numbers.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="PERSON", help="Only those this person carries.")] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Only active, or only inactive devices.")] = None,
    after: Annotated[str, typer.Option(metavar="NAME", help="Begin behind this name: the last one of the page before.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 1000,
    as_json: JsonFlag = False,
) -> None:
    """List devices in the order of their names."""
    with open_house().transactions.reading() as session:
        owner_id = person_named(session, owner).id if owner else None
        devices = list_devices(session, text=text, owner_id=owner_id, active=active, after=after, limit=limit)
    columns = ("id", "name", "owner", "platform", "serial_number", "eas_device_id", "active")
    emit_rows([_shown(device) for device in devices], columns, as_json=as_json)


@app.command()
def change(  # noqa: PLR0913 - one parameter an option
    which: Which,
    *,
    name: Annotated[str | None, typer.Option(help="A name no other device has.")] = None,
    owner: Owner = None,
    dns_name: DnsName = None,
    platform: Platform = None,
    serial_number: Serial = None,
    udid: Udid = None,
    imei: Imei = None,
    phone_number: PhoneNumber = None,
    wifi_mac: WifiMac = None,
    iccid: Iccid = None,
    eas_device_id: EasDeviceId = None,
    mdm_id: MdmId = None,
    as_json: JsonFlag = False,
) -> None:
    """Change what is recorded of a device; options not given change nothing, an empty value empties."""
    given = {
        "name": name,
        "owner": owner,
        "dns_name": dns_name,
        "platform": platform,
        "serial_number": serial_number,
        "udid": udid,
        "imei": imei,
        "phone_number": phone_number,
        "wifi_mac": wifi_mac,
        "iccid": iccid,
        "eas_device_id": eas_device_id,
        "mdm_id": mdm_id,
    }
    # "Any": replace() takes the fields by name, each of its own type.
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    house = open_house()

    def act(session: Session) -> DeviceRecord:
        device = device_named(session, which)
        wanted = replace(device.fields, **changes)
        return change_device(session, device.id, wanted, actor=house.actor, now=house.clock.now())

    emit_record(_shown(house.transactions.write(act)), as_json=as_json)


@app.command()
def deactivate(which: Which, *, as_json: JsonFlag = False) -> None:
    """Bar a device from enrolment and renewal. Certificates stay valid until they are revoked."""
    _switch(which, active=False, as_json=as_json)


@app.command()
def activate(which: Which, *, as_json: JsonFlag = False) -> None:
    """Let a device enrol again."""
    _switch(which, active=True, as_json=as_json)


def _shown(device: DeviceRecord) -> dict[str, object]:
    return {"id": device.id, **asdict(device)}


def _switch(which: str, *, active: bool, as_json: bool) -> None:
    house = open_house()
    switch = reactivate_device if active else deactivate_device

    def act(session: Session) -> DeviceRecord:
        return switch(session, device_named(session, which).id, actor=house.actor, now=house.clock.now())

    emit_record(_shown(house.transactions.write(act)), as_json=as_json)
