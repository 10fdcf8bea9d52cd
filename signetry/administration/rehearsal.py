"""Acts that can be rehearsed: done in earnest up to the last step, and then taken back."""

from collections.abc import Callable
from typing import TypeVar

from sqlmodel import Session

Result = TypeVar("Result")


def perform(session: Session, act: Callable[[Session], Result], *, dry_run: bool) -> Result:
    """Run ``act`` in the session's transaction and return its result; a dry run does the same work and takes all of it back."""
    if not dry_run:
        return act(session)
    savepoint = session.begin_nested()
    try:
        return act(session)
    finally:
        savepoint.rollback()
