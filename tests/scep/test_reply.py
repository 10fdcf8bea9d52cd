"""CertRep: what the RA answers."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from foundation import tlv
from scep import message, reply
from scep.algorithms import Cipher, Digest, KeyTransport, Suite
from scep.client import named, throwaway_signer
from scep.cms import CONTENT_TYPE, MESSAGE_DIGEST, read_certificates, read_signed_data
from scep.envelope import Recipient, read_envelope
from scep.errors import AlgorithmRefused, Exchange, FailInfo
from scep.key_agreement import AgreementRecipient
from scep.key_transport import RsaRecipient
from scep.message import PkiStatus, ReceivedMessage, open_envelope, parse
from scep.password_recipient import PasswordRecipient
from scep.reply_envelope import open_reply
from tests.scep.messages import CA, CLIENT, NONCE, RA, request, signer_of, success, windows_throwaway_certificate
from tests.scep.surgery import walk

EXCHANGE = Exchange("4F/+=x", NONCE, Digest.SHA384)
PRINTABLE, OCTETS = b"\x13", b"\x04"


def attribute_tags(der: bytes) -> dict[str, bytes]:
    """Return the type of each signed attribute's value."""
    return {oid: values[0].tag_bytes for oid, values in read_signed_data(der).attributes.items()}


@pytest.mark.parametrize("digest", [Digest.SHA1, Digest.SHA256, Digest.SHA384, Digest.SHA512])
@pytest.mark.parametrize("cipher", [Cipher.DES3, Cipher.AES128, Cipher.AES192, Cipher.AES256])
@pytest.mark.parametrize("oaep", [None, Digest.SHA1, Digest.SHA256])
def test_success_repeats_what_the_request_was_made_with(digest: Digest, cipher: Cipher, oaep: Digest | None) -> None:
    suite = Suite(digest, cipher, KeyTransport(oaep=oaep, mgf=oaep or Digest.SHA1))
    received = parse(request(suite))
    answer = parse(success(RA, received, open_envelope(received, [RA]), CLIENT.certificate_der))
    opened = open_envelope(answer, [CLIENT])
    assert Suite(answer.digest, opened.cipher, opened.key_transport) == suite
    assert (answer.message_type, answer.pki_status) == (message.MessageType.CERT_REP, PkiStatus.SUCCESS)
    assert (answer.transaction_id, answer.recipient_nonce) == (received.transaction_id, NONCE)
    assert answer.signer.der == RA.certificate_der


def test_single_des_is_answered_with_triple_des() -> None:
    received = parse(request(Suite(Digest.SHA1, Cipher.DES)))
    answer = parse(success(RA, received, open_envelope(received, [RA]), CLIENT.certificate_der))
    assert open_envelope(answer, [CLIENT]).cipher is Cipher.DES3


def test_success_holds_the_leaf_alone_and_a_chain_only_when_told() -> None:
    received = parse(request())
    envelope = open_envelope(received, [RA])
    leaf = parse(success(RA, received, envelope, CLIENT.certificate_der))
    assert read_certificates(open_envelope(leaf, [CLIENT]).content) == (CLIENT.certificate_der,)
    chain = parse(success(RA, received, envelope, CLIENT.certificate_der, (CA.certificate_der,)))
    assert read_certificates(open_envelope(chain, [CLIENT]).content) == (CLIENT.certificate_der, CA.certificate_der)


def test_success_is_enveloped_to_a_signer_that_the_library_cannot_read() -> None:
    made = windows_throwaway_certificate(serial_number=-5)
    received = parse(request(signer=signer_of(made)))
    answer = success(RA, received, open_envelope(received, [RA]), CLIENT.certificate_der)
    assert made.issuer_and_serial in walk(parse(answer).content)
    assert read_certificates(open_envelope(parse(answer), [signer_of(made)]).content)


def signed_with(public_key: PublicKeyTypes, certificate: x509.Certificate | None = None) -> ReceivedMessage:
    """Return a request as if this key had signed it, with this certificate."""
    received = parse(request())
    return replace(received, signer=replace(received.signer, public_key=public_key, x509=certificate))


def certified(key: ec.EllipticCurvePrivateKey, *usages: str) -> x509.Certificate:
    """Return a self-signed certificate with these key usages."""
    signing = ("digital_signature", "content_commitment", "key_cert_sign", "crl_sign")
    flags = (*signing, "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")
    model = throwaway_signer(key, named("x")).certificate
    builder = x509.CertificateBuilder(model.issuer, model.subject, key.public_key(), model.serial_number)
    builder = builder.not_valid_before(model.not_valid_before_utc).not_valid_after(model.not_valid_after_utc)
    usage = x509.KeyUsage(**{flag: flag in usages for flag in flags})
    return builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())


def recipient_of(received: ReceivedMessage, challenge: str) -> Recipient:
    return reply.recipient(received, open_envelope(parse(request()), [RA]), challenge)


@pytest.mark.parametrize("challenge", ["", "swordfish"])
@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_a_key_that_can_agree_does_so_with_or_without_challenge(curve: type[ec.EllipticCurve], challenge: str) -> None:
    key = ec.generate_private_key(curve())
    signer = parse(request()).signer
    expected = AgreementRecipient(key.public_key(), tlv.sequence(signer.issuer_der, tlv.integer(signer.serial_number)))
    throwaway = throwaway_signer(key, named("x")).certificate
    for certificate in (None, throwaway, certified(key, "key_agreement"), certified(key, "digital_signature", "key_agreement")):
        assert recipient_of(signed_with(key.public_key(), certificate), challenge) == expected


