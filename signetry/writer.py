"""Committing: several finished acts in one transaction, and nobody answered before the commit.

A commit costs a disk flush whatever it holds, so under load the acts of one process share it (design.md section 2). An act that
arrives alone is committed at once: the writer never waits for company.

No act sees or suffers another's failure, but not by savepoints: a failed flush takes the whole transaction with it whether there
are any or not. The acts run bare, and when one fails, everything is rolled back and each runs again in a transaction of its own.
Acts fail rarely here: what can be refused is refused before signing, outside the writing transaction. (docs/decisions/0003)
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session

from foundation.errors import Unavailable
from foundation.statements import LightSession

Result = TypeVar("Result")
Connect = Callable[[], AbstractContextManager[Connection]]

# How many acts share a commit at most: what is lost together when the commit fails.
BATCH = 64
# How many are gathered from one turn of an event loop at most: the disk can be at work while the loop goes on.
_GATHERED = 8
# deadlock_detected (PostgreSQL, appendix A). The rows that two acts write may be the same, in another order.
_DEADLOCK = "40P01"

_log = structlog.get_logger("signetry.writer")


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, is full, or somebody else holds it for too long. The log says more than the message."""

    def __init__(self) -> None:
        super().__init__("the database is not available")


class Pending(Generic[Result]):
    """An act on its way to the database, and the future its caller waits on."""

    __slots__ = ("act", "future")

    def __init__(self, act: Callable[[Session], Result]) -> None:
        self.act = act
        self.future: Future[Result] = Future()


class _ConnectionLost(Exception):
    """The connection broke, or PostgreSQL ended the transaction to break a deadlock, before the commit: nothing has happened."""


class _CommitFailed(Exception):
    """The commit was sent and did not succeed; over a network nobody can tell whether it took place."""


class _ActFailed(Exception):
    """An act raised among others, whose changes are lost with its own."""


def commit_together(connect: Connect, batch: Sequence[Pending[Any]]) -> None:
    """Run the acts of ``batch`` in one transaction, commit it, and settle their futures.

    When one of several raises, all of them run again, each in its own transaction. A connection lost before the commit, or a
    deadlock with another process, costs one repetition; a failed commit is an error to every caller.
    """
    try:
        try:
            results = _attempt(connect, batch)
        except _ConnectionLost:
            _log.warning("database connection lost, or a deadlock: the acts run again", acts=len(batch))
            results = _attempt(connect, batch)
    except _ActFailed:
        for pending in batch:
            commit_together(connect, [pending])
    except BaseException as error:  # noqa: BLE001 - whatever it is, the callers are waiting for it
        for pending in batch:
            # One exception per caller: each adds its own traceback to the one it gets.
            pending.future.set_exception(_for_caller(error))
    else:
        for pending, result in zip(batch, results, strict=True):
            pending.future.set_result(result)


def _attempt(connect: Connect, batch: Sequence[Pending[Any]]) -> list[Any]:
    with connect() as connection:
        transaction = connection.begin()
        try:
            results = [_run(connection, transaction, pending) for pending in batch]
        except Exception as error:
            if connection.invalidated:
                raise _ConnectionLost from error
            if len(batch) > 1:
                raise _ActFailed from error
            if _is_deadlock(error):
                raise _ConnectionLost from error
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            # Whatever state this connection is in, nobody else gets it.
            connection.invalidate()
            raise _CommitFailed from error
        return results


def _run(connection: Connection, transaction: RootTransaction, pending: Pending[Result]) -> Result:
    # A session each, so that no act finds another's objects.
    with LightSession(connection) as session:
        result = pending.act(session)
        session.flush()
    _must_be_open(transaction)
    return result


def _is_deadlock(error: Exception) -> bool:
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) == _DEADLOCK


def _must_be_open(transaction: RootTransaction) -> None:
    if not transaction.is_active:
        raise RuntimeError("an act ended the transaction it runs in")


def translated(error: BaseException) -> BaseException:
    """Return ``DatabaseUnavailable`` for what only says that the database is not there, and any other error as it is."""
    if isinstance(error, (OperationalError, PoolTimeoutError)):
        return _unavailable(error)
    return error


