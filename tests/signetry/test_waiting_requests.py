"""Requests that wait, as seen by who looks after the service: the doctor, the metrics, and the worker that forgets them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from scep import pending
from scep.limits import EndpointLimits
from scep.request import PresentedRequest
from signetry.assembly import jobs
from signetry.doctor.endpoints import endpoints
from signetry.doctor.findings import Finding
from signetry.house import House
from signetry.metrics.state import StateCollector
from tests.clocks import ManualClock
from tests.signetry.installation import clock_of_today, opened
from tests.signetry.waiting import HELD, come_back, request, wait, with_approval


@pytest.fixture
def today() -> ManualClock:
    """A clock that stands at the present."""
    return clock_of_today()


@pytest.fixture
def house(installed_home: Path, today: ManualClock) -> Iterator[House]:
    """An installation where an administrator decides."""
    with_approval(installed_home)
    with opened(today) as found:
        yield found


def late(house: House) -> None:
    """Let a request at the endpoint ``default`` wait for a key."""
    presented = PresentedRequest(house.endpoints["default"], request("late"), None)
    defer = partial(pending.defer, presented=presented, needs_approval=False, actor=house.actor, now=house.clock.now())
    house.transactions.write(defer)


def said(house: House, endpoint: str = HELD) -> list[Finding]:
    return [
        each
        for each in endpoints(house)
        if each.check == f"endpoint {endpoint}" and ("request list" in each.advice or "key since" in each.finding)
    ]


def measured(house: House) -> dict[tuple[str, str, str], float]:
    found = {}
    for metric in StateCollector(house).collect():
        if "pending" in metric.name and metric.name.startswith("signetry_scep"):
            for sample in metric.samples:
                found[metric.name, sample.labels["endpoint"], sample.labels["state"]] = sample.value
    return found


def test_the_doctor_names_what_has_waited_for_days(house: House, today: ManualClock) -> None:
    wait(house, request())
    today.advance(timedelta(days=3))
    assert said(house) == []
    wait(house, request("another"))
    today.advance(timedelta(minutes=1))
    (finding,) = said(house)
    assert finding.finding == "2 requests wait for a decision, the oldest for 3 days"
    assert finding.advice == "signetry request list; no more than 1000 may wait, 30 days each"
    assert finding.severity == "warning"


def test_the_doctor_names_an_endpoint_where_no_more_may_wait(house: House) -> None:
    wait(house, request())
    house.endpoints[HELD] = replace(house.endpoints[HELD], limits=EndpointLimits(waiting_at_most=1))
    assert len(said(house)) == 1


def test_the_doctor_names_what_waits_for_a_key(house: House, today: ManualClock) -> None:
    late(house)
    assert said(house, "default") == []
    today.advance(timedelta(hours=1, seconds=1))
    (finding,) = said(house, "default")
    assert finding.finding.startswith("1 requests have been waiting for a key since ")


def test_what_waits_is_measured_at_every_endpoint(house: House, today: ManualClock) -> None:
    wait(house, request())
    today.advance(timedelta(seconds=90))
    wait(house, request("another"))
    late(house)
    count, oldest = "signetry_scep_pending_requests", "signetry_scep_oldest_pending_seconds"
    found = measured(house)
    assert (found[count, HELD, "waiting"], found[oldest, HELD, "waiting"]) == (2, 90)
    assert (found[count, "default", "late"], found[count, HELD, "late"]) == (1, 0)
    assert (found[count, "routers", "waiting"], found[oldest, "routers", "waiting"]) == (0, 0)


def test_the_worker_forgets_what_nobody_decided(house: House, today: ManualClock) -> None:
    wait(house, request())
    (job,) = [job for job in jobs(house) if job.name == "expired-requests"]
    assert not job.run()
    today.advance(timedelta(days=30))
    assert job.run() == 1
    # The same request may be sent again.
    assert come_back(house, request()) is None
