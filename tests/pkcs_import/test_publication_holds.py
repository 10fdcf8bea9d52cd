"""A new certificate is published once the devices hold its key, and not before, and not for ever."""

from datetime import timedelta

import pytest
from sqlmodel import Session

from ca.authorisation import PersonId
from ca.revocation import RevocationReason
from people.persons import deactivate_person
from pkcs_import.delivery import Method
from pkcs_import.making import Demand, Making, Order, Outcome
from pkcs_import.publication_holds import Holds, held_until
from tests.pkcs_import.makings import ACTOR, Makings


def renew(makings: Makings, before: Making) -> Making:
    made = makings.make(Order(makings.alice_id, Demand.REPLACING, before.serial))
    assert made.outcome is Outcome.ISSUED
    return made


def review(makings: Makings) -> int:
    return makings.holds.review_all(makings.store, makings.clock)


@pytest.fixture
def phone(makings: Makings) -> int:
    """Alice's phone, which holds nothing yet."""
    return makings.device()


@pytest.fixture
def held(makings: Makings, phone: int) -> Making:
    """A certificate that is held back: its predecessor's key is on the phone, its own is not."""
    first = makings.make()
    makings.deliver(phone)
    return renew(makings, first)


def test_a_first_certificate_waits_for_nobody(makings: Makings, phone: int) -> None:
    assert phone
    made = makings.make()
    assert (made.held_until, makings.held()) == (None, set())


def test_without_devices_nothing_waits(makings: Makings) -> None:
    assert renew(makings, makings.make()).held_until is None


def test_devices_that_never_got_a_key_lose_none(makings: Makings, phone: int) -> None:
    assert phone
    assert renew(makings, makings.make()).held_until is None


def test_a_renewed_one_waits_for_the_device_that_has_the_one_before(makings: Makings, held: Making) -> None:
    assert held.held_until == makings.clock.now() + timedelta(days=30)
    assert makings.held() == {held.serial}
    assert makings.told[-1].held_until == held.held_until
    assert review(makings) == 0
    with makings.store.reading() as session:
        assert held_until(session, [makings.told[-1].certificate_id, 4711]) == {makings.told[-1].certificate_id: held.held_until}


def test_it_goes_when_the_device_holds_the_key(makings: Makings, held: Making, phone: int) -> None:
    assert makings.held() == {held.serial}
    makings.deliver(phone)
    assert (makings.held(), makings.released) == (set(), [makings.alice_id])
    (event,) = makings.events("publication.released")
    assert event.details == {"person": makings.alice.id, "reason": "nobody has to wait for it"}


def test_it_waits_for_every_active_device(makings: Makings, held: Making, phone: int) -> None:
    tablet = makings.device("tablet")
    makings.deliver(phone)
    assert makings.held() == {held.serial}
    makings.deactivate(tablet)
    assert review(makings) == 1
    assert makings.held() == set()


def test_it_goes_when_its_time_is_up(makings: Makings, held: Making) -> None:
    makings.clock.advance(days=29)
    assert review(makings) == 0
    makings.clock.advance(days=1)
    assert review(makings) == 1
    assert (makings.held(), makings.released) == (set(), [makings.alice_id])
    assert makings.events("publication.released")[0].details["reason"] == "its time is up"
    assert held.held_until is not None


def test_it_goes_no_later_than_its_predecessor_ends(makings: Makings, phone: int) -> None:
    first = makings.make()
    makings.deliver(phone)
    makings.clock.advance(days=720)
    assert renew(makings, first).held_until == first.not_after


def test_it_goes_when_there_is_nothing_to_publish_instead(makings: Makings, phone: int) -> None:
    first = makings.make()
    makings.deliver(phone)
    renew(makings, first)
    makings.revoke(first.serial)
    assert review(makings) == 1


def test_with_nothing_good_before_it_nothing_is_held(makings: Makings, phone: int) -> None:
    first = makings.make()
    makings.deliver(phone)
    makings.revoke(first.serial)
    assert makings.make().held_until is None


def test_where_a_key_is_compromised_its_successor_waits_for_nobody(makings: Makings, phone: int) -> None:
    """What it superseded is published no more: with the new one held back senders would find nothing."""
    first = makings.make()
    makings.deliver(phone)
    second = renew(makings, first)
    makings.deliver(phone)
    makings.revoke(second.serial, RevocationReason.KEY_COMPROMISE)
    third = makings.make()
    assert (third.outcome, third.held_until) == (Outcome.ISSUED, None)


def test_an_imported_one_is_taken_to_be_in_use_on_every_device(makings: Makings, phone: int) -> None:
    makings.import_certificate()
    present = makings.make()
    made = renew(makings, present)
    assert makings.held() == {made.serial}
    makings.deliver(phone)
    assert makings.held() == set()


def test_a_device_with_a_key_of_its_own_is_waited_for(makings: Makings, phone: int) -> None:
    makings.enrol(phone)
    made = makings.make()
    assert makings.held() == {made.serial}


def test_one_that_was_never_handed_out_is_nobodys(makings: Makings, phone: int) -> None:
    makings.withheld.add(makings.enrol(phone))
    assert makings.make().held_until is None


def test_a_key_that_intune_has_is_on_every_device_it_manages(makings: Makings) -> None:
    phone = makings.device(mdm_id="3f2a")
    first = makings.make()
    makings.deliver(phone)
    made = renew(makings, first)
    assert makings.held() == {made.serial}
    makings.deliver(None, Method.INTUNE)
    assert makings.held() == set()


def test_intune_says_nothing_of_devices_that_nobody_manages(makings: Makings, held: Making) -> None:
    makings.deliver(None, Method.INTUNE)
    assert makings.held() == {held.serial}


def test_with_no_time_to_wait_nothing_is_held(makings: Makings, phone: int) -> None:
    first = makings.make()
    makings.deliver(phone)
    at_once = Holds(ACTOR, timedelta(0), lambda _session: ())
    made = makings.make(Order(makings.alice_id, Demand.REPLACING, first.serial), holds=at_once)
    assert (made.held_until, makings.held()) == (None, set())


def test_everybody_is_reviewed_whoever_there_is(makings: Makings, held: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pages of persons, and one whose device is another's meanwhile."""
    assert held.held_until is not None
    monkeypatch.setattr("pkcs_import.publication_holds._REVIEWED_AT_ONCE", 1)
    bob = PersonId(makings.person("bob").id)
    alice, makings.alice = makings.alice, makings.person("carol")
    phone = makings.device("carols")
    first = makings.make()
    makings.deliver(phone)
    renew(makings, first)
    makings.clock.advance(days=31)
    assert review(makings) == 2
    assert makings.released == [alice.id, makings.alice_id]
    assert bob not in makings.released


def test_what_somebody_leaves_behind_is_let_go(makings: Makings, held: Making, phone: int) -> None:
    assert held.held_until is not None

    def leave(session: Session) -> None:
        deactivate_person(session, makings.alice.id, actor=ACTOR, now=makings.clock.now())

    makings.store.write(leave)
    makings.deactivate(phone)
    assert review(makings) == 1
