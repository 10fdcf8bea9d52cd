"""Devices in the store, on both databases; and what happens to them when their owner leaves."""

from dataclasses import replace

import pytest
from sqlmodel import Session

from foundation.transactions import Transactions
from people.devices import (
    DeviceFields,
    DeviceRecord,
    add_device,
    change_device,
    deactivate_device,
    device_named,
    find_device,
    find_device_for_enrolment,
    list_devices,
    reactivate_device,
)
from people.errors import AlreadyTaken, InvalidField, UnknownDevice, UnknownPerson
from people.offboarding import Departure, offboard
from people.persons import get_person
from signetry.database import Database
from tests.people.samples import ACTOR, ALICE, NOW, TARO, actions, added, events

PHONE = DeviceFields(
    name="taro-iphone",
    owner=TARO.upn,
    dns_name="taro-iphone.corp.example.com",
    platform="ios",
    serial_number="F2LXK0ABCDEF",
    udid="00008030-001A2B3C4D5E6F70",
    imei="490154203237518",
    phone_number="+819012345678",
    wifi_mac="a8:bb:cc:dd:ee:0f",
    iccid="8981100000000000000",
    eas_device_id="APPLF2LXK0ABCDEF",
    mdm_id="6f1c0f54-9d0e-4f5a-8a53-1f0f1a2b3c4d",
)
ROUTER = DeviceFields(name="router-1")


def added_device(store: Transactions, fields: DeviceFields) -> DeviceRecord:
    return store.write(lambda session: add_device(session, fields, actor=ACTOR, now=NOW))


def changed(store: Transactions, device: DeviceRecord, **changes: object) -> DeviceRecord:
    wanted = replace(device.fields, **changes)  # type: ignore[arg-type] # each test names real fields
    return store.write(lambda session: change_device(session, device.id, wanted, actor=ACTOR, now=NOW))


def test_a_device_added_is_found_with_its_owner(store: Transactions) -> None:
    taro = added(store, TARO)
    phone = added_device(store, replace(PHONE, owner=TARO.upn.upper(), platform="iOS", wifi_mac="A8-BB-CC-DD-EE-0F"))
    router = added_device(store, ROUTER)
    assert (phone.fields, phone.owner_id, phone.active) == (PHONE, taro.id, True)
    assert (router.owner, router.owner_id) == (None, None)
    with store.reading() as session:
        assert find_device_for_enrolment(session, phone.id) == phone
        assert find_device(session, "taro-iphone") == phone
        assert device_named(session, str(router.id)) == router
        assert find_device_for_enrolment(session, 4711) is None
        for name in ("taro-android", "4711"):
            with pytest.raises(UnknownDevice):
                device_named(session, name)


@pytest.mark.parametrize(
    "field",
    ["name", "dns_name", "serial_number", "udid", "imei", "wifi_mac", "iccid", "eas_device_id", "mdm_id"],
)
def test_no_two_devices_share_a_name_or_number(store: Transactions, field: str) -> None:
    added(store, TARO)
    added_device(store, PHONE)
    router = added_device(store, ROUTER)
    claim = {field: getattr(PHONE, field)}
    with pytest.raises(AlreadyTaken) as refused:
        changed(store, router, **claim)
    assert (refused.value.field, "taro-iphone" in str(refused.value)) == (field, True)
    with pytest.raises(AlreadyTaken):
        added_device(store, replace(DeviceFields(name="other"), **claim))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"dns_name": "*.example.com"}, "dns_name"),
        ({"serial_number": "F2 LX"}, "serial_number"),
        ({"mdm_id": "a\x00b"}, "mdm_id"),
        ({"imei": "490154203237517"}, "imei"),
        ({"owner": "taro"}, "upn"),
    ],
)
def test_an_invalid_field_is_named(store: Transactions, change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        added_device(store, replace(ROUTER, **change))  # type: ignore[arg-type] # each case names a real field
    assert refused.value.field == field


def test_an_owner_must_be_recorded(store: Transactions) -> None:
    with pytest.raises(UnknownPerson, match="owner"):
        added_device(store, PHONE)


def test_a_change_is_stored_and_audited_and_no_difference_is_not(store: Transactions) -> None:
    taro, alice = added(store, TARO), added(store, ALICE)
    phone = added_device(store, PHONE)
    assert changed(store, phone, platform="iOS") == phone
    handed_on = changed(store, phone, owner=ALICE.upn, phone_number="")
    assert (handed_on.owner_id, handed_on.phone_number) == (alice.id, "")
    assert events(store)[-1].details["changed"] == {
        "owner": [taro.upn, alice.upn],
        "phone_number": ["+819012345678", ""],
    }
    assert changed(store, handed_on, owner=None).owner_id is None
    assert actions(store)[2:] == ["device.added", "device.changed", "device.changed"]


def test_deactivation_is_recorded_once(store: Transactions) -> None:
    router = added_device(store, ROUTER)
    for _ in range(2):
        assert not store.write(lambda session: deactivate_device(session, router.id, actor=ACTOR, now=NOW)).active
    assert store.write(lambda session: reactivate_device(session, router.id, actor=ACTOR, now=NOW)).active
    assert actions(store) == ["device.added", "device.deactivated", "device.reactivated"]
    with pytest.raises(UnknownDevice):
        store.write(lambda session: deactivate_device(session, 4711, actor=ACTOR, now=NOW))


def test_devices_are_listed_in_pages_and_by_filter(store: Transactions) -> None:
    taro = added(store, TARO)
    phone, router = added_device(store, PHONE), added_device(store, ROUTER)
    store.write(lambda session: deactivate_device(session, router.id, actor=ACTOR, now=NOW))
    with store.reading() as session:
        assert list_devices(session) == [get for name in ("router-1", "taro-iphone") if (get := find_device(session, name))]
        assert [device.id for device in list_devices(session, limit=1)] == [router.id]
        assert list_devices(session, after="router-1") == [phone]
        assert list_devices(session, owner_id=taro.id) == [phone]
        assert list_devices(session, active=True) == [phone]
        assert list_devices(session, text="490154203237518") == [phone]
        assert list_devices(session, text="ROUTER")[0].id == router.id


def test_who_is_offboarded_goes_with_their_devices_and_the_listeners_hear_of_it(store: Transactions) -> None:
    taro = added(store, TARO)
    phone, router = added_device(store, PHONE), added_device(store, ROUTER)
    heard: list[Departure] = []

    def listener(_session: Session, departure: Departure) -> None:
        heard.append(departure)

    departure = store.write(lambda session: offboard(session, taro.id, [listener], actor=ACTOR, now=NOW))
    assert heard == [departure]
    assert [device.id for device in departure.devices] == [phone.id]
    with store.reading() as session:
        assert not get_person(session, taro.id).active
        assert not device_named(session, "taro-iphone").active
        assert device_named(session, "router-1") == router


def test_a_departure_that_a_listener_refuses_does_not_happen(store: Transactions) -> None:
    taro = added(store, TARO)

    def listener(_session: Session, _departure: Departure) -> None:
        raise UnknownDevice("no")

    with pytest.raises(UnknownDevice):
        store.write(lambda session: offboard(session, taro.id, [listener], actor=ACTOR, now=NOW))
    with store.reading() as session:
        assert get_person(session, taro.id).active


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 101])
def test_what_can_be_nobodys_name_finds_no_device(store: Database, name: str) -> None:
    with store.reading() as session:
        assert find_device(session, name) is None
