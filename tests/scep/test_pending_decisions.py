"""Deciding: once or again, as long as the client has not come back."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from audit.log import Actor
from foundation.errors import BadRequest, Conflict, NotFound
from scep import pending_decisions, pending_sweep
from scep.client import build_csr
from scep.pending import State
from scep.pending_decisions import DEFAULT_REJECTION, Backlog
from tests.scep.peers import said
from tests.scep.waiting import Visitor, approve, ask_an_administrator, events, kept, key_out_of_reach, reject, visitor
from tests.scep.world import World

WORKER = Actor("worker")


@pytest.fixture
def client(both_worlds: World, rsa_key: rsa.RSAPrivateKey) -> Visitor:
    """A client whose request waits, in either database."""
    waiting = visitor(ask_an_administrator(both_worlds), rsa_key)
    waiting.enrol()
    return waiting


def sweep(world: World) -> int:
    return pending_sweep.sweep(world.transactions, world.clock, WORKER)


def found(world: World, **criteria: object) -> list[int | None]:
    with world.transactions.reading() as session:
        matching = pending_decisions.matching(session, limit=100, now=world.clock.now(), **criteria)  # type: ignore[arg-type]
        return [row.id for row in matching]


def test_deciding_the_same_again_changes_nothing(client: Visitor) -> None:
    world, alice = client.world, client.world.add_person()
    assert approve(world, 1, alice)
    assert not approve(world, 1, alice)
    assert len(events(world, "request.approved")) == 1
    client.granted(client.poll())
    assert not approve(world, 1, alice)


def test_rejecting_the_same_again_changes_nothing(client: Visitor) -> None:
    world = client.world
    assert reject(world, 1)
    assert not reject(world, 1)
    assert reject(world, 1, "in other words")
    assert [event.details["reason"] for event in events(world, "request.rejected")] == [DEFAULT_REJECTION, "in other words"]


def test_a_decision_may_be_changed_until_the_certificate_is_out(client: Visitor) -> None:
    world, alice = client.world, client.world.add_person()
    bob = world.add_person("bob@example.com", "bob@example.com", display_name="Bob")
    approve(world, 1, alice)
    reject(world, 1, "no")
    assert said(client.poll())[2] == "no"
    approve(world, 1, bob)
    assert client.granted(client.poll()).subject.rfc4514_string() == "CN=Bob"
    with pytest.raises(Conflict, match="revoked"):
        reject(world, 1)
    with pytest.raises(Conflict, match="revoked"):
        approve(world, 1, alice)


def test_there_is_nothing_to_decide_on_what_is_only_late(client: Visitor, other_rsa_key: rsa.RSAPrivateKey) -> None:
    world, alice = client.world, client.world.add_person()
    late = visitor(world, other_rsa_key, "other")
    with key_out_of_reach(world):
        late.enrol(build_csr(other_rsa_key, "late", world.challenge(alice, endpoint="other")))
    assert found(world, state=State.LATE) == [2]
    with pytest.raises(Conflict, match="key"):
        approve(world, 2, alice)
    with pytest.raises(Conflict, match="key"):
        reject(world, 2)
    late.granted(late.poll())
    assert found(world) == [1]


def test_an_unknown_number_is_not_found(client: Visitor) -> None:
    with pytest.raises(NotFound):
        approve(client.world, 4711, None)
    client.world.clock.advance(days=30)
    with pytest.raises(NotFound):
        reject(client.world, 1)


@pytest.mark.parametrize("words", ["two\nlines", "\x1b[2J", "x" * 201])
def test_words_for_a_client_are_one_line_of_text(client: Visitor, words: str) -> None:
    with pytest.raises(BadRequest, match="reason"):
        reject(client.world, 1, words)


def test_requests_are_found_by_state_and_endpoint_the_newest_first(client: Visitor) -> None:
    world, alice = client.world, client.world.add_person()
    for number in range(3):
        client.enrol(build_csr(client.key, f"device {number}"))
    approve(world, 2, alice)
    reject(world, 3)
    assert found(world) == [4, 3, 2, 1]
    assert found(world, state=State.WAITING) == [4, 1]
    assert found(world, state=State.APPROVED) == [2]
    assert found(world, state=State.REJECTED) == [3]
    assert found(world, before=3) == [2, 1]
    assert found(world, endpoint="other") == []


def test_a_decided_request_waits_for_its_client_as_long_again(client: Visitor) -> None:
    world, alice = client.world, client.world.add_person()
    world.clock.advance(days=29)
    approve(world, 1, alice)
    world.clock.advance(days=29)
    assert sweep(world) == 0
    assert client.granted(client.poll())


def test_what_nobody_decided_is_forgotten_and_that_is_on_record(client: Visitor) -> None:
    world = client.world
    client.enrol(build_csr(client.key, "another"))
    reject(world, 2)
    world.clock.advance(days=29)
    client.enrol(build_csr(client.key, "a third"))
    assert sweep(world) == 0
    world.clock.advance(days=1)
    assert sweep(world) == 2
    assert [row.id for row in kept(world)] == [3]
    (expired,) = events(world, "request.expired")
    assert (expired.actor, expired.subject, expired.details) == (
        "worker",
        "request:1",
        {"endpoint": "default", "state": "waiting"},
    )


def test_many_are_forgotten_in_batches(client: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_sweep, "_SWEPT_AT_ONCE", 2)
    for number in range(4):
        client.enrol(build_csr(client.key, f"device {number}"))
    client.world.clock.advance(days=31)
    assert sweep(client.world) == 5
    assert kept(client.world) == []


def test_what_waits_is_counted_by_endpoint(client: Visitor, other_rsa_key: rsa.RSAPrivateKey) -> None:
    world, alice = client.world, client.world.add_person()
    since = world.clock.now()
    world.clock.advance(minutes=1)
    client.enrol(build_csr(client.key, "another"))
    client.enrol(build_csr(client.key, "a third"))
    approve(world, 3, alice)
    late = visitor(world, other_rsa_key, "other")
    with key_out_of_reach(world):
        late.enrol(build_csr(other_rsa_key, "late", world.challenge(alice, endpoint="other")))

    def backlog() -> set[Backlog]:
        with world.transactions.reading() as session:
            return set(pending_decisions.backlog(session, now=world.clock.now()))

    waiting = Backlog("default", State.WAITING, 2, since)
    assert backlog() == {waiting, Backlog("other", State.LATE, 1, world.clock.now())}
    late.granted(late.poll())
    assert backlog() == {waiting}
    world.clock.advance(days=30)
    assert backlog() == set()
