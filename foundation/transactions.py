"""How rooms reach the database without knowing which one it is, or how commits are grouped."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from sqlmodel import Session

Result = TypeVar("Result")


class Transactions(Protocol):
    """The store as use cases see it."""

    def reading(self) -> AbstractContextManager[Session]:
        """Open a session that only reads; what it sees is one consistent state."""
        ...

    def write(self, act: Callable[[Session], Result]) -> Result:
        """Run ``act`` in a transaction and return its result once that is durable.

        Acts of several threads may share one commit, and none suffers another's failure. When ``act`` raises, nothing of it is
        kept and the exception reaches the caller. ``act`` may run again, after a lost connection or when an act beside it
        failed: it must not have effects outside the session.
        """
        ...
