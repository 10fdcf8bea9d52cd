"""Clients with EC keys, from the request to the certificate: answered by key agreement, by challenge, or refused up front."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from scep import message
from scep.algorithms import Cipher, Suite
from scep.client import build_csr, named, throwaway_signer
from scep.cms import read_certificates
from scep.envelope import read_envelope
from scep.errors import EnrolmentRefused, FailInfo
from scep.key_agreement import RECIPIENT_TAG as AGREEMENT
from scep.message import MessageType, PkiStatus, ReceivedMessage
from scep.password_recipient import RECIPIENT_TAG as PASSWORD
from scep.queries import IssuerAndSubject, write_issuer_and_subject
from scep.reply_envelope import open_reply
from scep.signing import Signer
from signetry.database import Database
from tests.clocks import ManualClock
from tests.scep.test_retrieval import AskedWorld
from tests.scep.world import World

SUITE = Suite(cipher=Cipher.AES256)


def send(world: World, signer: Signer, csr: bytes, *, message_type: MessageType = MessageType.PKCS_REQ) -> ReceivedMessage:
    """Send a request by hand and return the reply, not yet opened."""
    der = message.build_request(
        signer,
        world.ra.certificate,
        csr,
        message_type=message_type,
        transaction_id="1",
        sender_nonce=bytes(16),
        suite=SUITE,
    )
    return message.parse(world.responder.pki_operation("default", der, origin="192.0.2.1"))


def sealed_by(reply: ReceivedMessage) -> list[int]:
    """Return the kinds of recipient that a reply is sealed for."""
    assert reply.pki_status == PkiStatus.SUCCESS, reply.fail_info_text
    return [info[0] for info in read_envelope(reply.content).recipient_infos]


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, challenge: str) -> bytes:
    return build_csr(key, "a device", challenge).public_bytes(Encoding.DER)


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_a_self_signed_ec_key_is_answered_by_agreement(world: World, curve: type[ec.EllipticCurve]) -> None:
    key = ec.generate_private_key(curve())
    signer = throwaway_signer(key, named("a device"))
    reply = send(world, signer, request(key, world.challenge(world.add_person())))
    assert sealed_by(reply) == [AGREEMENT]
    (issued,) = read_certificates(open_reply(reply.content, signer))
    assert x509.load_der_x509_certificate(issued).public_key() == key.public_key()


def test_a_retry_with_another_throwaway_key_is_sealed_for_that_key(world: World) -> None:
    """Windows makes one per attempt; nothing sealed is ever kept."""
    key, challenge = ec.generate_private_key(ec.SECP256R1()), world.challenge(world.add_person())
    csr = request(key, challenge)
    found = set()
    for _ in range(2):
        signer = throwaway_signer(ec.generate_private_key(ec.SECP256R1()), named("x"))
        found.add(read_certificates(open_reply(send(world, signer, csr).content, signer)))
    assert len(found) == 1
    assert world.counts()["certificates"] == 1


@pytest.mark.parametrize(("profile", "agrees"), [("smime-dual", True), ("smime-encryption", True), ("identity", False)])
def test_a_certificate_whose_key_may_agree_renews_without_challenge(world: World, profile: str, *, agrees: bool) -> None:
    world.configure(renew_after=0.0)
    key = ec.generate_private_key(ec.SECP256R1())
    held = world.enrol(key, world.challenge(world.add_person(), profile=profile))
    before = world.counts()
    following = ec.generate_private_key(ec.SECP256R1())
    if agrees:
        assert world.renew(held, following).certificate.public_key() == following.public_key()
        return
    with pytest.raises(EnrolmentRefused, match="can only sign, and the request has no challenge") as caught:
        world.renew(held, following)
    assert caught.value.fail_info == FailInfo.BAD_ALG
    assert world.counts() == before, "refused before anything is looked at"


def test_a_key_that_can_only_sign_is_answered_by_the_challenge_it_brings(world: World) -> None:
    world.configure(renew_after=0.0)
    person = world.add_person()
    key = ec.generate_private_key(ec.SECP256R1())
    held = world.enrol(key, world.challenge(person))
    signer, challenge = Signer.of(held.certificate, key), world.challenge(person)
    reply = send(world, signer, request(key, challenge), message_type=MessageType.RENEWAL_REQ)
    assert sealed_by(reply) == [PASSWORD]
    (issued,) = read_certificates(open_reply(reply.content, signer, challenge))
    assert x509.load_der_x509_certificate(issued).public_key() == key.public_key()
    # Sent again, it comes back under the same challenge, though that is spent.
    again = send(world, signer, request(key, challenge), message_type=MessageType.RENEWAL_REQ)
    assert read_certificates(open_reply(again.content, signer, challenge))


def test_a_wrong_challenge_costs_no_key_derivation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else anybody could keep the service busy."""
    person = world.add_person()
    key = ec.generate_private_key(ec.SECP256R1())
    held = world.enrol(key, world.challenge(person))

    def derive(*_arguments: object) -> bytes:
        raise AssertionError("derived a key")

    monkeypatch.setattr("scep.password_recipient.PasswordRecipient.wrap", derive)
    reply = send(world, Signer.of(held.certificate, key), request(key, "wrong"), message_type=MessageType.RENEWAL_REQ)
    assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_REQUEST)


