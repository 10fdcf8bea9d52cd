"""Write the next revision from the difference between the records and the revisions there are: ``make revision MESSAGE=…``.

For developers. The result is a draft: read it, add what moves the data, and name it in ``signetry.schema.CURRENT``.
"""

import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import make_url

from signetry.database import Database
from signetry.migrations.run import alembic_config, scripts


def revise(message: str) -> None:
    """Write a revision called ``message`` beside the others, numbered after the last."""
    with tempfile.TemporaryDirectory() as directory:
        database = Database(make_url(f"sqlite:///{directory}/revise.db"))
        head = scripts().get_current_head()
        if head:
            database.migrate()
        with database.engine.begin() as connection:
            config = alembic_config(connection)
            config.attributes["batch"] = head is not None
            command.revision(config, message, autogenerate=True, rev_id=f"{int(head or 0) + 1:04}")
        database.close()


if __name__ == "__main__":
    revise(Path(sys.argv[1]).name)
