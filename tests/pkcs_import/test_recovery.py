"""Dual control: who may ask, decide and export, once and in time, and what becomes of it when somebody leaves."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import update
from sqlmodel import Session, col, select

from audit.records import AuditEvent
from ca.authorisation import PersonId
from foundation.errors import BadRequest
from foundation.tables import table_of
from people import persons
from pkcs_import import recovery, recovery_requests
from pkcs_import.errors import RecoveryRefused, SealBroken, UnknownArchivedKey, UnknownRecovery
from pkcs_import.purpose import Purpose
from pkcs_import.records import RecoveryRequest
from pkcs_import.recovery import EXPORT_WITHIN, WAITS_FOR_DECISION, Duty, Participant, RecoveryClaim, Wanted
from pkcs_import.recovery_requests import Recovery, State
from signetry.database import Database
from tests.clocks import ManualClock
from tests.pkcs_import.recovering import ACTOR, Offices, add_archive_key, add_person, archive, taking_part

Result = TypeVar("Result")

REASON = "lost phone, case 4711"
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class World:
    """Alice, whose keys they are: two for encryption and one that signs. Olga and Otto are officers, Rita and Rob agents."""

    store: Database
    clock: ManualClock
    offices: Offices
    alice: PersonId
    olga: Participant
    otto: Participant
    rita: Participant
    rob: Participant
    archive_key: int
    older: int
    newer: int
    signing: int

    def ask(self, by: Participant | None = None, reason: str = REASON, **wanted: Any) -> Recovery:  # noqa: ANN401 - Wanted's
        """Ask for alice's keys, or as ``wanted`` says."""
        asked_for = Wanted(**{"person": self.alice, **wanted})
        return self._write(recovery.ask, asked_for, reason, by=by or self.olga)

    def approve(self, request: Recovery, by: Participant | None = None) -> Recovery:
        """Have an agent approve."""
        return self._write(recovery.approve, request.id, by=by or self.rita)

    def reject(self, request: Recovery, by: Participant | None = None) -> Recovery:
        """Have an agent reject."""
        return self._write(recovery.reject, request.id, by=by or self.rita)

    def claim(self, request: Recovery, by: Participant | None = None) -> RecoveryClaim:
        """Claim the export, as the archive process does."""
        return self._write(recovery.claim_export, request.id, by=by or self.olga)

    def state(self, request: Recovery) -> State:
        """Return how it stands."""
        with self.store.reading() as session:
            return recovery_requests.get(session, request.id, now=self.clock.now()).state

    def events(self) -> list[AuditEvent]:
        """Return the audit events of recoveries, in their order."""
        with self.store.reading() as session:
            query = select(AuditEvent).where(col(AuditEvent.action).startswith("recovery.")).order_by(col(AuditEvent.id))
            found = list(session.exec(query))
            session.expunge_all()
        return found

    def deactivate(self, person: PersonId) -> None:
        """See somebody off."""
        now = self.clock.now()
        self.store.write(lambda session: persons.deactivate_person(session, person, actor=ACTOR, now=now))

    def _write(self, act: Callable[..., Result], *given: object, by: Participant) -> Result:
        now = self.clock.now()
        return self.store.write(lambda session: act(session, *given, by=by, in_office=self.offices, now=now))


@pytest.fixture
def world(store: Database, clock: ManualClock) -> World:
    """Everybody active, every token in force."""
    now = clock.now()
    alice = add_person(store, "alice", now)
    olga, otto, rita, rob = (
        taking_part(add_person(store, name, now), number, name) for number, name in enumerate(("olga", "otto", "rita", "rob"), 1)
    )
    offices = Offices(
        (Duty.ASKING, olga.person, olga.token),
        (Duty.ASKING, otto.person, otto.token),
        (Duty.DECIDING, rita.person, rita.token),
        (Duty.DECIDING, rob.person, rob.token),
    )
    key = add_archive_key(store, now)
    older = archive(store, alice, "older", archive_key=key, now=now, ends_in=timedelta(days=-30))
    newer = archive(store, alice, "newer", archive_key=key, now=now, purpose=Purpose.BOTH)
    signing = archive(store, alice, "signing", archive_key=key, now=now, purpose=Purpose.SIGNING, ends_in=timedelta(days=999))
    return World(store, clock, offices, alice, olga, otto, rita, rob, key, older, newer, signing)


# --- the way it goes ---


