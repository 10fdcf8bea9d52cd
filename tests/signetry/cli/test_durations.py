"""Durations as they are written on the command line."""

from datetime import timedelta

import pytest

from foundation.errors import BadRequest
from signetry.cli.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800), (" 2h ", 7200), ("0s", 0), ("007m", 420)]
)
def test_durations_are_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "1", "h", "1 h", "-1h", "1.5h", "1h30m", "1w", "1H", "9999999d", "PT1H", "1h\n2h"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"write a number and s, m, h or d"):
        parse_duration(text)
