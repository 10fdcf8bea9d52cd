"""The worker: it does what is due, sees what others commit, outlives every job, and lets none of them delay another."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import URL, event
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from audit.log import Actor, Event, record
from audit.records import AuditEvent
from signetry.database import Database
from signetry.jobs import Job, JobRun, Worker
from tests.clocks import ManualClock

# Generous: the machine may have other things to do.
_PATIENCE_SECONDS = 20.0


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


class Crew:
    """A worker whose steps a test takes one by one: after each, what it has begun has come to its end."""

    def __init__(self, jobs: Sequence[Job], database: Database, clock: ManualClock) -> None:
        self.runs: list[JobRun] = []
        self.worker = Worker(jobs, database, clock, observer=self.runs.append)

    def step(self) -> bool:
        """Step, wait for the jobs, and return whether any has run."""
        before = len(self.runs)
        self.worker.step()
        until(lambda: self.worker.is_idle)
        return len(self.runs) > before


@contextmanager
def crew(jobs: Sequence[Job], database: Database, clock: ManualClock) -> Iterator[Crew]:
    hired = Crew(jobs, database, clock)
    try:
        # At the start every table is asked.
        hired.step()
        yield hired
    finally:
        hired.worker.stop()


@contextmanager
def running(jobs: Sequence[Job], database: Database, clock: ManualClock, *, grace_seconds: float = 8.0) -> Iterator[Worker]:
    """Let a worker run as its process does, in a thread, while the block runs."""
    stop = threading.Event()
    worker = Worker(jobs, database, clock, grace_seconds=grace_seconds)
    thread = threading.Thread(target=worker.run, args=(stop.wait,))
    thread.start()
    try:
        yield worker
    finally:
        stop.set()
        thread.join(_PATIENCE_SECONDS)
        assert not thread.is_alive(), "the worker did not stop"


def until(condition: Callable[[], bool], message: str = "it did not happen") -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.002)


def test_what_another_process_commits_is_worked_off(store: Database, other: Database, clock: ManualClock) -> None:
    inbox = Inbox(store, clock)
    with crew([inbox.job()], store, clock) as hired:
        assert inbox.done == 0
        note(other, "a", clock.now())
        hired.step()
        assert inbox.done == 1
        assert not hired.step()


def test_what_is_due_later_is_done_then(store: Database, other: Database, clock: ManualClock) -> None:
    inbox = Inbox(store, clock)
    with crew([inbox.job()], store, clock) as hired:
        note(other, "a", clock.now() + timedelta(minutes=5))
        hired.step()
        clock.advance(minutes=4)
        assert not hired.step()
        clock.advance(minutes=1)
        assert hired.step()
        assert inbox.done == 1


def test_sqlite_is_not_queried_while_nothing_happens(sqlite_store: Database, clock: ManualClock) -> None:
    inboxes = [Inbox(sqlite_store, clock) for _ in range(5)]
    with crew([inbox.job() for inbox in inboxes], sqlite_store, clock) as hired:
        for _ in range(3):
            hired.step()
        statements: list[str] = []
        with sqlite_store.reading() as session:
            engine = session.connection().engine
        event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement))
        for _ in range(10):
            assert not hired.step()
        assert statements == []


def test_one_look_serves_all_jobs_that_rest(store: Database, clock: ManualClock) -> None:
    sessions: list[int] = []

    def look(session: Session) -> None:
        sessions.append(id(session))

    jobs = [Job(f"job-{number}", lambda: 0, look) for number in range(6)]
    with crew(jobs, store, clock) as hired:
        sessions.clear()
        note(store, "a", clock.now())
        hired.step()
        assert len(sessions) == 6
        assert len(set(sessions)) == 1


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
    with crew([Job("failing", fail, lambda _session: clock.now()), always], sqlite_store, clock) as hired:
        for _ in range(99):
            clock.advance(seconds=1)
            hired.step()
        assert len(runs) == 100
        gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(failures)]
        assert gaps == [1, 2, 4, 8, 16, 32]
        assert [run.succeeded for run in hired.runs if run.job == "failing"] == [False] * len(failures)
        assert all(run.succeeded for run in hired.runs if run.job == "succeeding")


def test_a_job_that_cannot_say_when_it_is_due_postpones_itself_only(store: Database, other: Database, clock: ManualClock) -> None:
    asked: list[datetime] = []

    def look(_session: Session) -> datetime | None:
        asked.append(clock.now())
        raise LookupError("a row nobody expected")

    inbox = Inbox(store, clock)
    with crew([Job("broken", lambda: 0, look), inbox.job()], store, clock) as hired:
        for _ in range(100):
            clock.advance(seconds=1)
            note(other, "a", clock.now())
            hired.step()
        assert inbox.done == 100
        assert [(later - earlier).total_seconds() for earlier, later in pairwise(asked)] == [1, 2, 4, 8, 16, 32]


def test_a_periodic_job_runs_at_the_start_and_then_at_its_pace(sqlite_store: Database, clock: ManualClock) -> None:
    with crew([Job("periodic", lambda: False, every=timedelta(hours=1))], sqlite_store, clock) as hired:
        for _ in range(61):
            hired.step()
            clock.advance(minutes=1)
        assert len(hired.runs) == 2


def test_a_failed_look_into_the_tables_is_repeated_and_nothing_is_begun_without(
    sqlite_store: Database, clock: ManualClock
) -> None:
    looks: list[int] = []

    def look(_session: Session) -> datetime | None:
        looks.append(1)
        if len(looks) <= 2:
            raise OperationalError("SELECT", {}, OSError("the database is away"))
        return clock.now() if len(looks) == 3 else None

    runs: list[JobRun] = []
    worker = Worker([Job("job", lambda: False, look)], sqlite_store, clock, observer=runs.append)
    try:
        assert [worker.step(), worker.step()] == [1.0, 1.0]
        assert runs == []
        assert worker.step() == 0.2
        until(lambda: len(runs) == 1)
    finally:
        worker.stop()


def test_it_goes_on_without_waiting_while_there_is_more(sqlite_store: Database, clock: ManualClock) -> None:
    batches = [3] * 200

    def next_due(_session: Session) -> datetime | None:
        return clock.now() if batches else None

    with crew([Job("batches", batches.pop, next_due)], sqlite_store, clock):
        # The one step at the start did it all.
        assert batches == []


def test_a_job_that_finds_nothing_although_it_is_due_does_not_spin(sqlite_store: Database, clock: ManualClock) -> None:
    # The rows are leased to another worker, for one.
    with crew([Job("job", lambda: 0, lambda _session: clock.now())], sqlite_store, clock) as hired:
        assert len(hired.runs) == 1
        hired.step()
        assert len(hired.runs) == 2


def test_a_job_that_hangs_delays_no_other(store: Database, other: Database, clock: ManualClock) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hang() -> int:
        hanging.set()
        release.wait(_PATIENCE_SECONDS)
        return 0

    inboxes = [Inbox(store, clock) for _ in range(3)]
    stuck = [Job(f"stuck-{number}", hang, lambda _session: clock.now()) for number in range(4)]
    with running([*stuck, *(inbox.job() for inbox in inboxes)], store, clock):
        try:
            assert hanging.wait(_PATIENCE_SECONDS)
            for count in range(1, 6):
                note(other, "a", clock.now())
                until(lambda count=count: all(inbox.done == count for inbox in inboxes), "a job was delayed")  # type: ignore[misc]
        finally:
            release.set()


def test_what_is_committed_while_a_job_runs_is_not_overlooked(store: Database, other: Database, clock: ManualClock) -> None:
    inbox = Inbox(store, clock)
    inside, go_on = threading.Event(), threading.Event()

    def run() -> int:
        worked = inbox.run()
        inside.set()
        assert go_on.wait(_PATIENCE_SECONDS)
        return worked

    note(other, "a", clock.now())
    with running([Job("inbox", run, inbox.next_due)], store, clock):
        assert inside.wait(_PATIENCE_SECONDS)
        note(other, "b", clock.now())
        # Long enough for the watching thread to have seen the commit, and to have found the job at work.
        time.sleep(0.5)
        go_on.set()
        until(lambda: inbox.done == 2)


def test_many_jobs_write_at_once_and_none_finds_the_database_locked(database_url: URL, clock: ManualClock) -> None:
    database = Database(database_url, grouped=True)
    done = [0] * 12
    runs: list[JobRun] = []

    def job(number: int) -> Job:
        def run() -> int:
            note(database, f"job {number}", clock.now())
            done[number] += 1
            return 1

        return Job(f"job-{number}", run, lambda _session: clock.now() if done[number] < 50 else None)

    worker = Worker([job(number) for number in range(len(done))], database, clock, observer=runs.append)
    try:
        worker.step()
        until(lambda: worker.is_idle)
        assert done == [50] * len(done)
        assert all(run.succeeded for run in runs)
        with database.reading() as session:
            assert len(session.exec(select(AuditEvent.id)).all()) == 50 * len(done)
    finally:
        worker.stop()
        database.close()


def test_a_stop_lets_the_batch_under_way_end_and_begins_no_other(sqlite_store: Database, clock: ManualClock) -> None:
    begun: list[int] = []
    ended: list[int] = []
    inside = threading.Event()

    def run() -> int:
        begun.append(1)
        inside.set()
        time.sleep(0.3)
        ended.append(1)
        return 1

    with running([Job("slow", run, lambda _session: clock.now())], sqlite_store, clock):
        assert inside.wait(_PATIENCE_SECONDS)
    assert len(begun) == len(ended) == 1


def test_a_stop_does_not_wait_for_a_job_that_hangs(sqlite_store: Database, clock: ManualClock) -> None:
    inside, release = threading.Event(), threading.Event()

    def hang() -> int:
        inside.set()
        release.wait(60)
        return 0

    try:
        with running([Job("hanging", hang), Job("idle", lambda: 0)], sqlite_store, clock, grace_seconds=0.3):
            assert inside.wait(_PATIENCE_SECONDS)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 5
    finally:
        release.set()