def test_an_officer_asks_an_agent_approves_and_the_officer_exports(world: World) -> None:
    asked = world.ask()
    assert (asked.state, asked.key, asked.person, asked.reason) == (State.WAITING, world.newer, world.alice, REASON)
    assert (asked.asked_by, asked.asked_by_person, asked.asked_by_token) == ("token:1:olga", world.olga.person, 1)
    assert asked.expires_at == world.clock.now() + WAITS_FOR_DECISION
    world.clock.advance(timedelta(days=2))
    approved = world.approve(asked)
    assert (approved.state, approved.decided_by) == (State.APPROVED, "token:3:rita")
    assert approved.expires_at == world.clock.now() + EXPORT_WITHIN
    claim = world.claim(asked)
    assert (claim.request, claim.person, [key.id for key in claim.keys]) == (asked.id, world.alice, [world.newer])
    assert world.state(asked) is State.EXPORTED


def test_every_step_is_an_audit_event(world: World) -> None:
    asked = world.ask()
    world.approve(asked)
    claim = world.claim(asked)
    world.reject(rejected := world.ask(history=True))
    events = world.events()
    assert [(event.action, event.subject, event.actor) for event in events] == [
        ("recovery.asked", f"recovery:{asked.id}", "token:1:olga"),
        ("recovery.approved", f"recovery:{asked.id}", "token:3:rita"),
        ("recovery.exported", f"recovery:{asked.id}", "token:1:olga"),
        ("recovery.asked", f"recovery:{rejected.id}", "token:1:olga"),
        ("recovery.rejected", f"recovery:{rejected.id}", "token:3:rita"),
    ]
    assert {event.origin for event in events} == {"192.0.2.7"}
    assert events[0].details == {"person": world.alice, "key": world.newer, "reason": REASON}
    assert events[2].details["exported"] == [claim.keys[0].spki_sha256]
    assert events[2].details["approved_by"] == "token:3:rita"


def test_the_history_is_all_encryption_keys_and_no_other(world: World) -> None:
    asked = world.ask(history=True)
    assert asked.key is None
    world.approve(asked)
    assert [key.id for key in world.claim(asked).keys] == [world.newer, world.older]


def test_a_key_may_be_named(world: World) -> None:
    asked = world.ask(key=world.older)
    world.approve(asked)
    assert [key.id for key in world.claim(asked).keys] == [world.older]


def test_the_keys_of_somebody_who_left_are_recovered(world: World) -> None:
    world.deactivate(world.alice)
    world.approve(asked := world.ask())
    assert world.claim(asked).keys


def test_a_key_that_came_after_the_approval_was_not_approved(world: World) -> None:
    asked = world.ask(history=True)
    world.clock.advance(SECOND)
    before = archive(world.store, world.alice, "before", archive_key=world.archive_key, now=world.clock.now())
    world.clock.advance(SECOND)
    world.approve(asked)
    world.clock.advance(SECOND)
    after = archive(world.store, world.alice, "after", archive_key=world.archive_key, now=world.clock.now())
    exported = {key.id for key in world.claim(asked).keys}
    assert before in exported
    assert after not in exported


# --- what can be asked for ---


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "a\x1b[2Jb", "a\u202eb", "x" * 1001])
def test_a_reason_is_a_line_of_text(world: World, reason: str) -> None:
    with pytest.raises(BadRequest, match="reason"):
        world.ask(reason=reason)


def test_one_key_or_all_of_them(world: World) -> None:
    with pytest.raises(BadRequest, match="one key"):
        world.ask(key=world.newer, history=True)


def test_a_key_that_only_signs_is_not_recovered(world: World) -> None:
    with pytest.raises(RecoveryRefused, match="not for encryption"):
        world.ask(key=world.signing)


@pytest.mark.parametrize("history", [False, True])
def test_there_must_be_something_to_recover(world: World, history: bool) -> None:  # noqa: FBT001 - a parameter of the test
    bob = add_person(world.store, "bob", world.clock.now())
    archive(world.store, bob, "bob's", archive_key=world.archive_key, now=world.clock.now(), purpose=Purpose.SIGNING)
    with pytest.raises(UnknownArchivedKey, match="no encryption key"):
        world.ask(person=bob, history=history)
    assert world.events() == []