def unable_to_agree() -> dict[str, ReceivedMessage]:
    """Return requests by keys that can only sign."""
    elliptic = ec.generate_private_key(ec.SECP256R1())
    return {
        "keyUsage": signed_with(elliptic.public_key(), certified(elliptic, "digital_signature")),
        "brainpool": signed_with(ec.generate_private_key(ec.BrainpoolP256R1()).public_key()),
        "Ed25519": signed_with(ed25519.Ed25519PrivateKey.generate().public_key()),
    }


@pytest.mark.parametrize("kind", ["keyUsage", "brainpool", "Ed25519"])
def test_a_key_that_can_only_sign_is_answered_by_its_challenge(kind: str) -> None:
    assert recipient_of(unable_to_agree()[kind], "swordfish") == PasswordRecipient("swordfish")


@pytest.mark.parametrize("kind", ["keyUsage", "brainpool", "Ed25519"])
def test_a_key_that_can_only_sign_is_refused_without_challenge(kind: str) -> None:
    received = unable_to_agree()[kind]
    with pytest.raises(AlgorithmRefused, match="can only sign, and the request has no challenge") as caught:
        recipient_of(received, "")
    assert caught.value.exchange == received.exchange


def test_an_rsa_key_is_never_answered_by_challenge() -> None:
    received = parse(request(Suite(key_transport=KeyTransport(oaep=Digest.SHA256))))
    opened = open_envelope(received, [RA])
    found = reply.recipient(received, opened, "swordfish")
    assert isinstance(found, RsaRecipient)
    assert found.transport == opened.key_transport
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - too small is the point
    tight = replace(opened, key_transport=KeyTransport(oaep=Digest.SHA512), cipher=Cipher.AES256)
    with pytest.raises(AlgorithmRefused, match="too small"):
        reply.recipient(signed_with(small.public_key()), tight, "swordfish")


@pytest.mark.parametrize("cipher", [Cipher.DES, Cipher.DES3, Cipher.AES128, Cipher.AES192, Cipher.AES256])
def test_answers_by_agreement_and_by_challenge_repeat_the_cipher(cipher: Cipher) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signer = throwaway_signer(key, named("x"))
    received = parse(request(Suite(cipher=cipher), signer=signer))
    opened = open_envelope(received, [RA])
    for recipient in (reply.recipient(received, opened, ""), PasswordRecipient("swordfish")):
        answer = parse(reply.success(RA, received, opened, recipient, CLIENT.certificate_der))
        assert read_envelope(answer.content).cipher is (Cipher.DES3 if cipher is Cipher.DES else cipher)
        assert read_certificates(open_reply(answer.content, signer, "swordfish")) == (CLIENT.certificate_der,)


@pytest.mark.parametrize("fail_info", list(FailInfo))
def test_failure_says_why_in_number_and_words(fail_info: FailInfo) -> None:
    answer = parse(reply.failure(RA, EXCHANGE, fail_info, "the name zoë@example.com is not authorised"))
    assert (answer.pki_status, answer.fail_info) == (PkiStatus.FAILURE, fail_info)
    assert answer.fail_info_text == "the name zoë@example.com is not authorised"
    assert (answer.transaction_id, answer.recipient_nonce, answer.digest) == ("4F/+=x", NONCE, Digest.SHA384)


def test_pending_says_so() -> None:
    answer = parse(reply.pending(RA, EXCHANGE))
    assert (answer.pki_status, answer.fail_info, answer.recipient_nonce) == (PkiStatus.PENDING, None, NONCE)


def test_a_request_without_a_nonce_gets_an_empty_one_back() -> None:
    assert parse(reply.pending(RA, Exchange("1", None, Digest.SHA256))).recipient_nonce == b""


def test_failure_and_pending_have_a_content_of_no_bytes_rather_than_none() -> None:
    """Else certmonger says "PKCS7 routines::no content"."""
    empty = bytes.fromhex("300f06092a864886f70d010701a0020400")
    for answer in (reply.pending(RA, EXCHANGE), reply.failure(RA, EXCHANGE, FailInfo.BAD_REQUEST, "no")):
        assert empty in walk(answer)


def test_every_attribute_is_there_in_the_type_that_jscep_casts_to() -> None:
    always = {
        CONTENT_TYPE: b"\x06",
        MESSAGE_DIGEST: OCTETS,
        message.MESSAGE_TYPE: PRINTABLE,
        message.PKI_STATUS: PRINTABLE,
        message.TRANSACTION_ID: PRINTABLE,
        message.SENDER_NONCE: OCTETS,
        message.RECIPIENT_NONCE: OCTETS,
    }
    received = parse(request())
    granted = success(RA, received, open_envelope(received, [RA]), CLIENT.certificate_der)
    assert attribute_tags(granted) == always
    assert attribute_tags(reply.pending(RA, EXCHANGE)) == always
    assert attribute_tags(reply.pending(RA, Exchange("1", None, Digest.SHA256))) == always
    failure = reply.failure(RA, EXCHANGE, FailInfo.BAD_ALG, "no")
    assert attribute_tags(failure) == {**always, message.FAIL_INFO: PRINTABLE, message.FAIL_INFO_TEXT: b"\x0c"}


def test_each_answer_has_a_nonce_of_its_own() -> None:
    nonces = {parse(reply.pending(RA, EXCHANGE)).sender_nonce for _ in range(3)}
    assert len(nonces) == 3
    assert all(nonce is not None and len(nonce) == 16 for nonce in nonces)


def test_the_signature_algorithm_is_plain_rsa_encryption() -> None:
    """Nothing else is known to strongSwan before 5.9.11."""
    assert read_signed_data(reply.pending(RA, EXCHANGE)).signature_oid == "1.2.840.113549.1.1.1"
