"""Due rows: claimed by one worker at a time, given back when a worker dies, settled by the one who holds them."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import URL
from sqlmodel import Session, col, select

from ca.records import CertificationAuthority
from crl.records import CrlSchedule
from foundation.due import LEASE, claim, extend, held, settle
from signetry.database import Database
from tests.clocks import ManualClock


@pytest.fixture
def owed(store: Database, clock: ManualClock) -> Database:
    """A store with ten schedules, due a minute apart, the first one now."""

    def act(session: Session) -> None:
        for number in range(1, 11):
            session.add(
                CertificationAuthority(
                    id=number, name=f"ca-{number}", key_reference="k", key_algorithm="p256", created_at=clock.now()
                ),
            )
        session.flush()
        for number in range(1, 11):
            session.add(CrlSchedule(authority_id=number, due_at=clock.now() + timedelta(minutes=number - 1)))

    store.write(act)
    return store


def claimed(database: Database, clock: ManualClock, limit: int = 100) -> dict[int, str | None]:
    def act(session: Session) -> dict[int, str | None]:
        return {row.authority_id: row.lease_token for row in claim(session, CrlSchedule, now=clock.now(), limit=limit)}

    return database.write(act)


def test_only_what_is_due_is_claimed_oldest_first(owed: Database, clock: ManualClock) -> None:
    clock.advance(minutes=4)
    assert list(claimed(owed, clock, limit=3)) == [1, 2, 3]
    assert list(claimed(owed, clock)) == [4, 5]


def test_a_claimed_row_is_nobody_elses_until_the_lease_lapses(owed: Database, clock: ManualClock) -> None:
    first = claimed(owed, clock)
    assert list(first) == [1]
    clock.advance(LEASE - timedelta(seconds=1))
    assert claimed(owed, clock) == {}
    clock.advance(seconds=1)
    second = claimed(owed, clock)
    assert list(second) == [1]
    assert second[1] != first[1]


def test_settling_changes_the_row_and_frees_it(owed: Database, clock: ManualClock) -> None:
    token = claimed(owed, clock)[1]
    later = clock.now() + timedelta(hours=1)
    assert owed.write(lambda session: settle(session, CrlSchedule, 1, str(token), due_at=later, last_number=7))
    assert claimed(owed, clock) == {}
    clock.set(later)
    assert 1 in claimed(owed, clock)
    with owed.reading() as session:
        assert session.exec(select(CrlSchedule.last_number).where(col(CrlSchedule.authority_id) == 1)).one() == 7


def test_a_late_result_is_refused_and_changes_nothing(owed: Database, clock: ManualClock) -> None:
    late = claimed(owed, clock)[1]
    clock.advance(LEASE)
    current = claimed(owed, clock)[1]
    assert not owed.write(lambda session: settle(session, CrlSchedule, 1, str(late), last_number=666))
    with owed.reading() as session:
        row = session.exec(select(CrlSchedule).where(col(CrlSchedule.authority_id) == 1)).one()
        assert (row.last_number, row.lease_token) == (0, current)


def test_a_result_is_taken_once(owed: Database, clock: ManualClock) -> None:
    token = str(claimed(owed, clock)[1])
    assert owed.write(lambda session: settle(session, CrlSchedule, 1, token, last_number=1))
    assert not owed.write(lambda session: settle(session, CrlSchedule, 1, token, last_number=2))


def lease_until(database: Database, number: int) -> datetime | None:
    with database.reading() as session:
        return session.exec(select(CrlSchedule.lease_until).where(col(CrlSchedule.authority_id) == number)).one()


def test_extending_covers_what_is_still_held_and_nothing_else(owed: Database, clock: ManualClock) -> None:
    clock.advance(minutes=2)
    token = str(claimed(owed, clock)[1])
    clock.advance(minutes=1)
    others = claimed(owed, clock, limit=1)
    assert list(others) == [1]
    owed.write(lambda session: settle(session, CrlSchedule, 2, token, due_at=None))
    assert owed.write(lambda session: extend(session, CrlSchedule, token, now=clock.now())) == 1
    assert lease_until(owed, 3) == clock.now() + LEASE
    assert lease_until(owed, 2) is None


def test_what_is_held_does_not_lapse_however_long_the_work_takes(owed: Database, clock: ManualClock) -> None:
    token = str(claimed(owed, clock)[1])
    with held(owed, clock, CrlSchedule, token, every=timedelta(milliseconds=20)):
        for _ in range(5):
            now = clock.advance(LEASE - timedelta(seconds=1))
            deadline = time.monotonic() + 20
            while lease_until(owed, 1) != now + LEASE:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert 1 not in claimed(owed, clock)
    assert owed.write(lambda session: settle(session, CrlSchedule, 1, token, last_number=1))


def test_after_the_work_the_lease_lapses_as_ever(owed: Database, clock: ManualClock) -> None:
    token = str(claimed(owed, clock)[1])
    with held(owed, clock, CrlSchedule, token, every=timedelta(milliseconds=5)):
        time.sleep(0.05)
    clock.advance(LEASE)
    time.sleep(0.05)
    assert 1 in claimed(owed, clock)


@pytest.mark.usefixtures("owed")
def test_two_workers_at_once_never_get_the_same_row(database_url: URL, clock: ManualClock) -> None:
    clock.advance(minutes=30)
    workers = [Database(database_url) for _ in range(4)]
    meet = Barrier(4)

    def work(database: Database) -> list[int]:
        got: list[int] = []
        meet.wait()
        while batch := claimed(database, clock, limit=2):
            got += batch
        return got

    with ThreadPoolExecutor(4) as threads:
        shares = list(threads.map(work, workers))
    assert sorted(number for share in shares for number in share) == list(range(1, 11))
    for database in workers:
        database.close()


def test_a_worker_is_not_held_up_by_rows_another_is_claiming(postgresql_url: URL, clock: ManualClock) -> None:
    first, second = Database(postgresql_url), Database(postgresql_url)

    def fill(session: Session) -> None:
        for number in (1, 2):
            session.add(
                CertificationAuthority(
                    id=number, name=f"{number}", key_reference="k", key_algorithm="p256", created_at=clock.now()
                )
            )
        session.flush()
        for number in (1, 2):
            session.add(CrlSchedule(authority_id=number, due_at=clock.now()))

    first.write(fill)

    def hold(session: Session) -> tuple[list[int], list[int]]:
        mine = [row.authority_id for row in claim(session, CrlSchedule, now=clock.now(), limit=1)]
        # The transaction that claimed is still open: SKIP LOCKED passes its row by instead of waiting.
        return mine, list(claimed(second, clock))

    mine, theirs = first.write(hold)
    assert sorted(mine + theirs) == [1, 2]
    first.close()
    second.close()
