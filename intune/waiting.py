"""Patience, and its end: deadlines for calls, and pauses that services ask for."""

import threading
import time
from dataclasses import dataclass
from typing import Final, Protocol

from intune.errors import IntuneUnavailable, Throttled

# A service that cannot even be connected to is left alone for so long: others, who would wait for the same, learn it at once.
_UNREACHABLE_SECONDS: Final = 2.0
# A Retry-After beyond this is taken for this: a slip of the pen must not cut an installation off for a day.
LONGEST_PAUSE: Final = 600.0


class Ticker(Protocol):
    """Time that only moves forward, and a way to let it pass."""

    def now(self) -> float:
        """Return seconds since some moment."""
        ...

    def wait(self, seconds: float) -> None:
        """Return after so many seconds."""
        ...


class SystemTicker:
    """The machine's own."""

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Return after so many seconds."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of a caller's patience, which every step of a call shares."""

    at: float
    ticker: Ticker

    @classmethod
    def after(cls, seconds: float, ticker: Ticker) -> "Deadline":
        """Return the deadline in so many seconds."""
        return cls(ticker.now() + seconds, ticker)

    @property
    def remaining(self) -> float:
        """How many seconds are left; not negative."""
        return max(0.0, self.at - self.ticker.now())


@dataclass(frozen=True, slots=True)
class _Pause:
    until: float
    is_asked_for: bool


class Pauses:
    """Which services are to be left alone, and until when. All threads of a process share one."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._lock = threading.Lock()
        self._pauses: dict[str, _Pause] = {}

    def asked_for(self, host: str, seconds: float) -> None:
        """Note that ``host`` wants to be left alone for so long."""
        self._note(host, _Pause(self._ticker.now() + min(seconds, LONGEST_PAUSE), is_asked_for=True))

    def unreachable(self, host: str) -> None:
        """Note that no connection to ``host`` came about."""
        self._note(host, _Pause(self._ticker.now() + _UNREACHABLE_SECONDS, is_asked_for=False))

    def observe(self, host: str, deadline: Deadline) -> None:
        """Return when ``host`` may be called.

        Raises:
            Throttled: not before the deadline.
            IntuneUnavailable: it could not be reached a moment ago.
        """
        while True:
            with self._lock:
                pause = self._pauses.get(host)
            left = 0.0 if pause is None else pause.until - self._ticker.now()
            if pause is None or left <= 0:
                return
            if not pause.is_asked_for:
                raise IntuneUnavailable(f"{host} could not be reached a moment ago")
            if left >= deadline.remaining:
                raise Throttled(host, left)
            self._ticker.wait(left)

    def _note(self, host: str, pause: _Pause) -> None:
        with self._lock:
            known = self._pauses.get(host)
            # What a service asked for is not shortened by somebody who did not get through.
            if known is None or known.until < pause.until:
                self._pauses[host] = pause
