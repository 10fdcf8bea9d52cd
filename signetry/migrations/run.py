"""Running Alembic from the program itself, from wherever the package is installed; no alembic.ini needed."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    """Apply what is missing, in the transaction of ``connection``."""
    command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection | None = None) -> Config:
    """Return what Alembic's commands need; they work in the transaction of ``connection``."""
    config = Config()
    # Alembic reads % as the start of an interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def scripts() -> ScriptDirectory:
    """Return the revisions there are."""
    return ScriptDirectory.from_config(alembic_config())
