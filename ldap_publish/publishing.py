"""Working off what a directory is owed: a batch of entries at a time, each brought to hold what the records say it should.

Between two operations anything may be killed. So a value is recorded before it is put into an entry, and forgotten only after it
is out of it; what is done twice changes nothing; and a row that nobody settled is claimed again when its lease lapses.

A failure of the directory itself postpones everything it is owed; a failure of one entry postpones that entry.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import TypeVar

import structlog
from sqlmodel import Session

from foundation.clock import Clock
from foundation.due import held
from foundation.errors import SignetryError
from foundation.transactions import Transactions
from ldap_publish import outbox, standing
from ldap_publish.advice import advised, is_waiting, problem_of
from ldap_publish.applying import apply
from ldap_publish.comparing import Comparison, EntryPlan, compare
from ldap_publish.directory import Directory, DirectoryClient, Server
from ldap_publish.entry import count_after
from ldap_publish.errors import DirectoryUnavailable, Unexpected
from ldap_publish.outbox import Claim, Settlement
from ldap_publish.records import OwedEntry, SubjectKind
from ldap_publish.subjects import Placed, Sources, SubjectState, displace, load, place

_log = structlog.get_logger("ldap_publish")

# Rows of one batch; three commits whatever the number.
_BATCH = 200
# Connections of a batch. Each waits for its own answers, so that a directory far away is not asked one question at a time.
_CONNECTIONS = 4
# How long entries are looked at, then changed; what is left over is left to the next batch. An operation that hangs may take
# longer than the lease of 30 seconds (foundation.due), which is extended meanwhile.
_LOOK_FOR = timedelta(seconds=8)
_CHANGE_FOR = timedelta(seconds=8)
# Entra stops exporting userCertificate past 15 values.
_MANY_CERTIFICATES = 10
_SAY_AGAIN = timedelta(hours=1)

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of a batch: entries that are as they should be, that failed, and that have yet to be made by somebody."""

    done: int = 0
    failed: int = 0
    waiting: int = 0
    # Why the directory cannot be used, where that ended the batch.
    unavailable: str = ""

    @property
    def settled(self) -> int:
        """How many rows were worked off."""
        return self.done + self.failed + self.waiting


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One claim worked off: its settlement, what may stand in entries now, and what does stand there where it succeeded."""

    settlement: Settlement
    state: SubjectState
    intended: Sequence[Placed]
    holds: frozenset[Placed] | None = None
    # The kind of failure, where it failed.
    problem: str = ""


class Publisher:
    """Publishes to one directory. One thread at a time runs it; it uses several of its own.

    Args:
        directory: where to.
        connect: makes a client, which connects when it is used.
        transactions, clock, sources: what it works with.
        connections: how many it uses at most.
    """

    def __init__(
        self,
        directory: Directory,
        connect: Callable[[Server], DirectoryClient],
        transactions: Transactions,
        clock: Clock,
        sources: Sources,
        *,
        connections: int = _CONNECTIONS,
    ) -> None:
        self.directory = directory
        self._transactions = transactions
        self._clock = clock
        self._sources = sources
        self._clients = [connect(directory.server) for _ in range(connections)]
        self._executor = ThreadPoolExecutor(connections, thread_name_prefix=f"ldap-{directory.name}")
        self._said: dict[str, datetime] = {}

    def close(self) -> None:
        """End the connections."""
        self._executor.shutdown()
        for client in self._clients:
            client.close()

    def next_due(self, session: Session) -> datetime | None:
        """Return when ``run`` will next find something to do, which may be past; None when nothing is scheduled."""
        return outbox.next_due(session, self.directory.name, self._clock.now())

    def run(self) -> Batch:
        """Work off a batch of what is due."""
        now = self._clock.now()
        claims = self._transactions.write(
            lambda session: outbox.claim_due(session, self.directory.name, now=now, limit=_BATCH),
        )
        if not claims:
            return Batch()
        try:
            with held(self._transactions, self._clock, OwedEntry, claims[0].token):
                outcomes, unavailable = self._work_off(claims, now)
            self._transactions.write(lambda session: self._settle(session, claims, outcomes, now, unavailable))
        except BaseException:
            self._transactions.write(lambda session: outbox.release(session, claims))
            raise
        self._report(outcomes)
        settlements = [outcome.settlement for outcome in outcomes]
        return Batch(
            done=sum(not each.error for each in settlements),
            failed=sum(bool(each.error) and not each.waiting for each in settlements),
            waiting=sum(each.waiting for each in settlements),
            unavailable=unavailable,
        )

    def _work_off(self, claims: Sequence[Claim], now: datetime) -> tuple[list[_Outcome], str]:
        """Bring the entries to hold what they should; return what became of how many, and why no more where that is so."""
        with self._transactions.reading() as session:
            states = load(session, self.directory, [claimed.subject for claimed in claims], now, self._sources)
        compared, unavailable = self._each(list(zip(claims, states, strict=True)), self._compare, now + _LOOK_FOR)
        if unavailable:
            return [], unavailable
        mine = self._transactions.write(lambda session: self._intend(session, compared))
        return self._each([each for each in compared if each[0].row_id in mine], self._apply, self._clock.now() + _CHANGE_FOR)

    def _each(
        self, tasks: Iterable[Task], act: Callable[[Task, DirectoryClient], Result], until: datetime
    ) -> tuple[list[Result], str]:
        """Do ``act`` to each task over the connections, until the directory fails or time is up; return what came of it."""
        free: SimpleQueue[DirectoryClient] = SimpleQueue()
        for client in self._clients:
            free.put(client)
        failures: list[str] = []

        def attempt(task: Task) -> list[Result]:
            if failures or self._clock.now() > until:
                return []
            client = free.get()
            try:
                return [act(task, client)]
            except DirectoryUnavailable as error:
                failures.append(str(error))
                return []
            finally:
                free.put(client)

        results = [result for each in self._executor.map(attempt, tasks) for result in each]
        return results, failures[0] if failures else ""

    def _compare(self, task: tuple[Claim, SubjectState], client: DirectoryClient) -> tuple[Claim, Comparison]:
        claimed, state = task
        try:
            return claimed, compare(self.directory, state, client)
        except DirectoryUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a defect that one entry brings out must not keep the others waiting
            return claimed, Comparison(state, problem=_unexpected(error, self.directory, state))

    def _intend(self, session: Session, compared: Sequence[tuple[Claim, Comparison]]) -> set[int]:
        """Record what is about to be put into entries; return the rows whose lease still holds."""
        mine = outbox.still_held(session, [claimed for claimed, _ in compared])
        place(
            session,
            self.directory.name,
            [
                (comparison.state.subject, placed)
                for claimed, comparison in compared
                if claimed.row_id in mine
                for placed in _holdings(comparison.entries)
                if placed not in comparison.state.placed
            ],
        )
        return mine

    def _apply(self, task: tuple[Claim, Comparison], client: DirectoryClient) -> _Outcome:
        claimed, comparison = task
        state, problem = comparison.state, comparison.problem
        intended = _holdings(comparison.entries)
        recorded = {placed.owned for placed in (*intended, *state.placed)}
        entries: list[EntryPlan] = []
        try:
            entries = [apply(self.directory, state, each, client, recorded) for each in comparison.entries]
        except DirectoryUnavailable:
            raise
        except SignetryError as error:
            problem = error
        except Exception as error:  # noqa: BLE001 - as in _compare
            problem = _unexpected(error, self.directory, state)
        if problem is not None:
            reason = advised(problem, self.directory)
            settlement = Settlement.failed(claimed, reason, now=self._clock.now(), waiting=is_waiting(problem))
            return _Outcome(settlement, state, intended, problem=problem_of(problem))
        until = state.wanted.until if state.wanted else None
        settlement = Settlement(claimed, until, warning=_warning(self.directory, state, entries))
        return _Outcome(settlement, state, intended, holds=frozenset(_holdings(entries)))

    def _settle(
        self, session: Session, claims: Sequence[Claim], outcomes: Sequence[_Outcome], claimed_at: datetime, unavailable: str
    ) -> None:
        """Write what became of the batch. What another worker has taken over meanwhile is that one's to settle.

        This worker's changes may have come after the other's all the same: they go on record again, and are owed another look.
        """
        now = self._clock.now()
        mine = outbox.still_held(session, claims)
        ours = [outcome for outcome in outcomes if outcome.settlement.claim.row_id in mine]
        for outcome in outcomes:
            if outcome.settlement.claim.row_id not in mine:
                place(session, self.directory.name, [(outcome.state.subject, placed) for placed in outcome.intended])
                outbox.owe(session, [self.directory.name], outcome.state.subject, now)
        for outcome in ours:
            if outcome.holds is not None:
                gone = [placed for placed in outcome.state.placed if placed not in outcome.holds]
                displace(session, self.directory.name, outcome.state.subject, gone)
        outbox.settle(session, [outcome.settlement for outcome in ours], claimed_at=claimed_at, now=now)
        outbox.release(session, claims)
        standing.note(session, self.directory.name, unavailable, now)

    def _report(self, outcomes: Iterable[_Outcome]) -> None:
        """Log each kind of failure once an hour, however many entries share it."""
        now = self._clock.now()
        for outcome in outcomes:
            settlement = outcome.settlement
            said = self._said.get(outcome.problem)
            if not outcome.problem or settlement.waiting or (said is not None and now - said < _SAY_AGAIN):
                continue
            self._said[outcome.problem] = now
            log = {"directory": self.directory.name, "subject": outcome.state.name, "reason": settlement.error}
            _log.error("ldap entry not published; others may fail alike, signetry ldap status lists them", **log)


def _holdings(entries: Iterable[EntryPlan]) -> list[Placed]:
    return [Placed(each.entry.dn, owned) for each in entries for owned in each.plan.holds]


def _warning(directory: Directory, state: SubjectState, entries: Sequence[EntryPlan]) -> str:
    if state.subject.kind is not SubjectKind.PERSON or not entries:
        return ""
    count = count_after(entries[0].entry, entries[0].plan.changes, directory.dialect.user_certificate)
    if count <= _MANY_CERTIFICATES:
        return ""
    return f"{entries[0].entry.dn} holds {count} userCertificate values; Entra Connect exports none of them past 15"


def _unexpected(error: Exception, directory: Directory, state: SubjectState) -> Unexpected:
    _log.error("ldap entry not published", directory=directory.name, subject=state.name, exc_info=error)
    return Unexpected(f"something unexpected happened ({type(error).__name__}); the log of the time says more")
