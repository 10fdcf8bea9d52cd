"""Reading the audit record: order, filters, pages."""

from datetime import timedelta
from typing import Any

import pytest

from audit.log import Actor, Event, record
from audit.reading import EventFilter, events
from signetry.database import Database
from tests.clocks import ManualClock

ANN, BOB = Actor("cli:ann"), Actor("token:7:jamf", "192.0.2.7")


@pytest.fixture
def written(store: Database, clock: ManualClock) -> Database:
    """A record of four events, a minute apart."""
    for actor, action, subject in (
        (ANN, "person.added", "person:1"),
        (ANN, "group.added", "group:1"),
        (BOB, "challenge.minted", "person:1"),
        (BOB, "device.added", "device:1"),
    ):
        event = Event(actor, action, subject, details={"count": 1})
        store.write(lambda session, event=event: record(session, event, now=clock.now()))  # type: ignore[misc]
        clock.advance(timedelta(minutes=1))
    return store


def test_the_newest_comes_first_whole(written: Database, clock: ManualClock) -> None:
    with written.reading() as session:
        newest, *rest = events(session)
    assert (newest.actor, newest.origin, newest.action, newest.subject) == (BOB.name, BOB.origin, "device.added", "device:1")
    assert (newest.at, newest.outcome, newest.details) == (clock.now() - timedelta(minutes=1), "done", {"count": 1})
    assert [event.id for event in rest] == sorted((event.id for event in rest), reverse=True)


@pytest.mark.parametrize(
    ("wanted", "subjects"),
    [
        ({"subject": "person:1"}, ["person:1", "person:1"]),
        ({"actor": "cli:ann"}, ["group:1", "person:1"]),
        ({"action": "device.added"}, ["device:1"]),
        ({"outcome": "refused"}, []),
        ({"actor": BOB.name, "subject": "person:1"}, ["person:1"]),
    ],
)
def test_filters_are_exact_and_add_up(written: Database, wanted: dict[str, Any], subjects: list[str]) -> None:
    with written.reading() as session:
        assert [event.subject for event in events(session, EventFilter(**wanted))] == subjects


def test_since_includes_its_moment_and_until_does_not(written: Database, clock: ManualClock) -> None:
    second, third = clock.now() - timedelta(minutes=3), clock.now() - timedelta(minutes=2)
    with written.reading() as session:
        found = events(session, EventFilter(since=second, until=third))
    assert [event.subject for event in found] == ["group:1"]


def test_a_page_goes_on_behind_the_one_before(written: Database) -> None:
    with written.reading() as session:
        first = events(session, limit=3)
        rest = events(session, before=first[-1].id, limit=3)
    assert [event.subject for event in (*first, *rest)] == ["device:1", "person:1", "group:1", "person:1"]