def test_somebody_elses_key_is_not_this_persons(world: World) -> None:
    bob = add_person(world.store, "bob", world.clock.now())
    with pytest.raises(UnknownArchivedKey, match=f"no archived key {world.newer}"):
        world.ask(person=bob, key=world.newer)
    with pytest.raises(UnknownArchivedKey):
        world.ask(key=4711)


# --- who ---


def test_nobody_asks_for_their_own_keys(world: World) -> None:
    archive(world.store, world.olga.person, "olga's", archive_key=world.archive_key, now=world.clock.now())
    with pytest.raises(RecoveryRefused, match="their own keys"):
        world.ask(person=world.olga.person)


def test_nobody_decides_on_their_own_keys(world: World) -> None:
    archive(world.store, world.rita.person, "rita's", archive_key=world.archive_key, now=world.clock.now())
    asked = world.ask(person=world.rita.person)
    for act in (world.approve, world.reject):
        with pytest.raises(RecoveryRefused, match="their own keys"):
            act(asked)
    assert world.state(asked) is State.WAITING
    world.approve(asked, world.rob)
    assert world.claim(asked).keys


def test_the_same_person_does_not_approve_with_another_token(world: World) -> None:
    """That no person holds both roles' tokens is seen to where tokens are made; here it is not relied upon."""
    both = Offices(
        (Duty.ASKING, world.olga.person, 1),
        (Duty.DECIDING, world.olga.person, 11),
    )
    world = World(**{**vars(world), "offices": both})
    asked = world.ask()
    with pytest.raises(RecoveryRefused, match="does not decide"):
        world.approve(asked, taking_part(world.olga.person, 11, "olga"))
    assert world.state(asked) is State.WAITING


def test_each_does_only_their_duty(world: World) -> None:
    with pytest.raises(RecoveryRefused, match="not for that"):
        world.ask(world.rita)
    asked = world.ask()
    for act in (world.approve, world.reject):
        with pytest.raises(RecoveryRefused, match="not for that"):
            act(asked, world.otto)
    world.approve(asked)
    for other in (world.otto, world.rita, world.rob):
        with pytest.raises(RecoveryRefused, match="only who asked"):
            world.claim(asked, other)
    assert world.state(asked) is State.APPROVED


def test_a_token_that_was_revoked_does_nothing(world: World) -> None:
    asked = world.ask()
    world.offices.revoke(world.rita.token)
    with pytest.raises(RecoveryRefused, match="deciding is not in force"):
        world.approve(asked)
    world.offices.revoke(world.olga.token)
    with pytest.raises(RecoveryRefused, match="asking is not in force"):
        world.ask()


def test_what_was_asked_with_a_revoked_token_is_not_approved(world: World) -> None:
    asked = world.ask()
    world.offices.revoke(world.olga.token)
    with pytest.raises(RecoveryRefused, match="asking is not in force"):
        world.approve(asked)
    assert world.reject(asked).state is State.REJECTED


def test_what_was_asked_or_approved_with_a_token_revoked_since_is_not_exported(world: World) -> None:
    for token, duty in ((world.rita.token, "deciding"), (world.olga.token, "asking")):
        world.approve(asked := world.ask(), world.rita if duty == "deciding" else world.rob)
        world.offices.revoke(token)
        with pytest.raises(RecoveryRefused, match=f"{duty} is not in force"):
            world.claim(asked)
        assert world.state(asked) is State.APPROVED


def test_who_asked_exports_with_another_token_of_theirs(world: World) -> None:
    offices = Offices(
        (Duty.ASKING, world.olga.person, 1), (Duty.ASKING, world.olga.person, 9), (Duty.DECIDING, world.rita.person, 3)
    )
    world = World(**{**vars(world), "offices": offices})
    world.approve(asked := world.ask())
    assert world.claim(asked, taking_part(world.olga.person, 9, "olga")).keys


@pytest.mark.parametrize("revoked", [1, 9])
def test_who_exports_with_another_token_needs_both_in_force(world: World, revoked: int) -> None:
    offices = Offices(
        (Duty.ASKING, world.olga.person, 1), (Duty.ASKING, world.olga.person, 9), (Duty.DECIDING, world.rita.person, 3)
    )
    world = World(**{**vars(world), "offices": offices})
    world.approve(asked := world.ask())
    offices.revoke(revoked)
    with pytest.raises(RecoveryRefused, match="asking is not in force"):
        world.claim(asked, taking_part(world.olga.person, 9, "olga"))
    assert world.state(asked) is State.APPROVED


