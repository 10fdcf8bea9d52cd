"""The group-committing writer: nobody is answered before the commit, nobody suffers another's failure."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import URL, event
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session, col, select

from audit.log import Actor, Event, record
from audit.records import AuditEvent
from people.records import Group
from signetry.database import Database
from signetry.writer import BATCH, DatabaseUnavailable, Pending, commit_together
from tests.clocks import ManualClock
from tests.postgresql import Cluster

NOW: datetime = ManualClock().now()


def note(subject: str) -> Callable[[Session], str]:
    def act(session: Session) -> str:
        record(session, Event(Actor("test"), "thing.noted", subject), now=NOW)
        return subject

    return act


def subjects(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.exec(select(AuditEvent.subject).order_by(col(AuditEvent.id))))


@pytest.fixture
def grouped(database_url: URL) -> Iterator[Database]:
    database = Database(database_url, grouped=True)
    yield database
    database.close()


def together(database: Database, *acts: Callable[[Session], Any]) -> list[Any]:
    """Run ``acts`` as one batch; return each one's result or exception."""
    batch = [Pending(act) for act in acts]
    commit_together(database.engine.connect, batch)
    return [pending.future.exception(0) or pending.future.result(0) for pending in batch]


def test_every_thread_gets_its_own_result(grouped: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda number: grouped.write(note(str(number))), range(100)))
    assert results == [str(number) for number in range(100)]
    assert sorted(subjects(grouped), key=int) == results


def test_a_caller_is_answered_only_after_the_commit(grouped: Database) -> None:
    committing, go_on = threading.Event(), threading.Event()

    def hold(_connection: object) -> None:
        committing.set()
        assert go_on.wait(10)

    event.listen(grouped.engine, "commit", hold)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(grouped.write, note("a"))
        assert committing.wait(10)
        assert not answer.done()
        assert subjects(grouped) == []
        go_on.set()
        assert answer.result(10) == "a"
    assert subjects(grouped) == ["a"]


def test_acts_that_arrive_during_a_commit_share_the_next_one(sqlite_url: URL) -> None:
    database = Database(sqlite_url, grouped=True)
    commits: list[int] = []
    first, go_on = threading.Event(), threading.Event()

    def hold(_connection: object) -> None:
        commits.append(1)
        first.set()
        assert go_on.wait(10)

    event.listen(database.engine, "commit", hold)
    with ThreadPoolExecutor(20) as threads:
        answers = [threads.submit(database.write, note("0"))]
        assert first.wait(10)
        answers += [threads.submit(database.write, note(str(number))) for number in range(1, 11)]
        while threads._work_queue.qsize():  # noqa: SLF001 - until every thread has handed its act in
            pass
        go_on.set()
        assert [answer.result(10) for answer in answers] == [str(number) for number in range(11)]
    database.close()
    # The threads hand in at their own pace, so a straggler may need a third commit, but eleven acts never need eleven.
    assert len(commits) <= 4


def test_acts_of_one_turn_of_an_event_loop_share_a_commit(grouped: Database) -> None:
    commits: list[int] = []
    event.listen(grouped.engine, "commit", lambda _connection: commits.append(1))

    async def burst() -> list[str]:
        handed_in = [grouped.submit(note(str(number))) for number in range(6)]
        return await asyncio.gather(*(asyncio.wrap_future(future) for future in handed_in))

    assert asyncio.run(burst()) == [str(number) for number in range(6)]
    assert len(commits) == 1


def test_what_an_event_loop_left_behind_is_committed_by_the_stop(sqlite_url: URL) -> None:
    database = Database(sqlite_url, grouped=True)

    async def leave() -> Future[str]:
        return database.submit(note("a"))

    left = asyncio.run(leave())
    database.close()
    assert left.result(0) == "a"


def test_acts_that_arrive_while_another_process_has_its_turn_share_a_commit(sqlite_url: URL) -> None:
    mine, other = Database(sqlite_url, grouped=True), Database(sqlite_url, grouped=True)
    commits: list[int] = []
    event.listen(mine.engine, "commit", lambda _connection: commits.append(1))
    writing, go_on = threading.Event(), threading.Event()

    def hold(_session: Session) -> None:
        writing.set()
        assert go_on.wait(10)

    held = other.submit(hold)
    assert writing.wait(10)
    waiting = [mine.submit(note(str(number))) for number in range(5)]
    go_on.set()
    assert [each.result(10) for each in waiting] == [str(number) for number in range(5)]
    held.result(10)
    mine.close()
    other.close()
    assert len(commits) == 1


