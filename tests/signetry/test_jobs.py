"""The worker's loop: it does what is due, sees what others commit, and outlives every job."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import URL, event
from sqlmodel import Session, col, select

from audit.log import Actor, Event, record
from audit.records import AuditEvent
from signetry.database import Database
from signetry.jobs import Job, Worker
from tests.clocks import ManualClock


@pytest.fixture
def other(database_url: URL) -> Iterator[Database]:
    """The same database as another process sees it."""
    database = Database(database_url)
    yield database
    database.close()


def note(database: Database, subject: str, now: datetime) -> None:
    database.write(lambda session: record(session, Event(Actor("test"), "thing.noted", subject), now=now))


class Inbox:
    """A job over the audit table: an event is due at its time, and worked off by being counted."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.done = 0
        self._database = database
        self._clock = clock

    def job(self) -> Job:
        """Return the job itself."""
        return Job("inbox", self.run, self.next_due)

    def run(self) -> int:
        """Count what is due; return how much of it is new."""
        with self._database.reading() as session:
            due = len(session.exec(select(AuditEvent.id).where(col(AuditEvent.at) <= self._clock.now())).all())
        worked, self.done = due - self.done, due
        return worked

    def next_due(self, session: Session) -> datetime | None:
        """Return the time of the first event not counted yet."""
        times = session.exec(select(AuditEvent.at).order_by(col(AuditEvent.at)).offset(self.done)).all()
        return times[0] if times else None


def test_what_another_process_commits_is_worked_off(store: Database, other: Database, clock: ManualClock) -> None:
    inbox = Inbox(store, clock)
    worker = Worker([inbox.job()], store, clock)
    assert not worker.step()
    note(other, "a", clock.now())
    assert worker.step()
    assert inbox.done == 1
    assert not worker.step()


def test_what_is_due_later_is_done_then(store: Database, other: Database, clock: ManualClock) -> None:
    inbox = Inbox(store, clock)
    worker = Worker([inbox.job()], store, clock)
    note(other, "a", clock.now() + timedelta(minutes=5))
    worker.step()
    clock.advance(minutes=4)
    assert not worker.step()
    clock.advance(minutes=1)
    assert worker.step()
    assert inbox.done == 1


def test_sqlite_is_not_queried_while_nothing_happens(sqlite_store: Database, clock: ManualClock) -> None:
    inbox = Inbox(sqlite_store, clock)
    worker = Worker([inbox.job()], sqlite_store, clock)
    for _ in range(3):
        worker.step()
    statements: list[str] = []
    with sqlite_store.reading() as session:
        engine = session.connection().engine
    event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement))
    for _ in range(10):
        assert not worker.step()
    assert statements == []


def test_a_failing_job_is_tried_less_often_and_stops_no_other(sqlite_store: Database, clock: ManualClock) -> None:
    failures: list[datetime] = []
    runs: list[datetime] = []

    def fail() -> bool:
        failures.append(clock.now())
        raise LookupError("no")

    def succeed() -> bool:
        runs.append(clock.now())
        return False

    always = Job("succeeding", succeed, lambda _session: clock.now())
    worker = Worker([Job("failing", fail, lambda _session: clock.now()), always], sqlite_store, clock)
    for _ in range(100):
        worker.step()
        clock.advance(seconds=1)
    assert len(runs) == 100
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(failures)]
    assert gaps == [1, 2, 4, 8, 16, 32]


def test_a_periodic_job_runs_at_the_start_and_then_at_its_pace(sqlite_store: Database, clock: ManualClock) -> None:
    runs: list[int] = []

    def run() -> bool:
        runs.append(1)
        return False

    worker = Worker([Job("periodic", run, every=timedelta(hours=1))], sqlite_store, clock)
    for _ in range(61):
        worker.step()
        clock.advance(minutes=1)
    assert len(runs) == 2


def test_a_failed_look_into_the_tables_is_repeated(
    sqlite_store: Database,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []

    def look(_session: Session) -> datetime | None:
        looks.append(1)
        if len(looks) == 1:
            raise LookupError("the database is away")
        return clock.now() if len(looks) == 2 else None

    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    runs: list[int] = []

    def run() -> bool:
        runs.append(1)
        return False

    worker = Worker([Job("job", run, look)], sqlite_store, clock)
    for _ in range(5):
        worker.step()
    assert len(runs) >= 1
    assert len(looks) >= 2


def test_it_goes_on_without_waiting_while_there_is_more(sqlite_store: Database, clock: ManualClock) -> None:
    batches = [3, 3, 1, 0]
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 5

    job = Job("batches", lambda: batches.pop(0) if batches else 0, lambda _session: clock.now() if batches else None)
    Worker([job], sqlite_store, clock).run(wait)
    assert waits[:4] == [0, 0, 0, 0.2]