@pytest.mark.parametrize(
    ("column", "name"), [("decided_by_person", "olga"), ("decided_by_person", "alice"), ("person_id", "olga")]
)
def test_that_they_are_three_persons_is_looked_at_once_more(world: World, column: str, name: str) -> None:
    """Whatever the row came to say since."""
    world.approve(asked := world.ask())
    person = {"olga": world.olga.person, "alice": world.alice}[name]
    row, values = table_of(RecoveryRequest), {column: person}
    world.store.write(lambda session: session.execute(update(row).where(row.c.id == asked.id).values(values)))
    offices = Offices((Duty.ASKING, world.olga.person, 1), (Duty.DECIDING, world.rita.person, 3), (Duty.DECIDING, person, 3))
    with pytest.raises(RecoveryRefused, match="must be three persons"):
        World(**{**vars(world), "offices": offices}).claim(asked)
    assert world.state(asked) is State.APPROVED


@pytest.mark.parametrize("name", ["olga", "rita"])
def test_who_left_meanwhile_takes_no_part_any_more(world: World, name: str) -> None:
    world.approve(asked := world.ask())
    world.deactivate(getattr(world, name).person)
    with pytest.raises(RecoveryRefused, match="not active any more"):
        world.claim(asked)
    assert world.state(asked) is State.APPROVED


def test_what_somebody_asked_who_left_is_not_approved(world: World) -> None:
    asked = world.ask()
    world.deactivate(world.olga.person)
    with pytest.raises(RecoveryRefused, match="not active any more"):
        world.approve(asked)


# --- when, and how often ---


def test_what_waits_too_long_is_not_decided_on(world: World) -> None:
    asked = world.ask()
    world.clock.advance(WAITS_FOR_DECISION - SECOND)
    assert world.state(asked) is State.WAITING
    world.clock.advance(SECOND)
    assert world.state(asked) is State.EXPIRED
    for act in (world.approve, world.reject):
        with pytest.raises(RecoveryRefused, match="too old"):
            act(asked)


def test_an_approval_is_good_for_an_hour(world: World) -> None:
    world.approve(asked := world.ask())
    world.clock.advance(EXPORT_WITHIN)
    assert world.state(asked) is State.EXPIRED
    for act in (world.claim, world.approve, world.reject):
        with pytest.raises(RecoveryRefused, match="too old"):
            act(asked)


def test_an_approval_is_good_to_the_last_moment(world: World) -> None:
    world.approve(asked := world.ask())
    world.clock.advance(EXPORT_WITHIN - SECOND)
    assert world.claim(asked).keys


def test_the_hour_does_not_begin_again(world: World) -> None:
    world.approve(asked := world.ask())
    world.clock.advance(timedelta(minutes=30))
    with pytest.raises(RecoveryRefused, match="approved already"):
        world.approve(asked, world.rob)


def test_what_is_not_approved_is_not_exported(world: World) -> None:
    waiting, rejected = world.ask(), world.ask()
    world.reject(rejected)
    with pytest.raises(RecoveryRefused, match="not approved yet"):
        world.claim(waiting)
    with pytest.raises(RecoveryRefused, match="was rejected"):
        world.claim(rejected)
    with pytest.raises(RecoveryRefused, match="was rejected"):
        world.approve(rejected)


def test_an_approval_can_be_taken_back_by_any_agent(world: World) -> None:
    world.approve(asked := world.ask())
    assert world.reject(asked, world.rob).decided_by == "token:4:rob"
    with pytest.raises(RecoveryRefused, match="was rejected"):
        world.claim(asked)


def test_an_export_happens_once(world: World) -> None:
    world.approve(asked := world.ask())
    world.claim(asked)
    for act in (world.claim, world.approve, world.reject):
        with pytest.raises(RecoveryRefused, match="exported already"):
            act(asked)
    assert [event.action for event in world.events()].count("recovery.exported") == 1


def test_what_could_not_be_opened_was_not_exported(world: World) -> None:
    world.approve(asked := world.ask())

    def open_broken(session: Session) -> None:
        recovery.claim_export(session, asked.id, by=world.olga, in_office=world.offices, now=world.clock.now())
        raise SealBroken("broken")

    with pytest.raises(SealBroken):
        world.store.write(open_broken)
    assert world.state(asked) is State.APPROVED
    assert "recovery.exported" not in [event.action for event in world.events()]
    assert world.claim(asked).keys


