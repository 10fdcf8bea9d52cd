"""Persons in the store, on both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from sqlalchemy import URL
from sqlmodel import Session

from foundation.transactions import Transactions
from people.errors import AlreadyTaken, InvalidField, UnknownAddress, UnknownPerson
from people.groups import add_group, add_member
from people.person import PersonFields, PersonRecord
from people.persons import (
    PersonFilter,
    add_alias,
    add_person,
    change_person,
    deactivate_person,
    find_person,
    find_person_for_enrolment,
    find_persons_by_upn,
    get_person,
    list_persons,
    person_named,
    reactivate_person,
    remove_alias,
)
from signetry.database import Database
from tests.people.samples import ACTOR, ALICE, NOW, TARO, actions, added, events


def stored(store: Transactions, person_id: int) -> PersonRecord:
    with store.reading() as session:
        return get_person(session, person_id)


def changed(store: Transactions, person: PersonRecord, **changes: object) -> PersonRecord:
    wanted = replace(person.fields, **changes)  # type: ignore[arg-type] # each test names real fields
    return store.write(lambda session: change_person(session, person.id, wanted, actor=ACTOR, now=NOW))


def test_a_person_added_is_found_under_every_name(store: Transactions) -> None:
    taro = added(store, TARO)
    assert (taro.fields, taro.active, taro.created_at) == (TARO, True, NOW)
    with store.reading() as session:
        assert find_person_for_enrolment(session, taro.id) == taro
        assert find_person(session, upn="TARO@Corp.Example.Com") == taro
        assert find_person(session, email="Taro.Yamada@EXAMPLE.com") == taro
        assert find_person(session, email="taro@example.jp") == taro
        assert find_persons_by_upn(session, [TARO.upn, ALICE.upn]) == {TARO.upn: taro}
        for name in (TARO.upn, TARO.email, "taro@example.jp", str(taro.id)):
            assert person_named(session, name) == taro


def test_who_is_not_recorded_is_not_found(store: Transactions) -> None:
    added(store, TARO)
    with store.reading() as session:
        assert find_person_for_enrolment(session, 4711) is None
        assert find_person(session, upn=ALICE.upn) is None
        assert find_person(session, email=ALICE.email) is None
        for name in (ALICE.upn, "4711"):
            with pytest.raises(UnknownPerson):
                person_named(session, name)
        with pytest.raises(UnknownPerson, match="nobody has the UPN, mail address or number taro"):
            person_named(session, "taro")
        with pytest.raises(UnknownPerson):
            get_person(session, 4711)


def test_fields_are_stored_normalised(store: Transactions) -> None:
    given = PersonFields(
        upn="Taro@Corp.Example.Com",
        email="TARO@例え.jp",
        aliases=("X@Example.com", "x@example.com", "taro@例え.jp"),
        domain="corp",
        language="JA",
    )
    person = added(store, given)
    assert (person.upn, person.email, person.aliases) == ("taro@corp.example.com", "taro@xn--r8jz45g.jp", ("x@example.com",))
    assert (person.domain, person.language) == ("CORP", "ja")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"upn": "taro"}, "upn"),
        ({"email": "taro"}, "email"),
        ({"aliases": ("taro",)}, "aliases"),
        ({"aliases": tuple(f"a{n}@example.com" for n in range(101))}, "aliases"),
        ({"display_name": "Taro\x00"}, "name"),
        ({"surname": "y" * 101}, "surname"),
        ({"account_name": "CORP\\taro"}, "account_name"),
        ({"domain": "a b"}, "domain"),
        ({"employee_code": "\u202e1"}, "employee_code"),
        ({"sid": "S-1-1"}, "sid"),
        ({"language": "?"}, "language"),
    ],
)
def test_an_invalid_field_is_named_and_nothing_is_stored(store: Transactions, change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        added(store, replace(TARO, **change))  # type: ignore[arg-type] # each case names a real field
    assert refused.value.field == field
    assert actions(store) == []


@pytest.mark.parametrize(
    ("claim", "field"),
    [
        ({"upn": TARO.upn}, "upn"),
        ({"email": TARO.email}, "email"),
        ({"email": TARO.aliases[0]}, "email"),
        ({"aliases": (TARO.email,)}, "aliases"),
        ({"aliases": ("new@example.com", TARO.aliases[1])}, "aliases"),
        ({"sid": TARO.sid}, "sid"),
    ],
)
def test_what_belongs_to_one_person_is_refused_to_another(store: Transactions, claim: dict[str, object], field: str) -> None:
    added(store, TARO)
    alice = added(store, ALICE)
    newcomer = replace(PersonFields(upn="new@corp.example.com", email="new.one@example.com"), **claim)  # type: ignore[arg-type]
    with pytest.raises(AlreadyTaken) as refused:
        added(store, newcomer)
    assert refused.value.field == field
    assert TARO.upn in str(refused.value)
    with pytest.raises(AlreadyTaken) as refused:
        changed(store, alice, **claim)
    assert refused.value.field == field
    assert stored(store, alice.id) == alice
    assert actions(store) == ["person.added", "person.added"]


def test_a_refused_act_leaves_the_rest_of_its_transaction_alone(store: Transactions) -> None:
    added(store, TARO)

    def act(session: Session) -> PersonRecord:
        with pytest.raises(AlreadyTaken):
            add_person(session, replace(ALICE, email=TARO.email), actor=ACTOR, now=NOW)
        return add_person(session, ALICE, actor=ACTOR, now=NOW)

    alice = store.write(act)
    assert stored(store, alice.id) == alice


@pytest.mark.parametrize("grouped", [False, True], ids=["commits of their own", "a shared commit"])
def test_of_those_who_claim_an_address_at_once_one_gets_it(database_url: URL, grouped: bool) -> None:  # noqa: FBT001 - a parameter
    store = Database(database_url, grouped=grouped)
    start = Barrier(4)

    def claim(number: int) -> str:
        address = "shared@example.com"
        own = PersonFields(upn=f"p{number}@corp.example.com", email=f"p{number}@example.com", aliases=(address,))
        fields = own if number % 2 else replace(own, email=address, aliases=())

        def act(session: Session) -> PersonRecord:
            return add_person(session, fields, actor=ACTOR, now=NOW)

        start.wait(timeout=20)
        try:
            store.write(act)
        except AlreadyTaken:
            return "refused"
        return "added"

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(claim, range(4)))
    assert outcomes == ["added", "refused", "refused", "refused"]
    assert actions(store) == ["person.added"]
    store.close()


def test_a_change_is_stored_and_audited_with_what_was_and_is(store: Transactions) -> None:
    taro = added(store, TARO)
    after = changed(store, taro, surname="鈴木", aliases=("taro@example.jp", "new@example.com"))
    assert (after.surname, set(after.aliases)) == ("鈴木", {"taro@example.jp", "new@example.com"})
    assert stored(store, taro.id) == after
    event = events(store)[-1]
    assert (event.action, event.subject, event.actor) == ("person.changed", f"person:{taro.id}", ACTOR.name)
    assert event.details["changed"]["surname"] == ["山田", "鈴木"]
    assert set(event.details["changed"]) == {"surname", "aliases"}


def test_no_difference_leaves_no_trace(store: Transactions) -> None:
    taro = added(store, TARO)
    assert changed(store, taro, aliases=tuple(reversed(TARO.aliases)), upn=TARO.upn.upper()) == taro
    assert actions(store) == ["person.added"]


def test_an_alias_can_become_the_primary_address_and_back(store: Transactions) -> None:
    taro = added(store, TARO)
    after = changed(store, taro, email="taro@example.jp", aliases=(TARO.email, "t.yamada@example.com"))
    assert (after.email, set(after.aliases)) == ("taro@example.jp", {TARO.email, "t.yamada@example.com"})
    dropped = changed(store, after, email="fresh@example.com")
    assert set(dropped.aliases) == {TARO.email, "t.yamada@example.com"}
    assert added(store, replace(ALICE, email="taro@example.jp")).email == "taro@example.jp"


def test_aliases_come_and_go(store: Transactions) -> None:
    alice = added(store, ALICE)
    person = store.write(lambda session: add_alias(session, alice.id, "A.Smith@example.com", actor=ACTOR, now=NOW))
    assert person.aliases == ("a.smith@example.com",)
    with pytest.raises(UnknownAddress):
        store.write(lambda session: remove_alias(session, alice.id, ALICE.email, actor=ACTOR, now=NOW))
    person = store.write(lambda session: remove_alias(session, alice.id, "a.smith@EXAMPLE.com", actor=ACTOR, now=NOW))
    assert person.aliases == ()


def test_deactivation_is_recorded_once(store: Transactions) -> None:
    alice = added(store, ALICE)
    for _ in range(2):
        assert not store.write(lambda session: deactivate_person(session, alice.id, actor=ACTOR, now=NOW)).active
    assert not stored(store, alice.id).active
    assert store.write(lambda session: reactivate_person(session, alice.id, actor=ACTOR, now=NOW)).active
    assert actions(store) == ["person.added", "person.deactivated", "person.reactivated"]


@pytest.mark.parametrize(
    "act",
    [
        lambda session: change_person(session, 4711, ALICE, actor=ACTOR, now=NOW),
        lambda session: deactivate_person(session, 4711, actor=ACTOR, now=NOW),
        lambda session: add_alias(session, 4711, "a@example.com", actor=ACTOR, now=NOW),
    ],
)
def test_nobody_cannot_be_changed(store: Transactions, act: Callable[[Session], PersonRecord]) -> None:
    with pytest.raises(UnknownPerson):
        store.write(act)


def test_persons_are_listed_in_pages_and_by_filter(store: Transactions) -> None:
    taro, alice = added(store, TARO), added(store, ALICE)
    percent = added(store, PersonFields(upn="percent@corp.example.com", email="100%sure@example.com"))
    store.write(lambda session: deactivate_person(session, alice.id, actor=ACTOR, now=NOW))

    def group(session: Session) -> None:
        add_group(session, "Sales", actor=ACTOR, now=NOW)
        add_member(session, "Sales", taro.id, actor=ACTOR, now=NOW)

    store.write(group)

    everybody = PersonFilter()

    def ids(wanted: PersonFilter = everybody, after: str = "", limit: int = 100) -> list[int]:
        with store.reading() as session:
            return [person.id for person in list_persons(session, wanted, after=after, limit=limit)]

    assert ids() == [alice.id, percent.id, taro.id]
    assert ids(limit=2) == [alice.id, percent.id]
    assert ids(after=percent.upn) == [taro.id]
    assert ids(PersonFilter(active=False)) == [alice.id]
    assert ids(PersonFilter(group="Sales")) == [taro.id]
    assert ids(PersonFilter(text="T.YAMADA")) == [taro.id]
    assert ids(PersonFilter(text="太郎")) == [taro.id]
    assert ids(PersonFilter(text="%")) == [percent.id]
    with store.reading() as session:
        assert list_persons(session, PersonFilter(text="yamada"))[0] == taro
