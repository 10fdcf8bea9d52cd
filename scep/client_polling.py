"""Waiting for a decision: a pending request is polled until there is one, or patience is at its end (RFC 8894 section 4.4)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from foundation.errors import BadRequest, SignetryError
from scep.errors import EnrolmentPending, ServerUnreachable

Decided = TypeVar("Decided")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a pending request is asked after, and how long at most.

    Raises:
        BadRequest: without a pause between two polls.
    """

    interval: timedelta
    at_most: timedelta

    def __post_init__(self) -> None:
        if self.interval < timedelta(seconds=1):
            raise BadRequest("a pending request is polled once a second at most")


def poll_until_decided(
    ask: Callable[[], Decided], poll: Callable[[], Decided], patience: Patience, sleep: Callable[[float], None]
) -> Decided:
    """Return what ``ask`` or, while that is pending, ``poll`` returns.

    A server that is away for a while once the request is known there is asked again, too.

    Raises:
        EnrolmentPending, ServerUnreachable: what the last attempt met, when ``patience`` is at its end.
        ServerUnreachable: what ``ask`` met.
        And whatever else the two raise.
    """
    waited = timedelta()
    attempt = ask
    expected: tuple[type[SignetryError], ...] = (EnrolmentPending,)
    while True:
        try:
            return attempt()
        except expected:
            if waited + patience.interval > patience.at_most:
                raise
        sleep(patience.interval.total_seconds())
        waited += patience.interval
        attempt, expected = poll, (EnrolmentPending, ServerUnreachable)
