"""Background work: one loop over the jobs that the composition root names, doing what is due.

What is due stands in the rooms' tables and in nothing else, so a worker may die at any moment and another take over; several may
run at once, on one machine or many (``foundation.due`` keeps them apart).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from foundation.clock import Clock
from signetry.database import Database
from signetry.logging import log_reference

_POLL_SECONDS = 0.2
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Job:
    """Something the worker does.

    Args:
        name: for the log.
        run: does a batch of what is due and returns how many rows it worked off, or whether it did anything.
        next_due: says when the job must run next, None for not before the database changes.
        every: instead of ``next_due``, for what no row tells of: how long to wait after each run. The first is at once.
    """

    name: str
    run: Callable[[], bool | int]
    next_due: Callable[[Session], datetime | None] | None = None
    every: timedelta | None = None


class _Schedule:
    """When one job runs."""

    def __init__(self, job: Job, now: datetime) -> None:
        self.job = job
        self.due: datetime | None = now
        self._pause = timedelta(0)
        self._not_before = now

    def look(self, session: Session) -> None:
        """Ask the job's tables when it is due."""
        if self.job.next_due is not None:
            self.due = self.job.next_due(session)

    def is_due(self, now: datetime) -> bool:
        """Say whether to run it now."""
        return self.due is not None and self.due <= now and self._not_before <= now

    def run(self, clock: Clock) -> bool:
        """Run it; return whether it did anything. A failure is logged, and postpones this job and no other."""
        try:
            worked = bool(self.job.run())
        except Exception as error:  # noqa: BLE001 - the loop outlives every job
            self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._not_before = clock.now() + self._pause
            log_reference(error, "job failed", job=self.job.name, again_in_seconds=self._pause.total_seconds())
            return False
        self._pause = timedelta(0)
        if self.job.every is not None:
            self.due = clock.now() + self.job.every
        return worked


class Worker:
    """The loop over ``jobs``."""

    def __init__(self, jobs: Sequence[Job], database: Database, clock: Clock) -> None:
        self._schedules = [_Schedule(job, clock.now()) for job in jobs]
        self._database = database
        self._clock = clock
        self._moved = database.watch()
        self._look_again = True

    def step(self) -> bool:
        """Do a batch of everything that is due; return whether anything was done, so that more may be waiting.

        The tables are asked when something was committed, when a job has run, and when the time has come that was last told.
        """
        now = self._clock.now()
        if self._moved() or self._look_again or any(schedule.is_due(now) for schedule in self._schedules):
            self._look_again = not self._look()
        worked = False
        for schedule in self._schedules:
            if schedule.is_due(now):
                worked |= schedule.run(self._clock)
                self._look_again = True
        return worked

    def run(self, wait: Callable[[float], bool]) -> None:
        """Repeat ``step`` until ``wait`` says to stop; it gets the seconds to wait for that and returns whether to stop."""
        while not wait(0 if self.step() else _POLL_SECONDS):
            pass

    def _look(self) -> bool:
        try:
            with self._database.reading() as session:
                for schedule in self._schedules:
                    schedule.look(session)
        except Exception as error:  # noqa: BLE001 - a database that is down comes back
            log_reference(error, "cannot look for due work")
            time.sleep(1)
            return False
        return True
