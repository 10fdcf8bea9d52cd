"""Background work: the jobs that the composition root names, each in a thread of its own, done when they are due.

What is due stands in the rooms' tables and in nothing else, so a worker may die at any moment and another take over; several may
run at once, on one machine or many (``foundation.due`` keeps them apart). A job that waits for something far away, a directory
that does not answer, delays no other.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from foundation.clock import Clock
from signetry.database import Database
from signetry.logging import log_reference

_log = structlog.get_logger("signetry.jobs")

_POLL_SECONDS = 0.2
_POLL_SECONDS_WITHOUT_DATABASE = 1.0
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=1)
# What batches under way get to end; less than the supervisor's patience.
_GRACE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Job:
    """Something the worker does.

    Args:
        name: for the log and the metrics.
        run: does a batch of what is due and returns how many rows it worked off, or whether it did anything.
        next_due: says when the job must run next, None for not before the database changes.
        every: instead of ``next_due``, for what no row tells of: how long to wait after each run. The first is at once.
    """

    name: str
    run: Callable[[], bool | int]
    next_due: Callable[[Session], datetime | None] | None = None
    every: timedelta | None = None


@dataclass(frozen=True, slots=True)
class JobRun:
    """One batch that a job has run, as an observer is told: how long it took, and whether it came to its end."""

    job: str
    seconds: float
    succeeded: bool


JobObserver = Callable[[JobRun], None]


def unobserved(_run: JobRun) -> None:
    """Tell nobody."""


class _Schedule:
    """When one job runs. It belongs to the watching thread while the job rests, and to the job's own thread while it works."""

    def __init__(self, job: Job, clock: Clock, observer: JobObserver) -> None:
        self.job = job
        self._clock = clock
        self._observer = observer
        self._due: datetime | None = clock.now()
        self._pause = timedelta(0)
        self._not_before = clock.now()

    def look(self, session: Session) -> None:
        """Ask the job's tables when it is due. Whatever fails but the database itself postpones this job and no other."""
        if self.job.next_due is None or self._clock.now() < self._not_before:
            return
        try:
            self._due = self.job.next_due(session)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - the others are to be asked all the same
            self._postpone(error)
            # Nobody knows when it is due: it is asked again then.
            self._due = self._not_before

    def is_due(self) -> bool:
        """Say whether to run it now."""
        now = self._clock.now()
        return self._due is not None and self._due <= now and self._not_before <= now

    def run(self) -> bool:
        """Run it; return whether it did anything. A failure is logged, and postpones this job and no other."""
        started = time.monotonic()
        worked, failure = False, None
        try:
            worked = bool(self.job.run())
        except Exception as error:  # noqa: BLE001 - the worker outlives every job
            failure = error
        self._observer(JobRun(self.job.name, time.monotonic() - started, succeeded=failure is None))
        if failure is not None:
            self._postpone(failure)
            return False
        self._pause = timedelta(0)
        if self.job.every is not None:
            self._due = self._clock.now() + self.job.every
        return worked

    def _postpone(self, error: Exception) -> None:
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._not_before = self._clock.now() + self._pause
        log_reference(error, "job failed", job=self.job.name, again_in_seconds=self._pause.total_seconds())


class _Lane:
    """The thread of one job: rests until it is told to begin, then runs batches as long as there is more to do."""

    def __init__(self, schedule: _Schedule, database: Database) -> None:
        self.schedule = schedule
        # Whether the tables are to be asked again: what was committed during a run may be this job's.
        self.unasked = True
        self._database = database
        self._begin = threading.Semaphore(0)
        self._resting = threading.Event()
        self._resting.set()
        self._stopping = threading.Event()
        # A daemon: an interpreter on its way out does not wait for a job that hangs.
        self._thread = threading.Thread(target=self._work, name=f"job-{schedule.job.name}", daemon=True)
        self._thread.start()

    @property
    def is_resting(self) -> bool:
        """Whether the job is not running, so that its schedule is the caller's."""
        return self._resting.is_set()

    def begin(self) -> None:
        """Run a batch, and what is then still due; the job must be resting."""
        self._resting.clear()
        self._begin.release()

    def stop(self) -> None:
        """Begin no other batch."""
        self._stopping.set()
        self._begin.release()

    def join(self, seconds: float) -> bool:
        """Wait so long for the thread to end; return whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            self._begin.acquire()
            while not self._stopping.is_set() and self.schedule.run() and self._is_more_due():
                pass
            if self._stopping.is_set():
                return
            self.unasked = True
            self._resting.set()

    def _is_more_due(self) -> bool:
        try:
            with self._database.reading() as session:
                self.schedule.look(session)
        except Exception as error:  # noqa: BLE001 - the watching thread asks again
            log_reference(error, "cannot look for due work", job=self.schedule.job.name)
            return False
        return self.schedule.is_due()


class Worker:
    """Runs ``jobs``, each in a thread of its own; one look at the database serves all that rest."""

    def __init__(
        self,
        jobs: Sequence[Job],
        database: Database,
        clock: Clock,
        *,
        observer: JobObserver = unobserved,
        grace_seconds: float = _GRACE_SECONDS,
    ) -> None:
        self._database = database
        self._moved = database.watch()
        self._grace_seconds = grace_seconds
        self._lanes = [_Lane(_Schedule(job, clock, observer), database) for job in jobs]

    @property
    def is_idle(self) -> bool:
        """Whether no job is running."""
        return all(lane.is_resting for lane in self._lanes)

    def step(self) -> float:
        """Begin every job that rests and is due; return how many seconds to wait before the next step.

        The tables are asked when something was committed, when a job has run, and when the time has come that was last told.
        """
        resting = [lane for lane in self._lanes if lane.is_resting]
        moved = self._moved()
        for lane in resting:
            lane.unasked |= moved
        if any(lane.unasked or lane.schedule.is_due() for lane in resting) and not self._look(resting):
            return _POLL_SECONDS_WITHOUT_DATABASE
        for lane in resting:
            if lane.schedule.is_due():
                lane.begin()
        return _POLL_SECONDS

    def run(self, wait: Callable[[float], bool]) -> None:
        """Repeat ``step`` until ``wait`` says to stop; it gets the seconds to wait for that and returns whether to stop.

        Batches under way then get ``grace_seconds`` to end; what takes longer is left behind, and its lease lapses.
        """
        try:
            while not wait(self.step()):
                pass
        finally:
            self.stop()

    def stop(self) -> None:
        """Begin nothing more, and wait for what is under way, as long as the grace allows."""
        for lane in self._lanes:
            lane.stop()
        deadline = time.monotonic() + self._grace_seconds
        for lane in self._lanes:
            if not lane.join(max(0.0, deadline - time.monotonic())):
                _log.warning("job did not end in time and is left behind", job=lane.schedule.job.name)

    def _look(self, lanes: Sequence[_Lane]) -> bool:
        try:
            with self._database.reading() as session:
                for lane in lanes:
                    lane.schedule.look(session)
        except Exception as error:  # noqa: BLE001 - a database that is down comes back
            log_reference(error, "cannot look for due work")
            return False
        for lane in lanes:
            lane.unasked = False
        return True
