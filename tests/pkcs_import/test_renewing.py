"""What was made here is renewed before it ends, each time with a new key."""

from datetime import timedelta

import pytest

from ca.authorisation import PersonId
from people.persons import deactivate_person, reactivate_person
from pkcs_import import renewing
from pkcs_import.errors import WorkshopUnavailable
from pkcs_import.keeping import keys_of
from pkcs_import.making import Demand, Order
from pkcs_import.renewing import Renewals, due
from tests.pkcs_import.makings import ACTOR, Makings

BEFORE = timedelta(days=60)


def renewals(makings: Makings) -> Renewals:
    return Renewals(makings.store, makings.clock, BEFORE)


def run(makings: Makings, made_by: Renewals | None = None) -> int:
    mine = made_by or renewals(makings)
    return mine.run(makings.maker, mine.batch())


def serials(makings: Makings) -> list[str]:
    with makings.store.reading() as session:
        return [each.serial for each in due(session, makings.clock.now(), BEFORE, limit=9)]


def test_it_is_due_sixty_days_before_its_end_and_not_before(makings: Makings) -> None:
    made = makings.make()
    makings.clock.advance(days=669)
    assert serials(makings) == []
    makings.clock.advance(days=1)
    assert serials(makings) == [made.serial]


def test_the_new_one_has_a_new_key_and_the_old_one_is_kept(makings: Makings) -> None:
    made = makings.make()
    makings.clock.advance(days=700)
    assert run(makings) == 1
    with makings.store.reading() as session:
        new, old = keys_of(session, makings.alice_id)
    assert old.certificates[0].serial == made.serial
    assert new.spki_sha256 != old.spki_sha256
    told = makings.told[-1]
    assert told.replaces is not None
    assert (told.replaces.serial, told.certificate.serial) == (made.serial, new.certificates[0].serial)
    assert new.not_after > old.not_after + timedelta(days=600)


def test_it_is_renewed_once(makings: Makings) -> None:
    makings.make()
    makings.clock.advance(days=700)
    assert run(makings) == 1
    assert (serials(makings), run(makings)) == ([], 0)
    assert len(makings.workshop.made) == 2


def test_it_is_renewed_once_by_two_workers(makings: Makings) -> None:
    makings.make()
    makings.clock.advance(days=700)
    mine, other = renewals(makings), renewals(makings)
    batch = mine.batch()
    assert run(makings, other) == 1
    assert mine.run(makings.maker, batch) == 0


def test_an_administrators_new_key_is_as_good_as_a_renewal(makings: Makings) -> None:
    made = makings.make()
    makings.clock.advance(days=700)
    makings.make(Order(makings.alice_id, Demand.REPLACING, made.serial))
    assert serials(makings) == []


def test_what_is_revoked_is_not_renewed(makings: Makings) -> None:
    made = makings.make()
    makings.clock.advance(days=700)
    makings.revoke(made.serial)
    assert serials(makings) == []


def test_what_is_revoked_meanwhile_is_not_renewed(makings: Makings) -> None:
    made = makings.make()
    makings.clock.advance(days=700)
    mine = renewals(makings)
    batch = mine.batch()
    makings.revoke(made.serial)
    assert mine.run(makings.maker, batch) == 0


def test_what_has_expired_while_nobody_looked_is_renewed(makings: Makings) -> None:
    makings.make()
    makings.clock.advance(days=800)
    assert run(makings) == 1


def test_whoever_is_not_active_waits_until_they_are(makings: Makings) -> None:
    makings.make()
    makings.clock.advance(days=700)
    alice, now = makings.alice.id, makings.clock.now()
    makings.store.write(lambda session: deactivate_person(session, alice, actor=ACTOR, now=now))
    assert serials(makings) == []
    makings.store.write(lambda session: reactivate_person(session, alice, actor=ACTOR, now=now))
    assert run(makings) == 1


def test_an_imported_one_is_not_ours_to_renew(makings: Makings) -> None:
    makings.import_certificate(ends=10)
    assert serials(makings) == []


def test_batches_follow_each_other_and_then_there_is_a_pause(makings: Makings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewing, "BATCH", 2)
    for name in ("bob", "carol", "dave"):
        makings.make(Order(PersonId(makings.person(name).id)))
    makings.clock.advance(days=700)
    mine = renewals(makings)
    with makings.store.reading() as session:
        assert mine.next_due(session) <= makings.clock.now()
        assert run(makings, mine) == 2
        assert mine.next_due(session) <= makings.clock.now()
        assert run(makings, mine) == 1
        assert mine.next_due(session) == makings.clock.now() + timedelta(minutes=10)


def test_who_cannot_be_renewed_keeps_nobody_else_waiting(makings: Makings, caplog: pytest.LogCaptureFixture) -> None:
    makings.make()
    makings.make(Order(PersonId(makings.person("bob").id)))
    makings.clock.advance(days=700)

    def fail() -> None:
        raise WorkshopUnavailable("no process is to be had")

    makings.workshop.meanwhile = fail
    mine = renewals(makings)
    assert run(makings, mine) == 1
    # The next time round it is Alice's turn again.
    makings.clock.advance(minutes=10)
    assert run(makings, mine) == 1
    assert serials(makings) == []
    assert "BEGIN" not in caplog.text