def test_one_failing_act_does_not_hurt_the_others(store: Database) -> None:
    def refused(session: Session) -> None:
        note("never")(session)
        raise LookupError("no")

    first, failed, last = together(store, note("a"), refused, note("b"))
    assert (first, last) == ("a", "b")
    assert isinstance(failed, LookupError)
    assert subjects(store) == ["a", "b"]


def test_a_failed_flush_does_not_hurt_the_others(store: Database) -> None:
    def group(session: Session) -> None:
        session.add(Group(name="same", created_at=NOW))

    outcomes = together(store, group, note("a"), group, note("b"))
    assert [outcomes[1], outcomes[3]] == ["a", "b"]
    assert [type(outcome) for outcome in (outcomes[0], outcomes[2])] == [type(None), IntegrityError]
    assert subjects(store) == ["a", "b"]


@pytest.mark.parametrize("end", [Session.rollback, lambda session: session.connection().get_transaction().rollback()])
def test_an_act_that_ends_the_transaction_is_an_error_of_its_own(store: Database, end: Callable[[Session], None]) -> None:
    def ends(session: Session) -> None:
        note("never")(session)
        end(session)

    first, failed, last = together(store, note("a"), ends, note("b"))
    assert (first, last) == ("a", "b")
    assert isinstance(failed, RuntimeError)
    assert subjects(store) == ["a", "b"]


def test_an_act_that_commits_does_not_commit_the_others(store: Database) -> None:
    def commits(session: Session) -> None:
        note("b")(session)
        session.commit()
        assert "a" not in subjects(store)

    assert together(store, note("a"), commits) == ["a", None]
    assert subjects(store) == ["a", "b"]


def test_an_act_does_not_find_another_acts_objects(store: Database) -> None:
    def add(session: Session) -> None:
        session.add(Group(name="one", created_at=NOW))

    def look(session: Session) -> int:
        return len(session.identity_map)

    assert together(store, add, look) == [None, 0]


def test_a_failed_commit_is_an_error_to_everybody(store: Database) -> None:
    def fail(_connection: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("disk full"))

    event.listen(store.engine, "commit", fail)
    outcomes = together(store, note("a"), note("b"))
    event.remove(store.engine, "commit", fail)
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable, DatabaseUnavailable]
    assert outcomes[0] is not outcomes[1]
    assert subjects(store) == []


def test_a_lost_connection_costs_a_repetition_and_nothing_else(postgresql: Cluster, postgresql_url: URL) -> None:
    database = Database(postgresql_url)
    cut: list[int] = []

    def loses(session: Session) -> str:
        if not cut:
            cut.append(1)
            postgresql.terminate_connections(str(postgresql_url.database))
        return note("b")(session)

    assert together(database, note("a"), loses, note("c")) == ["a", "b", "c"]
    assert subjects(database) == ["a", "b", "c"]
    database.close()


def test_a_connection_that_is_lost_again_is_unavailable(postgresql: Cluster, postgresql_url: URL) -> None:
    database = Database(postgresql_url)

    def loses(session: Session) -> str:
        postgresql.terminate_connections(str(postgresql_url.database))
        return note("b")(session)

    assert [type(outcome) for outcome in together(database, note("a"), loses)] == [DatabaseUnavailable] * 2
    assert together(database, note("c")) == ["c"]
    database.close()


def test_the_message_for_the_peer_says_nothing_of_the_statement(sqlite_store: Database) -> None:
    def broken(session: Session) -> None:
        session.connection().exec_driver_sql("SELECT * FROM table_of_secrets WHERE challenge = 'opensesame'")

    (outcome,) = together(sqlite_store, broken)
    assert str(outcome) == "the database is not available"


def test_a_stopped_writer_has_committed_everything_and_takes_no_more(database_url: URL) -> None:
    database = Database(database_url, grouped=True)
    with ThreadPoolExecutor(16) as threads:
        answers = [threads.submit(database.write, note(str(number))) for number in range(3 * BATCH)]
        for answer in answers[:BATCH]:
            answer.result(10)
        database.close()
        outcomes = [type(answer.exception(10)) for answer in answers]
    assert set(outcomes) <= {type(None), DatabaseUnavailable}
    again = Database(database_url)
    assert len(subjects(again)) == outcomes.count(type(None))
    again.close()
    with pytest.raises(DatabaseUnavailable):
        database.write(note("late"))
