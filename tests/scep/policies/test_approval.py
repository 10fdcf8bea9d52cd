"""``approval``: told PENDING, decided by an administrator, and then granted with the names on record."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlmodel import Session, delete

from ca.certified import names_in
from people.persons import change_person, deactivate_person
from scep import pending
from scep.client import build_csr, named, throwaway_signer
from scep.errors import FailInfo
from scep.limits import EndpointLimits
from scep.message import MessageType, PkiStatus, parse
from scep.pending import WAITS_FOR_APPROVAL
from scep.records import PendingRequest
from tests.scep.peers import said
from tests.scep.waiting import Visitor, approve, ask_an_administrator, events, is_pending, kept, reject, visitor
from tests.scep.world import ACTOR, World


@pytest.fixture
def guarded(world: World) -> World:
    """An endpoint where an administrator decides."""
    return ask_an_administrator(world)


@pytest.fixture
def both_guarded(both_worlds: World) -> World:
    """The same, over either database."""
    return ask_an_administrator(both_worlds)


def csr_for(key: rsa.RSAPrivateKey, *names: x509.GeneralName) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder(named("a device"))
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(key, hashes.SHA256())


def test_a_request_waits_until_it_is_approved_and_a_poll_gets_the_certificate(
    both_guarded: World, rsa_key: rsa.RSAPrivateKey
) -> None:
    client, alice = visitor(both_guarded, rsa_key), both_guarded.add_person()
    assert is_pending(client.enrol())
    assert is_pending(client.poll())
    (row,) = kept(both_guarded)
    assert (row.state, row.endpoint, row.subject, row.origin) == ("waiting", "default", "CN=a device", "192.0.2.1")
    assert approve(both_guarded, row.id or 0, alice)
    certificate = client.granted(client.poll())
    assert certificate.subject.rfc4514_string() == "CN=Alice Smith"
    assert names_in(certificate).upn == "alice@example.com"
    assert certificate.public_key() == rsa_key.public_key()
    assert both_guarded.counts() == {"certificates": 1, "enrolments": 1, "refusals": 0}
    (granted,) = kept(both_guarded)
    assert granted.state == "granted"
    assert granted.certificate_id is not None


def test_the_same_request_gets_the_same_certificate_however_it_is_asked_for(
    both_guarded: World, rsa_key: rsa.RSAPrivateKey
) -> None:
    client, alice = visitor(both_guarded, rsa_key), both_guarded.add_person()
    client.enrol()
    client.enrol()
    (row,) = kept(both_guarded)
    approve(both_guarded, row.id or 0, alice)
    first = client.granted(client.enrol())
    assert client.granted(client.enrol()) == first
    assert client.granted(client.poll()) == first
    assert both_guarded.counts()["certificates"] == 1
    assert len(events(both_guarded, "request.deferred")) == 1


def test_who_decided_is_on_record(guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    client, alice = visitor(guarded, rsa_key), guarded.add_person()
    client.enrol()
    approve(guarded, 1, alice)
    client.granted(client.poll())
    (deferred,) = events(guarded, "request.deferred")
    assert (deferred.actor, deferred.subject, deferred.origin) == ("scep:default", "request:1", "192.0.2.1")
    (approved,) = events(guarded, "request.approved")
    assert (approved.actor, approved.details["person"], approved.details["profile"]) == ("cli:olga", alice.id, "identity")
    issued = events(guarded, "certificate.issued")[-1]
    assert issued.details["granted_by"] == "request 1, approved by cli:olga"


def test_a_rejected_client_is_told_in_the_administrators_words(both_guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    client = visitor(both_guarded, rsa_key)
    client.enrol()
    reject(both_guarded, 1, "unknown device: call the help desk")
    refusal = (PkiStatus.FAILURE, FailInfo.BAD_REQUEST, "unknown device: call the help desk")
    assert said(client.poll()) == refusal
    assert said(client.enrol()) == refusal
    # A stranger who asks again and again fills no table.
    assert both_guarded.counts() == {"certificates": 0, "enrolments": 0, "refusals": 0}


def test_a_challenge_means_nothing_here(guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    challenge = guarded.challenge(guarded.add_person())
    client = visitor(guarded, rsa_key)
    assert is_pending(client.enrol(build_csr(rsa_key, "a device", challenge)))
    (row,) = kept(guarded)
    assert challenge not in str(row)


def test_the_names_are_todays_not_those_of_the_approval(guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    client, alice = visitor(guarded, rsa_key), guarded.add_person()
    client.enrol()
    approve(guarded, 1, alice)
    renamed = replace(alice.fields, display_name="Alice Jones")
    guarded.transactions.write(lambda session: change_person(session, alice.id, renamed, actor=ACTOR, now=guarded.clock.now()))
    assert client.granted(client.poll()).subject.rfc4514_string() == "CN=Alice Jones"


def test_what_the_record_does_not_hold_is_refused_when_the_client_comes_back(guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    client, alice = visitor(guarded, rsa_key), guarded.add_person()
    client.enrol(csr_for(rsa_key, x509.RFC822Name("boss@example.com")))
    # As if the record had been changed after the approval, which would not have let this through.
    approve(guarded, 1, alice)
    assert said(client.poll())[2] == "the requested mail address boss@example.com is not authorised"
    assert guarded.counts() == {"certificates": 0, "enrolments": 0, "refusals": 1}
    (refused,) = events(guarded, "enrolment.refused")
    assert refused.subject == "request:1"


def test_whoever_left_meanwhile_gets_nothing(guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    client, alice = visitor(guarded, rsa_key), guarded.add_person()
    client.enrol()
    approve(guarded, 1, alice)
    guarded.transactions.write(lambda session: deactivate_person(session, alice.id, actor=ACTOR, now=guarded.clock.now()))
    assert said(client.poll())[2] == "the person is not active"


def test_a_device_is_approved_as_a_device(guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    client, router = visitor(guarded, rsa_key), guarded.add_device("router-7", dns_name="router-7.example.com")
    client.enrol(csr_for(rsa_key, x509.DNSName("router-7.example.com")))
    approve(guarded, 1, None, "device", router)
    assert names_in(client.granted(client.poll())).dns_names == ("router-7.example.com",)


def test_organisational_units_come_from_the_request_that_was_approved(guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    guarded.configure(subject_from_request=frozenset({"OU"}))
    client, alice = visitor(guarded, rsa_key), guarded.add_person()
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "mdm-4711")])
    client.enrol(x509.CertificateSigningRequestBuilder(subject).sign(rsa_key, hashes.SHA256()))
    approve(guarded, 1, alice)
    assert "OU=mdm-4711" in client.granted(client.poll()).subject.rfc4514_string()


@pytest.mark.parametrize("for_another", [True, False])
def test_a_decision_that_changes_while_the_certificate_is_made_counts(
    both_guarded: World,
    rsa_key: rsa.RSAPrivateKey,
    for_another: bool,  # noqa: FBT001 - which of two
) -> None:
    """Between looking and storing an administrator rejects the request, or approves it for somebody else."""
    client, alice = visitor(both_guarded, rsa_key), both_guarded.add_person()
    bob = both_guarded.add_person("bob@example.com", "bob@example.com", display_name="Bob")
    client.enrol()
    approve(both_guarded, 1, alice)
    submit = both_guarded.transactions.submit

    def meanwhile() -> bool:
        return approve(both_guarded, 1, bob) if for_another else reject(both_guarded, 1, "no")

    responder = both_guarded.responder

    class Interrupted:
        """The store; before anything is stored, the administrator has been there."""

        def submit(self, act: Callable[[Session], None]) -> Future[None]:
            """Run ``act``, afterwards."""
            both_guarded.clock.advance(seconds=1)
            meanwhile()
            return submit(act)

    responder._transactions = Interrupted()  # type: ignore[assignment] # noqa: SLF001 - where the moment lies
    message = client.signed(client.sealed(b"0\0"), message_type=MessageType.CERT_POLL)
    assert parse(responder.pki_operation("default", message, origin="192.0.2.1")).fail_info == FailInfo.BAD_CERT_ID
    assert both_guarded.counts()["certificates"] == 0
    (row,) = kept(both_guarded)
    assert row.state == ("approved" if for_another else "rejected")


def test_nobody_else_can_ask_after_a_request(
    guarded: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    client, alice = visitor(guarded, rsa_key), guarded.add_person()
    client.enrol()
    approve(guarded, 1, alice)
    thief = visitor(guarded, other_rsa_key)
    unknown = said(thief.poll(transaction_id="none"))
    assert said(thief.poll()) == unknown
    assert unknown[:2] == (PkiStatus.FAILURE, FailInfo.BAD_CERT_ID)
    assert said(visitor(guarded, rsa_key, "other").poll()) == unknown
    assert client.granted(client.poll())


def test_the_request_of_another_with_the_same_transaction_hides_nothing(
    guarded: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    client, thief, alice = visitor(guarded, rsa_key), visitor(guarded, other_rsa_key), guarded.add_person()
    client.enrol()
    for number in range(3):
        thief.enrol(build_csr(other_rsa_key, f"thief {number}"))
    approve(guarded, 1, alice)
    assert is_pending(thief.poll())
    assert client.granted(client.poll()).public_key() == rsa_key.public_key()


def test_a_poll_may_be_signed_with_the_key_that_is_to_be_certified(
    guarded: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    """Windows signs the request with a key made for the occasion."""
    client, alice = visitor(guarded, rsa_key), guarded.add_person()
    client.signing_as(throwaway_signer(other_rsa_key, named("SCEP Protocol Certificate"))).ask(
        build_csr(rsa_key, "a device").public_bytes(Encoding.DER), transaction_id="1"
    )
    approve(guarded, 1, alice)
    assert client.granted(client.poll()).public_key() == rsa_key.public_key()


def test_what_nobody_could_approve_does_not_wait(guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    client = visitor(guarded, rsa_key)
    wants_ca = x509.CertificateSigningRequestBuilder(named("x")).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    assert "CA certificate" in (said(client.enrol(wants_ca.sign(rsa_key, hashes.SHA256())))[2] or "")
    assert "registered ID" in (said(client.enrol(csr_for(rsa_key, x509.RegisteredID(x509.ObjectIdentifier("1.2.3")))))[2] or "")
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
    assert said(client.enrol(build_csr(short, "x")))[2] == "the RSA key must have 2048 to 8192 bits, a multiple of 8"
    assert kept(guarded) == []


def test_the_table_has_an_end_for_each_address_and_for_all(both_guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    both_guarded.configure(limits=EndpointLimits(waiting_at_most=5, waiting_per_address=2))
    client = visitor(both_guarded, rsa_key)

    def outcome(number: int, origin: str) -> str | None:
        return said(client.from_address(origin).enrol(build_csr(rsa_key, f"device {number}")))[2]

    assert [outcome(number, "192.0.2.1") for number in range(2)] == [None, None]
    assert outcome(2, "192.0.2.1") == "too many requests from this address wait here already; try again later"
    # What waits already may be asked after all the same.
    assert outcome(0, "192.0.2.1") is None
    assert [outcome(number, "2001:db8::1") for number in (3, 4)] == [None, None]
    # Its neighbour of the same /64 is the same address.
    assert outcome(5, "2001:db8::ffff") == "too many requests from this address wait here already; try again later"
    assert outcome(6, "2001:db8:0:1::1") is None
    assert outcome(7, "203.0.113.9") == "too many requests wait here already; try again later"
    assert len(kept(both_guarded)) == len(events(both_guarded, "request.deferred")) == 5
    # A decision makes room.
    reject(both_guarded, 1)
    assert outcome(7, "203.0.113.9") is None


def test_a_request_for_too_many_names_is_not_kept(guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    long = [x509.RFC822Name(f"{'a' * 400}{number}@example.com") for number in range(100)]
    refused = said(visitor(guarded, rsa_key).enrol(csr_for(rsa_key, *long)))
    assert refused[2] == "the request asks for more names than are kept until a decision"


def test_a_request_that_nobody_decided_can_be_made_again(both_guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    client, alice = visitor(both_guarded, rsa_key), both_guarded.add_person()
    client.enrol()
    both_guarded.clock.advance(days=30)
    assert said(client.poll())[1] == FailInfo.BAD_CERT_ID
    assert is_pending(client.enrol())
    (row,) = kept(both_guarded)
    assert row.created_at == both_guarded.clock.now()
    # Whoever has seen the first one in a list must not approve the second one by its number.
    assert row.id == 2
    approve(both_guarded, row.id or 0, alice)
    assert client.granted(client.poll())


def test_a_holder_renews_without_asking_anybody(
    guarded: World, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    guarded.configure(renew_after=0.0)
    client, alice = visitor(guarded, rsa_key), guarded.add_person()
    client.enrol()
    approve(guarded, 1, alice)
    holder = client.holding(client.granted(client.poll()))
    new = build_csr(other_rsa_key, "a device", "left over").public_bytes(Encoding.DER)
    for message_type in (MessageType.RENEWAL_REQ, MessageType.PKCS_REQ):
        answer = holder.ask(new, message_type=message_type, transaction_id=f"renewal {message_type}")
        assert holder.granted(answer).public_key() == other_rsa_key.public_key()
    assert len(kept(guarded)) == 1


def test_a_renewal_by_a_stranger_does_not_wait(guarded: World, rsa_key: rsa.RSAPrivateKey) -> None:
    client = visitor(guarded, rsa_key)
    csr = build_csr(rsa_key, "a device").public_bytes(Encoding.DER)
    assert said(client.ask(csr, message_type=MessageType.RENEWAL_REQ))[1] == FailInfo.BAD_CERT_ID
    assert kept(guarded) == []


def waiting_client(world: World, key: rsa.RSAPrivateKey) -> tuple[Visitor, x509.CertificateSigningRequest]:
    client, csr = visitor(world, key), build_csr(key, "a device")
    assert is_pending(client.enrol(csr))
    return client, csr


def test_the_same_request_twice_at_once_waits_once_and_both_are_told_so(
    both_guarded: World, rsa_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, csr = waiting_client(both_guarded, rsa_key)
    look, looked = pending.find_by_retry_key, []

    def too_early(session: Session, retry_key: str) -> PendingRequest | None:
        # Before anything is decided, and before it is kept, the other process has not committed yet.
        looked.append(retry_key)
        return None if len(looked) <= 2 else look(session, retry_key)

    monkeypatch.setattr(pending, "find_by_retry_key", too_early)
    assert is_pending(client.enrol(csr))
    assert len(looked) == 3
    assert len(kept(both_guarded)) == 1


def test_a_request_that_is_forgotten_while_it_is_made_again_waits_anew(
    both_guarded: World, rsa_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, csr = waiting_client(both_guarded, rsa_key)
    both_guarded.clock.advance(WAITS_FOR_APPROVAL)
    look, looked = pending.find_by_retry_key, []

    def swept_meanwhile(session: Session, retry_key: str) -> PendingRequest | None:
        looked.append(look(session, retry_key))
        if len(looked) == 2:
            session.execute(delete(PendingRequest))
        return looked[-1]

    monkeypatch.setattr(pending, "find_by_retry_key", swept_meanwhile)
    assert is_pending(client.enrol(csr))
    monkeypatch.undo()
    assert len(kept(both_guarded)) == 1
