"""Requests that are late: a key was out of reach, and comes back (RFC 8894 sections 3.3.3 and 4.4)."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import func
from sqlmodel import col, select

from foundation.errors import Unavailable
from scep.client import build_csr
from scep.enrolment import Enroller
from scep.errors import FailInfo
from scep.limits import EndpointLimits
from scep.message import MessageType
from scep.pending import WAITS_FOR_KEYS
from scep.records import Challenge
from tests.scep.peers import said
from tests.scep.waiting import Visitor, approve, ask_an_administrator, events, is_pending, kept, key_out_of_reach, visitor
from tests.scep.world import World


def redeemed(world: World) -> int:
    with world.transactions.reading() as session:
        return session.exec(select(func.count(col(Challenge.redeemed_at)))).one()


@pytest.fixture
def client(both_worlds: World, rsa_key: rsa.RSAPrivateKey) -> Visitor:
    """A client in front of either database."""
    return visitor(both_worlds, rsa_key)


def test_while_the_key_is_out_of_reach_clients_are_told_to_wait_and_a_poll_gets_the_certificate(client: Visitor) -> None:
    world = client.world
    csr = build_csr(client.key, "a device", world.challenge(world.add_person()))
    with key_out_of_reach(world):
        assert is_pending(client.enrol(csr))
        assert is_pending(client.poll())
        assert redeemed(world) == 0
    certificate = client.granted(client.poll())
    assert certificate.subject.rfc4514_string() == "CN=Alice Smith"
    assert client.granted(client.poll()) == client.granted(client.enrol(csr)) == certificate
    assert redeemed(world) == 1
    assert world.counts() == {"certificates": 1, "enrolments": 1, "refusals": 0}


def test_a_client_that_never_polls_sends_its_request_again_and_gets_the_certificate(client: Visitor) -> None:
    world = client.world
    csr = build_csr(client.key, "a device", world.challenge(world.add_person()))
    with key_out_of_reach(world):
        assert is_pending(client.enrol(csr))
        assert is_pending(client.enrol(csr))
    assert len(kept(world)) == len(events(world, "request.deferred")) == 1
    assert client.granted(client.enrol(csr))
    assert redeemed(world) == 1


def test_a_client_that_begins_anew_takes_its_challenge_with_it(client: Visitor, other_rsa_key: rsa.RSAPrivateKey) -> None:
    """The challenge is spent on whichever comes first; a request for another key has then nothing to show."""
    world = client.world
    challenge = world.challenge(world.add_person())
    with key_out_of_reach(world):
        client.enrol(build_csr(client.key, "first", challenge))
    anew = visitor(world, other_rsa_key)
    assert anew.granted(anew.enrol(build_csr(other_rsa_key, "second", challenge), transaction_id="2"))
    assert said(client.poll())[2] == "the challenge password is missing or not valid here"
    assert world.counts()["certificates"] == 1


def test_what_waits_survives_whoever_took_it_in(client: Visitor) -> None:
    world = client.world
    with key_out_of_reach(world):
        client.enrol(build_csr(client.key, "a device", world.challenge(world.add_person())))
    # Another process, which has nothing but the database.
    world.enroller = Enroller(world.transactions, world.clock)
    assert client.granted(client.poll())


def test_a_renewal_is_late_as_well(client: Visitor, other_rsa_key: rsa.RSAPrivateKey) -> None:
    world = client.world
    world.configure(renew_after=0.0)
    holder = client.holding(client.granted(client.enrol(build_csr(client.key, "a device", world.challenge(world.add_person())))))
    assert isinstance(holder, Visitor)
    renewal = build_csr(other_rsa_key, "a device").public_bytes(Encoding.DER)
    for message_type in (MessageType.RENEWAL_REQ, MessageType.PKCS_REQ):
        transaction_id = f"renewal {message_type}"
        with key_out_of_reach(world):
            assert is_pending(holder.ask(renewal, message_type=message_type, transaction_id=transaction_id))
            assert is_pending(holder.poll(transaction_id=transaction_id))
        new = holder.granted(holder.poll(transaction_id=transaction_id))
        assert new.public_key() == other_rsa_key.public_key()
        again = holder.ask(renewal, message_type=message_type, transaction_id=transaction_id)
        assert holder.granted(again) == new
    # The new key alone has not shown that it may renew.
    assert visitor(world, other_rsa_key).poll(transaction_id=transaction_id).fail_info is not None


def test_a_challenge_does_not_wait_in_the_clear(client: Visitor) -> None:
    world = client.world
    challenge = world.challenge(world.add_person())
    with key_out_of_reach(world):
        client.enrol(build_csr(client.key, "a device", challenge))
    (row,) = kept(world)
    held = " ".join(str(value) for value in row.model_dump().values())
    assert challenge not in held
    assert challenge.encode() not in row.spki


def test_an_approved_request_waits_for_the_key_too(client: Visitor) -> None:
    world = ask_an_administrator(client.world)
    alice = world.add_person()
    client.enrol()
    approve(world, 1, alice)
    with key_out_of_reach(world):
        assert is_pending(client.poll())
    assert kept(world)[0].state == "approved"
    assert client.granted(client.poll())
    assert kept(world)[0].state == "granted"


def test_who_would_be_refused_does_not_wait(client: Visitor) -> None:
    world = client.world
    with key_out_of_reach(world):
        refused = client.enrol(build_csr(client.key, "a device", "no challenge of ours"))
    assert said(refused)[1] == FailInfo.BAD_REQUEST
    assert kept(world) == []


def test_when_too_much_waits_for_the_key_clients_are_asked_to_come_again(client: Visitor) -> None:
    world = client.world
    world.configure(limits=EndpointLimits(waiting_per_address=1))
    challenge = world.challenge(world.add_person())
    with key_out_of_reach(world):
        client.enrol(build_csr(client.key, "a device", challenge))
        with pytest.raises(Unavailable):
            client.enrol(build_csr(client.key, "another device", challenge), transaction_id="2")
    assert len(kept(world)) == 1


def test_after_a_week_the_request_is_to_be_sent_again(client: Visitor) -> None:
    world = client.world
    csr = build_csr(client.key, "a device", world.challenge(world.add_person()))
    with key_out_of_reach(world):
        client.enrol(csr)
    world.clock.advance(WAITS_FOR_KEYS - timedelta(seconds=1))
    # Its challenge is long over, which a poll is told like anybody.
    assert said(client.poll())[1] == FailInfo.BAD_REQUEST
    world.clock.advance(seconds=1)
    assert said(client.poll())[1] == FailInfo.BAD_CERT_ID
