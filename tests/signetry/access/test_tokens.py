"""Tokens: how they are made, known again and ended, and the rules of their roles."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url
from sqlmodel import Session, select

from audit.log import Actor
from audit.records import AuditEvent
from people import persons
from people.person import PersonFields
from signetry.access import tokens
from signetry.access.errors import DutiesNotSeparate, InvalidToken, NotAuthenticated, UnknownToken
from signetry.access.records import ApiToken
from signetry.access.roles import Role
from signetry.access.tokens import Scope, TokenOrder, TokenRecord
from signetry.database import Database
from tests.clocks import ManualClock

ACTOR = Actor("cli:root")
SCOPE = Scope(frozenset({"default"}), frozenset({"identity"}), "phones")
DAY = timedelta(days=1)


def add_person(store: Database, clock: ManualClock, name: str = "olga") -> int:
    address = f"{name}@example.com"
    fields = PersonFields(upn=address, email=address)
    return store.write(lambda session: persons.add_person(session, fields, actor=ACTOR, now=clock.now())).id


def make(store: Database, clock: ManualClock, order: TokenOrder, administrator: str = "cli:root") -> tuple[TokenRecord, str]:
    return store.write(lambda session: tokens.create(session, order, administrator=administrator, actor=ACTOR, now=clock.now()))


def known(store: Database, clock: ManualClock, text: str) -> TokenRecord:
    with store.reading() as session:
        return tokens.authenticate(session, text, now=clock.now())


def auditor(name: str = "auditor") -> TokenOrder:
    return TokenOrder(name, Role.AUDITOR)


def test_a_token_is_known_again(store: Database, clock: ManualClock) -> None:
    made, text = make(store, clock, TokenOrder("jamf", Role.MDM, scope=SCOPE))
    assert known(store, clock, text) == made
    assert (made.name, made.role, made.scope, made.expires_at) == ("jamf", Role.MDM, SCOPE, clock.now() + 90 * DAY)


def test_the_token_is_nowhere_but_in_its_makers_hand(store: Database, clock: ManualClock) -> None:
    made, text = make(store, clock, auditor())
    secret = text.split("_", 2)[2]
    with store.reading() as session:
        row = session.exec(select(ApiToken)).one()
        event = session.exec(select(AuditEvent).where(AuditEvent.action == "token.created")).one()
    assert row.digest == tokens.digest(secret)
    for held in (repr(made), repr(row.model_dump()), repr(event.model_dump())):
        assert secret not in held


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text + "A",
        lambda text: text[:-1],
        lambda text: text.upper(),
        lambda text: text.replace("_1_", "_2_"),
        lambda text: text.replace("_1_", "_01_"),
        lambda text: text.replace("_1_", "_99999999999999999999_"),
        lambda text: text.replace("_1_", "_9999999999_"),
        lambda text: text.replace("_1_", "_\N{ARABIC-INDIC DIGIT ONE}_"),
        lambda text: " " + text,
        lambda text: text + "\n",
        lambda _text: "",
    ],
)
def test_what_is_no_token_is_refused(store: Database, clock: ManualClock, change: Callable[[str], str]) -> None:
    _, text = make(store, clock, auditor())
    with pytest.raises(NotAuthenticated) as refused:
        known(store, clock, change(text))
    assert str(refused.value) == "a valid bearer token is needed"


def test_another_installations_token_of_the_same_number_is_refused(
    store: Database, clock: ManualClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    make(store, clock, auditor())
    other = Database(make_url(f"sqlite:///{tmp_path_factory.mktemp('other')}/other.db"))
    other.migrate()
    foreign, text = make(other, clock, auditor())
    other.close()
    assert foreign.id == 1
    with pytest.raises(NotAuthenticated):
        known(store, clock, text)


def test_a_token_ends_with_its_time(store: Database, clock: ManualClock) -> None:
    _, text = make(store, clock, TokenOrder("short", Role.AUDITOR, timedelta(hours=1)))
    clock.advance(timedelta(minutes=59, seconds=59))
    known(store, clock, text)
    clock.advance(timedelta(seconds=1))
    with pytest.raises(NotAuthenticated):
        known(store, clock, text)


def test_a_token_ends_when_it_is_revoked(store: Database, clock: ManualClock) -> None:
    made, text = make(store, clock, auditor())
    revoked = store.write(lambda session: tokens.revoke(session, made.id, actor=ACTOR, now=clock.now()))
    assert revoked.revoked_at == clock.now()
    with pytest.raises(NotAuthenticated):
        known(store, clock, text)
    clock.advance(DAY)
    again = store.write(lambda session: tokens.revoke(session, made.id, actor=ACTOR, now=clock.now()))
    assert again == revoked
    with store.reading() as session:
        assert len(session.exec(select(AuditEvent).where(AuditEvent.action == "token.revoked")).all()) == 1


def test_a_token_ends_when_its_person_leaves(store: Database, clock: ManualClock) -> None:
    person = add_person(store, clock)
    _, text = make(store, clock, TokenOrder("Olga", Role.OFFICER, person=person))
    assert known(store, clock, text).upn == "olga@example.com"
    store.write(lambda session: persons.deactivate_person(session, person, actor=ACTOR, now=clock.now()))
    with pytest.raises(NotAuthenticated):
        known(store, clock, text)


@pytest.mark.parametrize("number", [0, -1, 17, 2**31, 2**70])
def test_there_is_no_token_of_a_number_that_was_never_given(store: Database, clock: ManualClock, number: int) -> None:
    with pytest.raises(UnknownToken):
        store.write(lambda session: tokens.revoke(session, number, actor=ACTOR, now=clock.now()))


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(TokenOrder("", Role.AUDITOR), id="no name"),
        pytest.param(TokenOrder("   ", Role.AUDITOR), id="a blank name"),
        pytest.param(TokenOrder("a" * 101, Role.AUDITOR), id="a long name"),
        pytest.param(TokenOrder("a\nb", Role.AUDITOR), id="a name of two lines"),
        pytest.param(TokenOrder("a", Role.AUDITOR, timedelta(0)), id="no lifetime"),
        pytest.param(TokenOrder("a", Role.AUDITOR, timedelta(days=366, seconds=1)), id="a long lifetime"),
        pytest.param(TokenOrder("a", Role.OFFICER), id="an officer without a person"),
        pytest.param(TokenOrder("a", Role.RECOVERY), id="a recovery agent without a person"),
        pytest.param(TokenOrder("a", Role.OFFICER, person=4711), id="an unknown person"),
        pytest.param(TokenOrder("a", Role.MDM), id="an MDM without a scope"),
        pytest.param(TokenOrder("a", Role.AUDITOR, scope=SCOPE), id="an auditor with a scope"),
        pytest.param(TokenOrder("a", Role.MDM, scope=replace(SCOPE, endpoints=frozenset())), id="no endpoint"),
        pytest.param(TokenOrder("a", Role.MDM, scope=replace(SCOPE, profiles=frozenset())), id="no profile"),
        pytest.param(TokenOrder("a", Role.MDM, scope=replace(SCOPE, group="")), id="no group"),
        pytest.param(
            TokenOrder("a", Role.MDM, scope=replace(SCOPE, endpoints=frozenset(map(str, range(101))))), id="many endpoints"
        ),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused(store: Database, clock: ManualClock, order: TokenOrder) -> None:
    with pytest.raises(InvalidToken):
        make(store, clock, order)
    with store.reading() as session:
        assert session.exec(select(ApiToken)).all() == []


def test_a_token_lives_up_to_a_year(store: Database, clock: ManualClock) -> None:
    made, _ = make(store, clock, TokenOrder("a", Role.AUDITOR, timedelta(days=366)))
    assert made.expires_at - made.created_at == timedelta(days=366)


@pytest.fixture
def olga(store: Database, clock: ManualClock) -> int:
    """A person."""
    return add_person(store, clock)


@pytest.fixture
def rita(store: Database, clock: ManualClock) -> int:
    """Another person."""
    return add_person(store, clock, "rita")


@pytest.mark.parametrize(("first", "second"), [(Role.OFFICER, Role.RECOVERY), (Role.RECOVERY, Role.OFFICER)])
def test_one_administrator_does_not_make_both(
    store: Database, clock: ManualClock, olga: int, rita: int, first: Role, second: Role
) -> None:
    make(store, clock, TokenOrder("a", first, person=olga), "cli:anna")
    with pytest.raises(DutiesNotSeparate, match="this administrator"):
        make(store, clock, TokenOrder("b", second, person=rita), "cli:anna")
    make(store, clock, TokenOrder("b", second, person=rita), "cli:bert")


def test_one_administrator_does_not_make_both_even_after_the_first_was_revoked_or_has_expired(
    store: Database, clock: ManualClock, olga: int, rita: int
) -> None:
    made, _ = make(store, clock, TokenOrder("a", Role.OFFICER, person=olga), "cli:anna")
    store.write(lambda session: tokens.revoke(session, made.id, actor=ACTOR, now=clock.now()))
    clock.advance(400 * DAY)
    with pytest.raises(DutiesNotSeparate):
        make(store, clock, TokenOrder("b", Role.RECOVERY, person=rita), "cli:anna")


def test_one_administrator_makes_several_of_one_kind(store: Database, clock: ManualClock, olga: int, rita: int) -> None:
    for person in (olga, rita):
        make(store, clock, TokenOrder("a", Role.OFFICER, person=person), "cli:anna")


def test_one_person_does_not_hold_both(store: Database, clock: ManualClock, olga: int) -> None:
    made, _ = make(store, clock, TokenOrder("a", Role.OFFICER, person=olga), "cli:anna")
    with pytest.raises(DutiesNotSeparate, match="this person"):
        make(store, clock, TokenOrder("b", Role.RECOVERY, person=olga), "cli:bert")
    store.write(lambda session: tokens.revoke(session, made.id, actor=ACTOR, now=clock.now()))
    make(store, clock, TokenOrder("b", Role.RECOVERY, person=olga), "cli:bert")


def test_an_administrators_token_from_the_command_line_is_an_administrator(store: Database, clock: ManualClock) -> None:
    anna, _ = make(store, clock, TokenOrder("anna", Role.ADMIN), "cli:root")
    bert, _ = make(store, clock, TokenOrder("bert", Role.ADMIN), "cli:root")
    assert tokens.administrator_behind(anna) == f"token:{anna.id}"
    assert tokens.administrator_behind(bert) == f"token:{bert.id}"


def test_tokens_that_a_token_made_stand_for_the_same_administrator(
    store: Database, clock: ManualClock, olga: int, rita: int
) -> None:
    anna, _ = make(store, clock, TokenOrder("anna", Role.ADMIN), "cli:root")
    second, _ = make(store, clock, TokenOrder("second", Role.ADMIN), tokens.administrator_behind(anna))
    third, _ = make(store, clock, TokenOrder("third", Role.ADMIN), tokens.administrator_behind(second))
    make(store, clock, TokenOrder("a", Role.OFFICER, person=olga), tokens.administrator_behind(third))
    for token in (anna, second, third):
        with pytest.raises(DutiesNotSeparate):
            make(store, clock, TokenOrder("b", Role.RECOVERY, person=rita), tokens.administrator_behind(token))


def test_two_at_the_same_moment_are_one_too_many(store: Database, clock: ManualClock, olga: int, rita: int) -> None:
    orders = [TokenOrder("a", Role.OFFICER, person=olga), TokenOrder("b", Role.RECOVERY, person=rita)] * 4
    outcomes: list[Role | None] = []
    gate = threading.Barrier(len(orders))

    def attempt(order: TokenOrder) -> None:
        gate.wait()
        try:
            outcomes.append(make(store, clock, order, "cli:anna")[0].role)
        except DutiesNotSeparate:
            outcomes.append(None)

    threads = [threading.Thread(target=attempt, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [role for role in outcomes if role is not None]
    assert len(outcomes) == len(orders)
    assert len(made) == 4
    assert len(set(made)) == 1


def test_tokens_are_listed_in_pages(store: Database, clock: ManualClock) -> None:
    made = [make(store, clock, auditor(f"number {number}"))[0] for number in range(5)]
    store.write(lambda session: tokens.revoke(session, made[1].id, actor=ACTOR, now=clock.now()))

    def names(session: Session, **wanted: int | bool) -> list[str]:
        return [token.name for token in tokens.list_tokens(session, now=clock.now(), **wanted)]  # type: ignore[arg-type]

    with store.reading() as session:
        assert names(session, limit=2) == ["number 0", "number 1"]
        assert names(session, after=made[1].id) == ["number 2", "number 3", "number 4"]
        assert names(session, good=True, limit=2) == ["number 0", "number 2"]
        assert names(session, good=False) == ["number 1"]
        clock.advance(91 * DAY)
        assert names(session, good=True) == []
        assert len(names(session, good=False)) == 5


def test_the_last_use_is_noted_every_five_minutes(store: Database, clock: ManualClock) -> None:
    _, text = make(store, clock, auditor())
    fresh = known(store, clock, text)
    assert tokens.is_use_worth_noting(fresh, clock.now())
    store.write(lambda session: tokens.note_use(session, fresh.id, now=clock.now()))
    used = known(store, clock, text)
    assert used.last_used_at == clock.now()
    clock.advance(timedelta(minutes=4, seconds=59))
    assert not tokens.is_use_worth_noting(used, clock.now())
    clock.advance(timedelta(seconds=1))
    assert tokens.is_use_worth_noting(used, clock.now())


@given(st.text() | st.from_regex(r"sgt_[0-9]{1,12}_[A-Za-z0-9_-]{40,46}"))
def test_any_text_is_a_token_or_none(text: str) -> None:
    parts = tokens.split(text)
    if parts is not None:
        number, secret = parts
        assert text == f"sgt_{number}_{secret}"
        assert 0 < number < 2**31
        assert len(secret) == 43
