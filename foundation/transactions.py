"""How rooms reach the database without knowing which one it is, or how commits are grouped."""

from collections.abc import Callable
from concurrent.futures import Future
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

    def submit(self, act: Callable[[Session], Result]) -> Future[Result]:
        """Run ``act`` as ``write`` does, waiting for nothing; the future is settled once the result is durable.

        What ``act`` raises, and that the database is not there, is the future's exception: nothing is raised here. A callback of
        the future runs in the thread that commits, and holds up everybody else's commit: it must be quick.
        """
        ...
