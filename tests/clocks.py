"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta


class ManualClock:
    """A ``foundation.clock.Clock`` set by hand."""

    def __init__(self, start: datetime = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """Return the time it was set to."""
        return self._now

    def advance(self, step: timedelta | None = None, **parts: float) -> datetime:
        """Move on by ``step`` or by the parts of a timedelta (``days=3``); return the new time."""
        self._now += step if step is not None else timedelta(**parts)
        return self._now

    def set(self, when: datetime) -> None:
        """Jump to ``when``."""
        self._now = when
