"""How the configured directories fare: which are known, which fail and until when they are left alone."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from foundation.tables import table_of
from ldap_publish.directory import Directory
from ldap_publish.errors import UnknownDirectory
from ldap_publish.foreign import ForeignSource
from ldap_publish.outbox import owe_everything
from ldap_publish.records import DirectoryState, OwedEntry, PublishedValue

_log = structlog.get_logger("ldap_publish")

_STATE = table_of(DirectoryState)
_OWED = table_of(OwedEntry)
_PUBLISHED = table_of(PublishedValue)
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=5)
_DOUBLINGS = 10


def take_note(
    session: Session, directories: Iterable[Directory], now: datetime, foreign: ForeignSource | None = None
) -> list[str]:
    """Owe everything to each directory that is new, or configured otherwise than when this was last asked; return which."""
    known = _known(session)
    changed = [directory for directory in directories if known.get(directory.name) != directory.fingerprint]
    for directory in changed:
        if directory.name in known:
            again = {"fingerprint": directory.fingerprint, "failures": 0, "retry_at": None, "failing_since": None, "error": ""}
            session.execute(update(_STATE).where(_STATE.c.name == directory.name).values(again))
        else:
            _add(session, directory)
        owe_everything(session, directory, now, foreign)
    return [directory.name for directory in changed]


def is_noted(session: Session, directory: Directory) -> bool:
    """Say whether ``take_note`` has seen a directory as it is configured now."""
    return _known(session).get(directory.name) == directory.fingerprint


def forget(session: Session, name: str) -> int:
    """Delete all that is recorded of a directory; return how many values of ours it is left with, as far as that is known.

    Raises:
        UnknownDirectory: nothing is recorded of it.
    """
    if session.get(DirectoryState, name) is None:
        raise UnknownDirectory(f"nothing is recorded of a directory {name!r}")
    left = session.scalar(select(func.count()).select_from(_PUBLISHED).where(_PUBLISHED.c.directory == name)) or 0
    for table, column in ((_PUBLISHED, _PUBLISHED.c.directory), (_OWED, _OWED.c.directory), (_STATE, _STATE.c.name)):
        session.execute(delete(table).where(column == name))
    return left


def note(session: Session, directory: str, failure: str, now: datetime) -> None:
    """Note that a directory answers, or that it cannot be used: then all it is owed waits a second, doubling to five minutes.

    What is new is logged, once.
    """
    state = session.get(DirectoryState, directory)
    if state is None or not (failure or state.failures):
        return
    if not failure:
        _log.info("directory works again", directory=directory, after_failures=state.failures)
        state.failures, state.retry_at, state.failing_since, state.error = 0, None, None, ""
    else:
        if state.error != failure:
            _log.error("directory cannot be used", directory=directory, reason=failure)
        state.retry_at = now + min(_FIRST_PAUSE * 2 ** min(state.failures, _DOUBLINGS), _LONGEST_PAUSE)
        state.failures += 1
        state.failing_since = state.failing_since or now
        state.error = failure
    session.add(state)


def _known(session: Session) -> dict[str, str]:
    return {row.name: row.fingerprint for row in session.execute(select(_STATE.c.name, _STATE.c.fingerprint))}


def _add(session: Session, directory: Directory) -> None:
    made = postgresql.insert(_STATE) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(_STATE)
    # Two processes may take note at once; the other one then owes everything just as well.
    row = {"name": directory.name, "fingerprint": directory.fingerprint, "failures": 0, "error": ""}
    session.execute(made.values(row).on_conflict_do_nothing())
