"""An endpoint's configuration, as far as it computes something."""

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta

import pytest

from foundation.errors import NotFound
from scep.endpoint import UnknownEndpoint
from tests.scep.world import DEFAULT

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = BEGIN + timedelta(days=100)


@pytest.mark.parametrize(("renew_after", "days"), [(0.0, 0), (0.5, 50), (0.66, 66), (1.0, 100)])
def test_renewal_opens_after_its_part_of_the_validity(renew_after: float, days: int) -> None:
    assert replace(DEFAULT, renew_after=renew_after).renewable_from(BEGIN, END) == BEGIN + timedelta(days=days)


def test_an_endpoint_is_strict_unless_it_is_told_otherwise() -> None:
    assert (DEFAULT.renew_after, DEFAULT.legacy, DEFAULT.museum, DEFAULT.reply_chain) == (0.66, False, False, False)
    assert DEFAULT.subject_from_request == frozenset()


def test_an_endpoint_does_not_change_while_it_serves() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT.museum = True  # type: ignore[misc] # that is the point


def test_an_unknown_endpoint_is_something_that_was_not_found() -> None:
    assert issubclass(UnknownEndpoint, NotFound)
