"""Statements that are run on the driver's own connection, and the session that is none until it is used."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import Session, col

from audit.records import AuditEvent
from foundation.statements import LightSession, Prepared
from foundation.tables import table_of
from people.records import Group, Person
from signetry.database import Database

NOW = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
PERSON, EVENT, GROUP = table_of(Person), table_of(AuditEvent), table_of(Group)

ADD_GROUP = Prepared(insert(GROUP).returning(GROUP.c.id), "name", "description", "created_at")
GROUP_NAMED = Prepared(select(GROUP).where(GROUP.c.name == bindparam("wanted")))
RENAME = Prepared(update(GROUP).where(GROUP.c.name == bindparam("old")).values(name=bindparam("new")))
ADD_EVENT = Prepared(insert(EVENT), "at", "actor", "action", "subject", "origin", "outcome", "details")


def add(session: Session, name: str, created_at: datetime = NOW) -> int:
    number: int = ADD_GROUP.value(session, {"name": name, "description": "", "created_at": created_at})
    return number


def test_a_row_has_its_columns_by_name_as_they_are_declared(store: Database) -> None:
    number = store.write(lambda session: add(session, "a", NOW.astimezone(timezone(timedelta(hours=9)))))
    with store.reading() as session:
        row = GROUP_NAMED.row(session, {"wanted": "a"})
        declared = session.execute(select(GROUP)).one()
    assert (row.id, row.name, row.created_at) == (number, "a", NOW)
    assert row.created_at.utcoffset() == timedelta(0)
    assert tuple(row) == tuple(declared)


def test_nothing_found_is_none(store: Database) -> None:
    with store.reading() as session:
        assert GROUP_NAMED.row(session, {"wanted": "nobody"}) is None
        assert GROUP_NAMED.value(session, {"wanted": "nobody"}) is None
        assert GROUP_NAMED.rows(session, {"wanted": "nobody"}) == []


def test_values_are_bound_as_their_columns_are_declared(store: Database) -> None:
    said = {"actor": "a", "action": "b", "subject": "c", "origin": "d", "outcome": "done"}
    event = {"at": NOW, **said, "details": {"names": ["ä", 1]}}
    assert store.write(lambda session: ADD_EVENT.run(session, event)) == 1
    with store.reading() as session:
        kept = session.exec(select(AuditEvent)).scalar_one()  # type: ignore[call-overload] # Core's select
    assert (kept.at, kept.details) == (NOW, {"names": ["ä", 1]})


def test_a_naive_time_is_refused(store: Database) -> None:
    with pytest.raises(ValueError, match="time zone"):
        store.write(lambda session: add(session, "a", NOW.replace(tzinfo=None)))


def test_how_many_rows_were_changed_is_told(store: Database) -> None:
    store.write(lambda session: add(session, "a"))
    assert store.write(lambda session: RENAME.run(session, {"old": "a", "new": "b"})) == 1
    assert store.write(lambda session: RENAME.run(session, {"old": "a", "new": "b"})) == 0


def test_an_error_is_the_one_that_sqlalchemy_would_raise_and_quotes_no_values(store: Database) -> None:
    store.write(lambda session: add(session, "secret-name"))
    with pytest.raises(IntegrityError) as caught:
        store.write(lambda session: add(session, "secret-name"))
    assert "parameters" not in str(caught.value)
    with store.reading() as session, pytest.raises(DBAPIError, match=r"(?i)read-?only"):
        add(session, "b")


@pytest.mark.parametrize(
    "statement",
    [
        Prepared(select(GROUP).where(GROUP.c.id.in_(bindparam("ids", expanding=True)))),
        # A column with a default of Python's, which nobody would fill in.
        Prepared(insert(GROUP), "name", "created_at"),
    ],
)
def test_a_statement_that_cannot_be_finished_once_and_for_all_is_refused(sqlite_store: Database, statement: Prepared) -> None:
    with sqlite_store.reading() as session, pytest.raises(ValueError, match="at every run"):
        statement.rows(session, {"ids": [1]})


def test_an_ordinary_session_runs_them_too(store: Database) -> None:
    with Session(store.engine) as session:
        add(session, "a")
        session.commit()
        assert GROUP_NAMED.row(session, {"wanted": "a"}).name == "a"


USES: list[Callable[[Session], object]] = [
    lambda session: session.execute(select(GROUP.c.name)).scalar_one(),
    lambda session: session.scalar(select(GROUP.c.name)),
    lambda session: session.connection().execute(select(GROUP.c.name)).scalar_one(),
    lambda session: session.get_one(Group, session.scalar(select(GROUP.c.id))).name,
]


@pytest.mark.parametrize("use", USES)
def test_a_light_session_becomes_a_whole_one_in_the_same_transaction(store: Database, use: Callable[[Session], object]) -> None:
    def act(session: Session) -> object:
        assert isinstance(session, LightSession)
        add(session, "a")
        seen = use(session)
        session.add(Group(name="b", created_at=NOW))
        return seen

    assert store.write(act) == "a"
    with store.reading() as session:
        assert session.execute(select(GROUP.c.name).order_by(col(Group.name))).scalars().all() == ["a", "b"]


def test_what_both_ways_wrote_is_undone_together(store: Database) -> None:
    def act(session: Session) -> None:
        add(session, "a")
        session.add(Group(name="b", created_at=NOW))
        session.flush()
        add(session, "c")
        raise LookupError

    with pytest.raises(LookupError):
        store.write(act)
    with store.reading() as session:
        assert session.execute(select(GROUP.c.name)).all() == []


def test_a_look_at_a_light_session_makes_no_session_of_it(store: Database) -> None:
    """Tracebacks with local variables ask objects for attributes that they need not have, after everything is over."""
    with store.reading() as session:
        assert not hasattr(session, "__rich_repr__")
        assert not hasattr(session, "no_such_thing")
    with pytest.raises(AttributeError):
        session.execute(select(GROUP))
    with store.reading() as again:
        assert GROUP_NAMED.row(again, {"wanted": "a"}) is None
