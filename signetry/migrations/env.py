"""What Alembic runs for every command: the connection comes from ``signetry.schema``, already in its transaction."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlmodel.sql.sqltypes import AutoString

from foundation.tables import UtcDateTime
from signetry.schema import metadata


def _in_plain_types(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Write our own column types as what they are in the database, so that a revision does not depend on later code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, AutoString):
        return f"sa.String(length={item.length})" if item.length else "sa.String()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata(),
    render_item=_in_plain_types,
    # SQLite alters a table by rebuilding it; the very first revision only creates.
    render_as_batch=context.config.attributes.get("batch", True),
    # SQLite's DDL is transactional once nobody commits behind our back.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
