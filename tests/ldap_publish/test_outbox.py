"""The outbox: what is owed, in whose transaction, claimed once; both databases."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Barrier

import pytest
from sqlalchemy import URL
from sqlmodel import Session

from ca.issuance import IssuingAuthority
from ca.profiles import IDENTITY
from foundation.transactions import Transactions
from ldap_publish import outbox, standing
from ldap_publish.outbox import Settlement, Subject
from ldap_publish.publishing import Batch
from ldap_publish.records import SubjectKind
from ldap_publish.status import Condition, backlog, report
from signetry.database import Database
from tests.clocks import ManualClock
from tests.ldap_publish.world import AUTHORITIES, World, directory_of

ALICE, BOB = Subject(SubjectKind.PERSON, 7), Subject(SubjectKind.PERSON, 8)


class Refused(Exception):
    """An act that does not come to its end."""


def claim(world: World, limit: int = 100) -> list[outbox.Claim]:
    now = world.clock.now()
    return world.store.write(lambda session: outbox.claim_due(session, "main", now=now, limit=limit))


def settle(store: Transactions, settlements: list[Settlement], world: World) -> None:
    now = world.clock.now()
    store.write(lambda session: outbox.settle(session, settlements, claimed_at=now, now=now))


def test_what_is_owed_twice_is_one_row(world: World) -> None:
    world.owe(ALICE)
    world.clock.advance(minutes=1)
    world.owe(ALICE)
    world.owe(BOB)
    assert (world.backlog().pending, world.backlog().oldest) == (2, world.clock.now() - timedelta(minutes=1))
    assert [each.subject for each in claim(world)] == [ALICE, BOB]


def test_each_directory_is_owed_its_own(world: World) -> None:
    world.store.write(lambda session: outbox.owe(session, ["main", "other"], ALICE, world.clock.now()))
    world.store.write(lambda session: outbox.owe(session, [], BOB, world.clock.now()))
    assert [each.subject for each in claim(world)] == [ALICE]
    assert claim(world) == []
    now = world.clock.now()
    assert len(world.store.write(lambda session: outbox.claim_due(session, "other", now=now, limit=9))) == 1


def test_nothing_is_owed_for_what_did_not_happen(world: World) -> None:
    def act(session: object) -> None:
        outbox.owe(session, ["main"], ALICE, world.clock.now())  # type: ignore[arg-type]
        raise Refused

    with pytest.raises(Refused):
        world.store.write(act)
    assert world.backlog().pending == 0


def test_what_is_claimed_is_nobody_elses_until_the_lease_lapses(world: World) -> None:
    world.owe(ALICE)
    (first,) = claim(world)
    assert claim(world) == []
    assert world.next_due() == world.clock.now() + timedelta(seconds=30)
    world.clock.advance(seconds=30)
    (second,) = claim(world)
    assert world.store.write(lambda session: outbox.still_held(session, [first])) == set()
    assert world.store.write(lambda session: outbox.still_held(session, [second])) == {second.row_id}
    assert world.store.write(lambda session: outbox.still_held(session, [])) == set()
    world.store.write(lambda session: outbox.release(session, [first]))
    assert claim(world) == []
    world.store.write(lambda session: outbox.release(session, [second]))
    assert len(claim(world)) == 1


def test_settled_it_is_due_when_it_was_said(world: World) -> None:
    world.owe(ALICE)
    (claimed,) = claim(world)
    later = world.clock.now() + timedelta(days=3)
    settle(world.store, [Settlement(claimed, later)], world)
    assert (world.next_due(), world.backlog().pending) == (later, 0)
    world.owe(ALICE)
    assert world.next_due() == world.clock.now()


def test_what_was_owed_meanwhile_is_due_at_once(world: World) -> None:
    world.owe(ALICE)
    (claimed,) = claim(world)
    world.owe(ALICE)
    settle(world.store, [Settlement(claimed, None)], world)
    assert (world.next_due(), world.backlog().pending) == (world.clock.now(), 1)


def test_a_new_directory_is_owed_all_there_is_and_nothing_else(world: World) -> None:
    holder, idle, signer = world.add("alice"), world.add("bob"), world.add("carol")
    number = world.issue(holder)
    world.issue(signer, IDENTITY.name)
    other = replace(directory_of(name="other"), authority_base=AUTHORITIES)
    now = world.clock.now()
    assert world.store.write(lambda session: standing.take_note(session, [world.directory, other], now)) == ["other"]
    claims = world.store.write(lambda session: outbox.claim_due(session, "other", now=now, limit=9))
    persons = {each.subject.id for each in claims if each.subject.kind is SubjectKind.PERSON}
    assert persons == {holder.id}
    assert idle.id not in persons
    assert {each.subject.id for each in claims if each.subject.kind is SubjectKind.AUTHORITY} == {1, 2}
    assert number


def test_a_directory_whose_server_moves_is_owed_everything_again(world: World) -> None:
    world.fake.add_person("alice")
    world.issue(world.add())
    world.run()
    assert world.note() == []
    world.use(replace(world.directory, server=replace(world.directory.server, port=10)))
    assert world.note() == ["main"]
    assert world.backlog().pending == 1
    # Who logs on, and how long is waited, decides nothing about what stands where.
    world.use(replace(world.directory, server=replace(world.directory.server, bind_dn="cn=other", timeout_seconds=3)))
    assert world.note() == []


def test_what_failed_can_be_tried_again_at_once(world: World) -> None:
    world.issue(world.add())
    assert world.run() == Batch(waiting=1)
    assert world.next_due() == world.clock.now() + timedelta(seconds=5)
    world.store.write(lambda session: outbox.hasten(session, "main", world.clock.now()))
    assert world.next_due() == world.clock.now()
    assert world.run() == Batch(waiting=1)


def test_a_directory_that_leaves_the_settings_stays_in_the_report(world: World) -> None:
    world.issue(world.add())
    with world.store.reading() as session:
        (found,) = report(session, {}, world.clock.now())
        new = report(session, {"other": directory_of(name="other")}, world.clock.now())
        assert backlog(session, world.clock.now())[0].pending == 1
    assert (found.condition, found.kind, found.backlog.pending) == (Condition.NOT_CONFIGURED, None, 1)
    assert [(each.backlog.directory, str(each.condition)) for each in new] == [("main", "not-configured"), ("other", "new")]


def test_acts_that_owe_the_same_persons_in_another_order_both_come_to_their_end(
    postgresql_url: URL, root: IssuingAuthority, issuing: IssuingAuthority
) -> None:
    """As a worker that settles a batch, or a process that enrols others: PostgreSQL ends one of the two, and it is repeated."""
    with closing(Database(postgresql_url)) as store, closing(Database(postgresql_url)) as beside:
        world = World(store, ManualClock(), root, issuing)
        world.note()
        for subject in (ALICE, BOB):
            world.owe(subject)
        both_have_one = Barrier(2)
        runs: list[Subject] = []

        def act(first: Subject, second: Subject, session: Session) -> None:
            runs.append(first)
            outbox.owe(session, ["main"], first, world.clock.now())
            if runs.count(first) == 1:
                both_have_one.wait(10)
            outbox.owe(session, ["main"], second, world.clock.now())

        with ThreadPoolExecutor(2) as threads:
            ends = [
                threads.submit(store.write, partial(act, ALICE, BOB)),
                threads.submit(beside.write, partial(act, BOB, ALICE)),
            ]
            assert [end.result(30) for end in ends] == [None, None]
        assert len(runs) == 3
        assert {each.revision for each in claim(world)} == {2}
