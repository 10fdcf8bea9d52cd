"""Statements of the hot path: compiled once from SQLAlchemy's Core, run on the driver's own connection.

An enrolment runs ten statements. Through SQLAlchemy each costs ten times what the driver takes for it, most of it to find out
again what is the same every time: the SQL, how values are bound, how they are read (docs/performance.md). Here that is found out
once for each kind of database. The statement stays a Core expression, so one source serves both.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

Statement = Select[Any] | Insert | Update | Delete
_Convert = Callable[[Any], Any]


# What ``Session`` keeps of itself; asking for anything else does not make a session, or a debugger's look would.
_OF_A_SESSION = frozenset(vars(Session()))


class LightSession(Session):
    """A session that costs nothing until it is used as one.

    What the hot path does with a session is ask for its connection, which this one has without being a session yet. Whoever uses
    it in any other way finds a session like any other, in the same transaction: what ``Session`` keeps of itself is made when it
    is first missed.
    """

    def __init__(self, on: Connection) -> None:  # the base's is called when it is needed
        self.on = on
        self._is_whole = False
        self._is_closed = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever Session has
        """Become a session: something was asked for that only one of those has."""
        if self._is_whole or self._is_closed or name not in _OF_A_SESSION:
            raise AttributeError(name)
        self._is_whole = True
        super().__init__(self.on, join_transaction_mode="rollback_only", expire_on_commit=False)
        # What was done so far belongs to the same transaction, and is undone with it.
        self.connection()
        return getattr(self, name)

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Write what waits to be written; nothing does before this is a session."""
        if self._is_whole:
            super().flush(objects)

    def close(self) -> None:
        """Let go of everything."""
        self._is_closed = True
        if self._is_whole:
            super().close()


class Prepared:
    """A statement, ready to be run often.

    Args:
        statement: with a ``bindparam`` for whatever differs from one run to the next; no ``IN`` over a list of changing length.
        columns: of an INSERT, the columns it is given.
    """

    def __init__(self, statement: Statement, *columns: str) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    def row(self, session: Session, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the columns, by name
        """Run it and return its first row, None where there is none; columns are attributes of the row."""
        rows = self.rows(session, parameters)
        return rows[0] if rows else None

    def value(self, session: Session, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Run it and return the first column of its first row, None where there is none."""
        rows = self.rows(session, parameters)
        return rows[0][0] if rows else None

    def rows(self, session: Session, parameters: Mapping[str, Any]) -> list[Any]:
        """Run it and return its rows; columns are attributes of a row."""
        connection = _connection(session)
        compiled = self._for(connection.dialect)
        return [compiled.read(row) for row in compiled.run(connection, parameters).fetchall()]

    def run(self, session: Session, parameters: Mapping[str, Any]) -> int:
        """Run it and return how many rows it has changed."""
        connection = _connection(session)
        changed: int = self._for(connection.dialect).run(connection, parameters).rowcount
        return changed

    def _for(self, dialect: Dialect) -> "_Compiled":
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._statement, self._columns, dialect)
        return compiled


def _connection(session: Session) -> Connection:
    return session.on if isinstance(session, LightSession) else session.connection()


class _Compiled:
    """A statement as one kind of database takes it."""

    def __init__(self, statement: Statement, columns: Sequence[str], dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=list(columns) or None)
        if compiled.insert_prefetch or compiled.update_prefetch or compiled.post_compile_params:
            raise ValueError("a statement that SQLAlchemy itself must finish at every run")
        self._sql: str = compiled.string
        self._is_positional: bool = compiled.positional
        names = compiled.positiontup if compiled.positional else compiled.bind_names.values()
        types = {name: parameter.type for parameter, name in compiled.bind_names.items()}
        constants = {name: parameter.value for parameter, name in compiled.bind_names.items() if not parameter.required}
        # In the order of the statement: the name, what makes the driver's value of one, and a value that never changes.
        self._binds: list[tuple[str, _Convert | None, Any]] = [
            (name, types[name].dialect_impl(dialect).bind_processor(dialect), constants.get(name)) for name in names
        ]
        results = getattr(statement, "exported_columns", ())
        self._row = _row_of(results.keys() if results else ())
        converts = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in results]
        self._reads: list[tuple[int, _Convert]] = [(at, convert) for at, convert in enumerate(converts) if convert]

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a cursor of the driver's
        """Run it on the driver's connection and return the cursor.

        Raises:
            DBAPIError: as SQLAlchemy itself would.
        """
        given = parameters.get
        values: Any
        if self._is_positional:
            values = [
                convert(given(name, constant)) if convert else given(name, constant) for name, convert, constant in self._binds
            ]
        else:
            values = {
                name: convert(given(name, constant)) if convert else given(name, constant)
                for name, convert, constant in self._binds
            }
        dbapi: Any = connection.dialect.loaded_dbapi
        driver: Any = connection.connection.dbapi_connection
        try:
            return driver.execute(self._sql, values)
        except dbapi.Error as error:
            raise failed(connection, error) from error

    def read(self, row: Sequence[Any]) -> Any:  # noqa: ANN401
        """Return a row of the driver's with its values as they are declared."""
        if self._reads:
            row = list(row)
            for at, convert in self._reads:
                row[at] = convert(row[at])
        return self._row._make(row)


def _row_of(names: Sequence[str]) -> Any:  # noqa: ANN401 - a class with attributes that are known at run time only
    return namedtuple("Row", names, rename=True)  # noqa: PYI024 - see above


def failed(connection: Connection, error: Exception) -> BaseException:
    """Return what SQLAlchemy would raise for an ``error`` of the driver; a connection that broke is given up as it would be."""
    dialect = connection.dialect
    dbapi: Any = dialect.loaded_dbapi
    is_broken = dialect.is_disconnect(error, connection.connection.dbapi_connection, None)  # type: ignore[arg-type]
    if is_broken:
        connection.invalidate(error)
    return DBAPIError.instance(
        None, None, error, dbapi.Error, hide_parameters=True, connection_invalidated=is_broken, dialect=dialect
    )
