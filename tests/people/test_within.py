"""For those who see the members of one group only, nobody else exists. On both databases."""

import pytest

from foundation.transactions import Transactions
from people.devices import DeviceFields, DeviceRecord, add_device, device_named, get_device, list_devices
from people.errors import UnknownDevice, UnknownGroup, UnknownPerson
from people.groups import add_group, add_member, group_named
from people.person import PersonRecord
from people.persons import PersonFilter, find_person, get_person, list_persons, person_named
from tests.people.samples import ACTOR, ALICE, NOW, TARO, added


@pytest.fixture
def taro(store: Transactions) -> PersonRecord:
    """Taro, who is in the group Sales, with his phone; Alice, who is not, with hers; and a printer."""
    taro = added(store, TARO)
    added(store, ALICE)
    store.write(lambda session: add_group(session, "Sales", actor=ACTOR, now=NOW))
    store.write(lambda session: add_member(session, "Sales", taro.id, actor=ACTOR, now=NOW))
    for name, owner in (("taros", TARO.upn), ("alices", ALICE.upn), ("printer", None)):
        register(store, DeviceFields(name=name, owner=owner))
    return taro


def register(store: Transactions, fields: DeviceFields, within: str | None = None) -> DeviceRecord:
    return store.write(lambda session: add_device(session, fields, actor=ACTOR, now=NOW, within=within))


def test_persons_are_found_within_the_group_only(store: Transactions, taro: PersonRecord) -> None:
    with store.reading() as session:
        for name in (TARO.upn, TARO.email, str(taro.id)):
            assert person_named(session, name, within="Sales") == taro
        alice = person_named(session, ALICE.upn)
        for name in (ALICE.upn, ALICE.email, str(alice.id)):
            with pytest.raises(UnknownPerson, match=r"nobody|no person"):
                person_named(session, name, within="Sales")
        assert find_person(session, upn=ALICE.upn, within="Sales") is None
        with pytest.raises(UnknownPerson):
            get_person(session, taro.id, within="Board")
        assert [person.id for person in list_persons(session, PersonFilter(within="Sales"))] == [taro.id]
        assert list_persons(session, PersonFilter(group="Board", within="Sales")) == []


def test_devices_are_found_where_a_member_carries_them(store: Transactions, taro: PersonRecord) -> None:
    with store.reading() as session:
        assert device_named(session, "taros", within="Sales").owner_id == taro.id
        for name in ("alices", "printer"):
            hidden = device_named(session, name)
            for spelling in (name, str(hidden.id)):
                with pytest.raises(UnknownDevice, match=f"there is no device {spelling}"):
                    device_named(session, spelling, within="Sales")
            with pytest.raises(UnknownDevice):
                get_device(session, hidden.id, within="Sales")
        assert [device.name for device in list_devices(session, within="Sales")] == ["taros"]


@pytest.mark.usefixtures("taro")
def test_nobody_beyond_the_group_can_be_an_owner(store: Transactions) -> None:
    assert register(store, DeviceFields(name="second", owner=TARO.upn), within="Sales").owner == TARO.upn
    with pytest.raises(UnknownPerson, match="nobody has the UPN"):
        register(store, DeviceFields(name="third", owner=ALICE.upn), within="Sales")


@pytest.mark.usefixtures("taro")
def test_a_group_is_meant_by_its_name_or_its_number(store: Transactions) -> None:
    with store.reading() as session:
        sales = group_named(session, "Sales")
        assert group_named(session, str(sales.id)) == sales
        for unknown in ("Board", "4711"):
            with pytest.raises(UnknownGroup):
                group_named(session, unknown)
