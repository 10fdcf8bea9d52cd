"""Durations as they are written on the command line."""

import re
from datetime import timedelta

from foundation.errors import BadRequest

_DURATION = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """Return the time ``text`` stands for: ``90s``, ``15m``, ``1h``, ``7d``.

    Raises:
        BadRequest: written any other way.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadRequest(f"{text!r} is no duration: write a number and s, m, h or d, such as 1h")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
