"""What the composition root hands to those who work, so that somebody can count: callables, and nobody by default."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scep.observation import ScepObserver, Unobserved
from signetry.jobs import JobObserver, unobserved
from signetry.timed_keys import KeyObserver

if TYPE_CHECKING:
    # The library takes longer to import than a command takes to run.
    from prometheus_client import Metric


def _no_response(_listener: str, _status: int) -> None:
    """Note nothing."""


def _no_api_request(_role: str, _status: int) -> None:
    """Note nothing."""


def _nothing() -> "Iterable[Metric]":
    """Return no metrics."""
    return ()


@dataclass(frozen=True, slots=True)
class Instruments:
    """Who is told of what a process does. Each is called in the thread that works, is quick, and does not raise.

    Attributes:
        scep: of SCEP operations and their ends.
        key_operation: of each use of a private key; None leaves the keys as they are.
        response: of each HTTP response, by the listener's name; status 0 where there was none.
        api_request: of each request to the API, by the role of its caller.
        job: of each batch of the worker's jobs.
        recorded: returns what all processes of the service have recorded.
    """

    scep: ScepObserver = field(default_factory=Unobserved)
    key_operation: KeyObserver | None = None
    response: Callable[[str, int], None] = _no_response
    api_request: Callable[[str, int], None] = _no_api_request
    job: JobObserver = unobserved
    recorded: "Callable[[], Iterable[Metric]]" = _nothing