def race(*acts: Callable[[], object]) -> list[object]:
    """Run all at the same moment; return what each came to, True or why not."""
    gate = threading.Barrier(len(acts))
    outcomes: list[object] = [None] * len(acts)

    def run(number: int, act: Callable[[], object]) -> None:
        gate.wait()
        try:
            act()
            outcomes[number] = True
        except RecoveryRefused as refusal:
            outcomes[number] = str(refusal)

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_of_exports_at_the_same_moment_one_gets_the_keys(world: World) -> None:
    for _ in range(5):
        world.approve(asked := world.ask())
        outcomes = race(*[lambda asked=asked: world.claim(asked)] * 6)
        assert outcomes.count(True) == 1
    assert [event.action for event in world.events()].count("recovery.exported") == 5


def test_of_two_who_read_the_same_state_the_second_finds_it_changed(postgresql_url: Any, clock: ManualClock) -> None:  # noqa: ANN401
    """The window between reading and changing, held open: PostgreSQL lets both in."""
    store = Database(postgresql_url)
    now = clock.now()
    alice, olga = add_person(store, "alice", now), taking_part(add_person(store, "olga", now), 1, "olga")
    rita = taking_part(add_person(store, "rita", now), 2, "rita")
    offices = Offices((Duty.ASKING, olga.person, 1), (Duty.DECIDING, rita.person, 2))
    archive(store, alice, "key", archive_key=add_archive_key(store, now), now=now)
    asked = store.write(lambda s: recovery.ask(s, Wanted(alice), REASON, by=olga, in_office=offices, now=now))
    store.write(lambda s: recovery.approve(s, asked.id, by=rita, in_office=offices, now=now))
    gate = threading.Barrier(2)

    def waiting(*given: Any) -> bool:  # noqa: ANN401 - the shape of InOffice
        # Both have read the request by now.
        if given[1] is Duty.DECIDING:
            gate.wait(10)
        return offices(*given)

    def claim() -> object:
        return store.write(lambda s: recovery.claim_export(s, asked.id, by=olga, in_office=waiting, now=now))

    outcomes = race(claim, claim)
    store.close()
    assert outcomes.count(True) == 1
    (refused,) = [each for each in outcomes if each is not True]
    assert "does not stand any more" in str(refused)


def test_an_approval_and_a_rejection_at_the_same_moment(world: World) -> None:
    asked = world.ask()
    outcomes = race(lambda: world.approve(asked), lambda: world.reject(asked, world.rob))
    # The rejection may come second and take the approval back, or come first; it never gets lost.
    assert world.state(asked) in {State.REJECTED, State.APPROVED}
    assert (world.state(asked) is State.REJECTED) == (outcomes[1] is True)


# --- finding them ---


def test_requests_are_found_by_state_and_person(world: World) -> None:
    bob = add_person(world.store, "bob", world.clock.now())
    archive(world.store, bob, "bob's", archive_key=world.archive_key, now=world.clock.now())
    expired = world.ask()
    world.approve(lapsed := world.ask())
    world.clock.advance(WAITS_FOR_DECISION)
    waiting, rejected, exported, approved, bobs = (world.ask(), world.ask(), world.ask(), world.ask(), world.ask(person=bob))
    world.reject(rejected)
    world.approve(exported)
    world.claim(exported)
    world.approve(approved)

    def found(**wanted: Any) -> list[int]:  # noqa: ANN401 - of several types
        with world.store.reading() as session:
            rows = recovery_requests.matching(session, **{"limit": 100, "now": world.clock.now(), **wanted})
        return [row.id for row in rows]

    assert found(state=State.EXPIRED) == [lapsed.id, expired.id]
    assert found(state=State.WAITING) == [bobs.id, waiting.id]
    assert found(state=State.REJECTED) == [rejected.id]
    assert found(state=State.EXPORTED) == [exported.id]
    assert found(state=State.APPROVED) == [approved.id]
    assert found(person=bob) == [bobs.id]
    assert found(before=rejected.id) == [waiting.id, lapsed.id, expired.id]
    assert found(limit=1) == [bobs.id]


def test_what_there_is_not(world: World) -> None:
    asked = Recovery(**{**dict.fromkeys(Recovery.__slots__), "id": 4711})  # type: ignore[arg-type] # only its number counts
    for act in (world.approve, world.reject, world.claim):
        with pytest.raises(UnknownRecovery):
            act(asked)
