"""Groups in the store, on both databases."""

import pytest
from sqlmodel import Session

from foundation.transactions import Transactions
from people.errors import AlreadyTaken, InvalidField, UnknownGroup, UnknownPerson
from people.groups import GroupRecord, add_group, add_member, get_group, list_groups, remove_group, remove_member
from people.persons import PersonFilter, list_persons
from tests.people.samples import ACTOR, ALICE, NOW, TARO, actions, added


def new_group(store: Transactions, name: str) -> GroupRecord:
    return store.write(lambda session: add_group(session, name, "those who sell", actor=ACTOR, now=NOW))


def test_members_come_and_go_and_are_counted(store: Transactions) -> None:
    taro, alice = added(store, TARO), added(store, ALICE)
    new_group(store, " Sales ")
    new_group(store, "Board")

    def put(person_id: int) -> bool:
        return store.write(lambda session: add_member(session, "Sales", person_id, actor=ACTOR, now=NOW))

    def take(person_id: int) -> bool:
        return store.write(lambda session: remove_member(session, "Sales", person_id, actor=ACTOR, now=NOW))

    assert [put(taro.id), put(taro.id), put(alice.id)] == [True, False, True]
    with store.reading() as session:
        assert [(group.name, group.members) for group in list_groups(session)] == [("Board", 0), ("Sales", 2)]
        assert [person.id for person in list_persons(session, PersonFilter(group="Sales"))] == [alice.id, taro.id]
    assert [take(taro.id), take(taro.id)] == [True, False]
    with store.reading() as session:
        assert get_group(session, "Sales").members == 1
    assert actions(store)[4:] == ["group.member_added", "group.member_added", "group.member_removed"]


def test_a_group_removed_is_gone_and_its_persons_stay(store: Transactions) -> None:
    taro = added(store, TARO)
    new_group(store, "Sales")
    store.write(lambda session: add_member(session, "Sales", taro.id, actor=ACTOR, now=NOW))
    assert store.write(lambda session: remove_group(session, "Sales", actor=ACTOR, now=NOW)).members == 1
    with store.reading() as session:
        assert list_groups(session) == []
        assert len(list_persons(session)) == 1
    assert actions(store)[-1] == "group.removed"


def test_a_name_belongs_to_one_group(store: Transactions) -> None:
    new_group(store, "Sales")
    with pytest.raises(AlreadyTaken, match="Sales"):
        new_group(store, "Sales")


@pytest.mark.parametrize("name", ["", " ", "Sa\x00les", "x" * 101])
def test_a_group_needs_a_readable_name(store: Transactions, name: str) -> None:
    with pytest.raises(InvalidField, match="group: "):
        new_group(store, name)


def test_neither_nobody_nor_nowhere_can_be_joined(store: Transactions) -> None:
    taro = added(store, TARO)

    def nowhere(session: Session) -> bool:
        return add_member(session, "Sales", taro.id, actor=ACTOR, now=NOW)

    with pytest.raises(UnknownGroup):
        store.write(nowhere)
    new_group(store, "Sales")
    with pytest.raises(UnknownPerson):
        store.write(lambda session: add_member(session, "Sales", 4711, actor=ACTOR, now=NOW))
