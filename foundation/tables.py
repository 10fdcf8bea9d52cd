"""Table conventions: one metadata, named constraints, and datetimes that are always UTC and always aware."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from sqlalchemy import DateTime, Dialect, MetaData
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

# Names that do not depend on the database, so that a migration written against one drops the constraint on the other.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(SQLModel):
    """What every table of ours derives from."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


def table_of(model: type[Table]) -> sqlalchemy.Table:
    """Return the Core table behind ``model``, for statements that need no unit of work."""
    return model.__table__  # type: ignore[attr-defined, no-any-return]  # SQLModel does not declare it


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware and UTC on both sides, whatever the database keeps.

    Naive datetimes are refused when bound: a guess at their zone would be wrong somewhere.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return ``value`` in UTC; SQLite, which keeps no zone, gets it naive."""
        if value is None:
            return None
        if value.tzinfo is None:
            message = "a datetime without a time zone was handed to the database"
            raise ValueError(message)
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002, ANN401 - the base's shape
        """Return the stored time, aware, in UTC."""
        if value is None:
            return None
        aware: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return aware
