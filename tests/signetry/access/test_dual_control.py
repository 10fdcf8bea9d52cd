"""Who takes part in a recovery, told by API tokens: of the right role, in force, and a named person's."""

from datetime import timedelta

import pytest

from audit.log import Actor
from ca.authorisation import PersonId
from people import persons
from pkcs_import.recovery import Duty
from signetry.access import dual_control, tokens
from signetry.access.errors import NotAuthenticated, RoleRefused
from signetry.access.roles import Role
from signetry.access.tokens import TokenOrder, TokenRecord
from signetry.database import Database
from tests.clocks import ManualClock
from tests.signetry.access.test_tokens import ACTOR, SCOPE, add_person, make

DAY = timedelta(days=1)


@pytest.fixture
def olga(store: Database, clock: ManualClock) -> int:
    """An officer, once she has a token."""
    return add_person(store, clock, "olga")


@pytest.fixture
def rita(store: Database, clock: ManualClock) -> int:
    """A recovery agent, once she has a token."""
    return add_person(store, clock, "rita")


def is_in_office(store: Database, clock: ManualClock, duty: Duty, person: int, token: int) -> bool:
    with store.reading() as session:
        return dual_control.in_office(session, duty, PersonId(person), token, clock.now())


def test_a_token_shows_who_takes_part(store: Database, clock: ManualClock, olga: int) -> None:
    made, text = make(store, clock, TokenOrder("Olga", Role.OFFICER, person=olga))
    with store.reading() as session:
        by = dual_control.participant(session, text, Duty.ASKING, origin="192.0.2.7", now=clock.now())
    assert (by.person, by.token, by.actor) == (olga, made.id, Actor(f"token:{made.id}:Olga", "192.0.2.7"))


def all_kinds(store: Database, clock: ManualClock, olga: int, rita: int) -> dict[Role, tuple[TokenRecord, str]]:
    """Return a token of each role; the administrator's and the auditor's are named persons', too."""
    return {
        Role.ADMIN: make(store, clock, TokenOrder("a", Role.ADMIN, person=olga)),
        Role.OFFICER: make(store, clock, TokenOrder("o", Role.OFFICER, person=olga), "cli:anna"),
        Role.RECOVERY: make(store, clock, TokenOrder("r", Role.RECOVERY, person=rita), "cli:bert"),
        Role.AUDITOR: make(store, clock, TokenOrder("u", Role.AUDITOR, person=rita)),
        Role.MDM: make(store, clock, TokenOrder("m", Role.MDM, scope=SCOPE)),
    }


def test_each_duty_is_one_roles_and_no_administrators(store: Database, clock: ManualClock, olga: int, rita: int) -> None:
    taken: dict[Duty, list[Role]] = {duty: [] for duty in Duty}
    for role, (token, text) in all_kinds(store, clock, olga, rita).items():
        for duty in Duty:
            try:
                with store.reading() as session:
                    dual_control.participant(session, text, duty, now=clock.now())
            except RoleRefused as refusal:
                assert f"a token of role {role} may not" in str(refusal)  # noqa: PT017 - one refusal of many
            else:
                taken[duty].append(role)
            assert is_in_office(store, clock, duty, token.person_id or 0, token.id) == (role in taken[duty])
    assert taken == {Duty.ASKING: [Role.OFFICER], Duty.DECIDING: [Role.RECOVERY]}


def test_what_is_no_good_token_is_nobodys(store: Database, clock: ManualClock, olga: int) -> None:
    made, text = make(store, clock, TokenOrder("Olga", Role.OFFICER, DAY, person=olga))
    for wrong in ("", "sgt_1_", text[:-1], text.replace(f"sgt_{made.id}_", "sgt_4711_")):
        with store.reading() as session, pytest.raises(NotAuthenticated):
            dual_control.participant(session, wrong, Duty.ASKING, now=clock.now())
    clock.advance(DAY)
    with store.reading() as session, pytest.raises(NotAuthenticated):
        dual_control.participant(session, text, Duty.ASKING, now=clock.now())


def test_a_token_is_in_office_until_it_is_revoked_or_expires(store: Database, clock: ManualClock, olga: int, rita: int) -> None:
    officer, _ = make(store, clock, TokenOrder("o", Role.OFFICER, DAY, person=olga), "cli:anna")
    agent, _ = make(store, clock, TokenOrder("r", Role.RECOVERY, DAY, person=rita), "cli:bert")
    assert is_in_office(store, clock, Duty.ASKING, olga, officer.id)
    assert is_in_office(store, clock, Duty.DECIDING, rita, agent.id)
    store.write(lambda session: tokens.revoke(session, officer.id, actor=ACTOR, now=clock.now()))
    assert not is_in_office(store, clock, Duty.ASKING, olga, officer.id)
    clock.advance(DAY)
    assert not is_in_office(store, clock, Duty.DECIDING, rita, agent.id)


def test_a_token_is_in_office_for_its_own_person_only(store: Database, clock: ManualClock, olga: int, rita: int) -> None:
    officer, _ = make(store, clock, TokenOrder("o", Role.OFFICER, person=olga))
    assert not is_in_office(store, clock, Duty.ASKING, rita, officer.id)
    assert not is_in_office(store, clock, Duty.ASKING, olga, 4711)


def test_who_left_takes_no_part(store: Database, clock: ManualClock, olga: int) -> None:
    _, text = make(store, clock, TokenOrder("Olga", Role.OFFICER, person=olga))
    store.write(lambda session: persons.deactivate_person(session, olga, actor=ACTOR, now=clock.now()))
    with store.reading() as session, pytest.raises(NotAuthenticated):
        dual_control.participant(session, text, Duty.ASKING, now=clock.now())
