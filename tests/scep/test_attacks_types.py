"""CVE-2026-30836: no message type but those that ask for a certificate gets one, whoever sends it and with what.

An unknown type must not fall through to issuance, nor a type that reads something reach what only PKCSReq and RenewalReq may.
"""

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from foundation import tlv
from scep import message
from scep.algorithms import Digest
from scep.errors import FailInfo
from scep.message import MessageType, PkiStatus
from scep.queries import IssuerAndSerial, IssuerAndSubject, write_issuer_and_serial, write_issuer_and_subject
from scep.signing import Signer, attribute, sign
from tests.scep.peers import NONCE, Peer, certificate_request, trace
from tests.scep.world import World

# Every number but those that enrol; CertPoll, GetCert and GetCRL are answered, but never with a new certificate.
UNKNOWN = (0, 1, 2, 3, 4, 16, 18, 23, 99, 190, 191, 1900, 9999)
QUERIES = (MessageType.CERT_POLL, MessageType.GET_CERT, MessageType.GET_CRL)


@pytest.fixture
def challenge(world: World) -> str:
    """A live challenge of Alice's."""
    world.configure(renew_after=0.0)
    return world.challenge(world.add_person())


@pytest.fixture
def stranger(world: World, rsa_key: rsa.RSAPrivateKey) -> Peer:
    """Somebody who knows the challenge."""
    return Peer.stranger(world, rsa_key)


@pytest.fixture
def holder(world: World, other_rsa_key: rsa.RSAPrivateKey) -> Peer:
    """Somebody with a certificate that is in its renewal window."""
    world.configure(renew_after=0.0)
    bob = world.add_person("bob@example.com", "bob@example.com", display_name="Bob")
    held = world.enrol(other_rsa_key, world.challenge(bob))
    return Peer(world, other_rsa_key, Signer.of(held.certificate, other_rsa_key))


def assert_nothing_comes_of_it(peer: Peer, content: bytes, message_type: int) -> None:
    certificates, enrolments, _, _, redeemed = trace(peer.world)
    answer = peer.ask(content, message_type=message_type, transaction_id="elsewhere")
    assert answer.pki_status == PkiStatus.FAILURE
    assert answer.content == b""
    after = trace(peer.world)
    assert (after[0], after[1], after[4]) == (certificates, enrolments, redeemed)


@pytest.mark.parametrize("message_type", [*UNKNOWN, *QUERIES])
def test_a_valid_challenge_buys_nothing_under_another_type(stranger: Peer, challenge: str, message_type: int) -> None:
    request = certificate_request(stranger.key, challenge)
    assert_nothing_comes_of_it(stranger, request, message_type)
    stranger.granted(stranger.ask(request))


@pytest.mark.parametrize("message_type", [*UNKNOWN, *QUERIES])
def test_a_holder_renews_nothing_under_another_type(holder: Peer, message_type: int) -> None:
    request = certificate_request(holder.key)
    assert_nothing_comes_of_it(holder, request, message_type)
    holder.granted(holder.ask(request, message_type=MessageType.RENEWAL_REQ))


def test_an_update_is_refused_by_name(holder: Peer) -> None:
    """18 stood in drafts and is nobody's; servers were seen to take it for a request without looking at its challenge."""
    answer = holder.ask(certificate_request(holder.key), message_type=MessageType.UPDATE_REQ)
    assert (answer.pki_status, answer.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_REQUEST)
    assert answer.fail_info_text == "message type 18 is not answered at this endpoint"


def test_an_unknown_type_is_refused_before_its_envelope_is_opened(stranger: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> object:
        raise AssertionError("an envelope was opened")

    monkeypatch.setattr(message, "open_envelope", opened)
    sealed = stranger.sealed(b"\x30\x00")
    for message_type in UNKNOWN:
        assert stranger.send(stranger.signed(sealed, message_type=message_type)).fail_info == FailInfo.BAD_REQUEST


def test_a_renewal_request_signed_by_a_stranger_is_none_even_without_a_challenge(stranger: Peer) -> None:
    answer = stranger.ask(certificate_request(stranger.key), message_type=MessageType.RENEWAL_REQ)
    assert (answer.pki_status, answer.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_CERT_ID)
    assert stranger.world.counts()["certificates"] == 0


QUESTIONS: dict[str, tuple[int, Callable[[World, x509.Certificate], bytes]]] = {
    "CertPoll": (
        MessageType.CERT_POLL,
        lambda world, held: write_issuer_and_subject(IssuerAndSubject(world.authority.subject_der, held.subject.public_bytes())),
    ),
    "GetCert": (
        MessageType.GET_CERT,
        lambda world, held: write_issuer_and_serial(IssuerAndSerial(world.authority.subject_der, held.serial_number)),
    ),
    "GetCRL": (
        MessageType.GET_CRL,
        lambda world, held: write_issuer_and_serial(IssuerAndSerial(world.authority.subject_der, held.serial_number)),
    ),
}


@pytest.mark.parametrize(("message_type", "question"), QUESTIONS.values(), ids=QUESTIONS)
@pytest.mark.parametrize("with_challenge", [False, True])
def test_a_question_issues_nothing_though_its_sender_might_enrol(
    holder: Peer, challenge: str, message_type: int, question: Callable[[World, x509.Certificate], bytes], *, with_challenge: bool
) -> None:
    certificates, enrolments, _, _, redeemed = trace(holder.world)
    more = [attribute(message.CHALLENGE_PASSWORD, tlv.printable_string(challenge))] if with_challenge else []
    holder.ask(question(holder.world, holder.signer.certificate), message_type=message_type, transaction_id="2", more=more)
    after = trace(holder.world)
    assert (after[0], after[1], after[4]) == (certificates, enrolments, redeemed)


def test_a_message_of_two_types_is_of_none(stranger: Peer, challenge: str) -> None:
    """Whoever reads the first and whoever reads the last would disagree on what was asked."""
    sealed = stranger.sealed(certificate_request(stranger.key, challenge))
    types = [attribute(message.MESSAGE_TYPE, tlv.printable_string(number)) for number in ("18", "19")]
    transaction = attribute(message.TRANSACTION_ID, tlv.printable_string("1"))
    nonce = attribute(message.SENDER_NONCE, tlv.octet_string(NONCE))
    both_values = tlv.sequence(
        tlv.object_identifier(message.MESSAGE_TYPE), tlv.set_of(tlv.printable_string("18"), tlv.printable_string("19"))
    )
    for attributes in ([*types, transaction, nonce], [both_values, transaction, nonce]):
        answer = stranger.send(sign(stranger.signer, sealed, attributes, Digest.SHA256))
        assert (answer.pki_status, answer.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_REQUEST)
    assert stranger.world.counts()["certificates"] == 0
