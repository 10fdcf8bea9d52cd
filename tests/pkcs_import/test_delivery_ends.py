"""Deliveries that nobody fetches: stopped, or over; on both databases."""

from datetime import datetime

import pytest
from sqlalchemy import select

from audit.log import Actor
from foundation.tables import table_of
from pkcs_import import delivery, delivery_ends
from pkcs_import.delivery import State
from pkcs_import.errors import UnknownDelivery
from pkcs_import.records import Delivery
from signetry.database import Database
from tests.clocks import ManualClock
from tests.people.samples import events
from tests.pkcs_import.delivering import ACTOR, DAY, Deliveries, prepared

_DELIVERY = table_of(Delivery)
WORKER = Actor("worker")


@pytest.fixture
def world(store: Database, clock: ManualClock) -> Deliveries:
    made = prepared(store, clock)
    made.key("current")
    return made


def states(world: Deliveries) -> dict[int, str]:
    with world.store.reading() as session:
        return {row.id: row.state for row in session.execute(select(_DELIVERY.c.id, _DELIVERY.c.state))}


def sweep(world: Deliveries) -> int:
    return delivery_ends.sweep(world.store, world.clock, WORKER)


def next_due(world: Deliveries) -> datetime | None:
    with world.store.reading() as session:
        return delivery_ends.next_due(session)


def test_what_nobody_fetched_in_time_is_over_and_its_package_gone(world: Deliveries) -> None:
    number, _ = world.link()
    assert next_due(world) == world.clock.now() + DAY
    assert sweep(world) == 0
    world.clock.advance(DAY)
    assert sweep(world) == 1
    with world.store.reading() as session:
        row = session.execute(select(_DELIVERY)).one()
    assert (row.state, row.package, row.token_digest, row.ended_at) == (State.EXPIRED, None, None, world.clock.now())
    (event,) = [event for event in events(world.store) if event.action == "delivery.expired"]
    assert (event.actor, event.subject) == ("worker", f"delivery:{number}")
    assert next_due(world) is None
    assert sweep(world) == 0


def test_the_sweep_leaves_alone_what_arrived_and_what_still_has_time(world: Deliveries) -> None:
    done, waiting = world.deliver(world.order()), world.deliver(world.order(expires_at=world.clock.now() + 3 * DAY))
    world.store.write(lambda session: delivery.hand(session, done, actor=ACTOR, now=world.clock.now()))
    world.clock.advance(2 * DAY)
    assert sweep(world) == 0
    assert states(world) == {done: State.HANDED, waiting: State.READY}
    assert next_due(world) == world.clock.now() + DAY


def test_the_sweep_goes_on_until_nothing_is_left(world: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_ends, "_AT_ONCE", 2)
    for _ in range(5):
        world.deliver(world.order())
    world.clock.advance(DAY)
    assert sweep(world) == 5
    assert set(states(world).values()) == {State.EXPIRED}


def test_one_delivery_is_stopped_once(world: Deliveries) -> None:
    number, _ = world.link()

    def stop() -> None:
        world.store.write(lambda session: delivery_ends.stop(session, number, actor=ACTOR, now=world.clock.now()))

    stop()
    with pytest.raises(UnknownDelivery, match="could still be stopped"):
        stop()
    assert [event.action for event in events(world.store)].count("delivery.stopped") == 1


def test_all_of_a_persons_are_stopped_and_nobody_elses(world: Deliveries) -> None:
    bob = world.person("bob")
    world.key("bobs", person=bob)
    bobs = world.deliver(world.order(person=bob, device=world.device("bobs", "bob")))
    handed = world.deliver(world.order())
    world.store.write(lambda session: delivery.hand(session, handed, actor=ACTOR, now=world.clock.now()))
    (by_link, _), by_file = world.link(), world.deliver(world.order())
    stopped = world.store.write(lambda s: delivery_ends.stop_all(s, world.alice, actor=ACTOR, now=world.clock.now()))
    assert stopped == [by_link, by_file]
    assert states(world) == {
        bobs: State.READY,
        handed: State.HANDED,
        by_link: State.STOPPED,
        by_file: State.STOPPED,
    }