def test_a_poll_by_a_key_that_can_only_sign_is_refused_in_words(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    held = world.enrol(key, world.challenge(world.add_person()))
    content = write_issuer_and_subject(IssuerAndSubject(world.authority.subject_der, held.certificate.subject.public_bytes()))
    reply = send(world, Signer.of(held.certificate, key), content, message_type=MessageType.CERT_POLL)
    assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_ALG)
    assert "can only sign" in (reply.fail_info_text or "")


def test_an_rsa_key_may_be_certified_at_the_request_of_an_ec_key_and_the_other_way_round(
    world: World, rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey
) -> None:
    person = world.add_person()
    for signing, certified in ((ec_key, rsa_key), (rsa_key, ec_key)):
        signer = throwaway_signer(signing, named("x"))
        reply = send(world, signer, request(certified, world.challenge(person)))
        (issued,) = read_certificates(open_reply(reply.content, signer))
        assert x509.load_der_x509_certificate(issued).public_key() == certified.public_key()


def test_a_throwaway_certificate_that_forbids_agreement_is_answered_by_challenge(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = named("a device")
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    now = world.clock.now()
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1).not_valid_before(now)
    certificate = builder.not_valid_after(now + timedelta(days=1)).add_extension(usage, critical=True).sign(key, hashes.SHA256())
    signer, challenge = Signer.of(certificate, key), world.challenge(world.add_person())
    reply = send(world, signer, request(key, challenge))
    assert sealed_by(reply) == [PASSWORD]
    assert read_certificates(open_reply(reply.content, signer, challenge))


def test_a_query_by_a_key_that_can_only_sign_tells_nothing_of_its_envelope(
    sqlite_store: Database, clock: ManualClock, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    """Somebody else's envelope, changed and signed anew: the answer must not say whether it opened."""
    world = AskedWorld(sqlite_store, clock)
    key = ec.generate_private_key(ec.BrainpoolP256R1())
    signer = throwaway_signer(key, named("x"))
    stranger = throwaway_signer(other_rsa_key, world.ra.certificate.subject).certificate
    answers = {
        (reply.fail_info, reply.fail_info_text)
        for ra in (None, stranger)
        for content in (world.name(7), b"\x30\x03abc")
        for reply in (world.answered(world.sealed(signer, content, MessageType.GET_CERT, ra)),)
    }
    ((fail_info, text),) = answers
    assert fail_info == FailInfo.BAD_ALG
    assert "can only sign" in (text or "")


@pytest.mark.parametrize("message_type", [MessageType.GET_CERT, MessageType.GET_CRL])
def test_a_query_by_an_ec_key_is_answered_by_agreement(
    sqlite_store: Database, clock: ManualClock, message_type: MessageType
) -> None:
    world = AskedWorld(sqlite_store, clock)
    key = ec.generate_private_key(ec.SECP384R1())
    held = world.enrol(key, world.challenge(world.add_person()))
    signer = throwaway_signer(key, named("x"))
    reply = world.answered(world.sealed(signer, world.name(held.certificate.serial_number), message_type))
    assert sealed_by(reply) == [AGREEMENT]
    assert open_reply(reply.content, signer)
