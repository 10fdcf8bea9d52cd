"""How long a service asks to be left alone (RFC 9110 section 10.2.3; facts/mail_profiles.md section 5)."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

_TOO_MANY_REQUESTS: Final = 429
_SERVICE_UNAVAILABLE: Final = 503
# What Microsoft's own clients wait after a 429 that does not say how long.
_UNSAID_SECONDS: Final = 60.0
# "0" means: again. Not in the same instant.
_SHORTEST: Final = 0.25


def pause_asked_for(status: int, headers: Mapping[str, str]) -> float | None:
    """Return for how many seconds an answer asks to be left alone; None where it does not.

    A 429 always asks; a 503 only where it says how long, else the service is down.
    """
    if status not in (_TOO_MANY_REQUESTS, _SERVICE_UNAVAILABLE):
        return None
    said = _seconds(headers.get("retry-after", ""), headers.get("date", ""))
    if said is None:
        said = _milliseconds(headers.get("x-ms-retry-after-ms", ""))
    if said is None:
        return _UNSAID_SECONDS if status == _TOO_MANY_REQUESTS else None
    return max(said, _SHORTEST)


def _seconds(value: str, date: str) -> float | None:
    if _is_number(value):
        return float(value[:9])
    try:
        # By the sender's clock, which wrote both.
        return (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):
        # No date, or one of the two without a zone.
        return None


def _milliseconds(value: str) -> float | None:
    return float(value[:12]) / 1000 if _is_number(value) else None


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit()