def _for_caller(error: BaseException) -> BaseException:
    if isinstance(error, (_ConnectionLost, _CommitFailed)):
        return _unavailable(error.__cause__ or error)
    return translated(error)


def _unavailable(error: BaseException) -> DatabaseUnavailable:
    # The driver's own words only: SQLAlchemy's would repeat the statement's parameters.
    cause = getattr(error, "orig", None) or error
    _log.error("database not available", error=type(cause).__name__, reason=str(cause))
    unavailable = DatabaseUnavailable()
    unavailable.__cause__ = error
    return unavailable


class _KeptConnection:
    """A connection that stays open from one transaction to the next: to fetch one from the pool costs as much as an act."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: Connection | None = None

    @contextmanager
    def lent(self) -> Iterator[Connection]:
        """Lend it; after whatever went wrong the next one gets a new one."""
        connection, self._idle = self._idle or self._engine.connect(), None
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle = connection

    def close(self) -> None:
        """Let go of it."""
        if self._idle is not None:
            self._idle.close()


class GroupWriter:
    """The threads that commit what all the other threads of the process write.

    SQLite has one writer at a time, so ``threads`` is 1 there. PostgreSQL takes several, and while one waits for an answer from
    the network the next can prepare its own. ``turn`` is entered around each transaction; acts that are handed in while it is
    waited for join the batch.
    """

    def __init__(
        self, engine: Engine, *, threads: int = 1, turn: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self._engine = engine
        self._turn = turn
        self._gathered: list[Pending[Any]] = []
        self._queue: SimpleQueue[Pending[Any] | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._stopped = False
        # Daemons: an interpreter on its way out does not wait for them. ``stop`` is the orderly way.
        self._threads = [threading.Thread(target=self._work, name=f"signetry-writer-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, act: Callable[[Session], Result]) -> Future[Result]:
        """Hand ``act`` in; the future gives its result once it is durable, or raises what it raised.

        It raises ``DatabaseUnavailable`` where the database is not there, or the writer has been stopped.
        """
        pending = Pending(act)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._hand_in([pending])
        else:
            # What an event loop does in one turn shares a commit: those who come next are a processor's work away, not a wait.
            self._gathered.append(pending)
            if len(self._gathered) == 1:
                loop.call_soon(self._hand_in_gathered)
            elif len(self._gathered) == _GATHERED:
                self._hand_in_gathered()
        return pending.future

    def _hand_in_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._hand_in(gathered)

    def _hand_in(self, batch: Sequence[Pending[Any]]) -> None:
        # Behind the gate nothing is queued after the stop, where nobody would take it out.
        with self._gate:
            for pending in batch:
                if self._stopped:
                    pending.future.set_exception(DatabaseUnavailable())
                else:
                    self._queue.put(pending)

    def stop(self) -> None:
        """Commit what was handed in so far, and end the threads."""
        self._hand_in_gathered()
        with self._gate:
            if not self._stopped:
                self._stopped = True
                for _ in self._threads:
                    self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        if self._engine.dialect.name != "sqlite":
            # Over a network a connection may be gone by now, which the pool finds out.
            self._commit_until_stopped(self._engine.connect)
            return
        kept = _KeptConnection(self._engine)
        try:
            self._commit_until_stopped(kept.lent)
        finally:
            kept.close()

    def _commit_until_stopped(self, connect: Connect) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            batch = [first]
            with self._turn():
                # Whatever came while another process had its turn goes along.
                last = self._take_waiting(batch)
                commit_together(connect, batch)
            # Nothing of a finished act stays alive while the thread waits for the next one.
            del first, batch
            if last:
                return

    def _take_waiting(self, batch: list[Pending[Any]]) -> bool:
        """Fill ``batch`` with what is queued; return whether the end was among it."""
        while len(batch) < BATCH:
            try:
                pending = self._queue.get_nowait()
            except Empty:
                return False
            if pending is None:
                return True
            batch.append(pending)
        return False
