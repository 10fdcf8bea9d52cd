"""CertRep: what the RA answers."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from scep import message, reply
from scep.algorithms import Cipher, Digest, KeyTransport, Suite
from scep.cms import CONTENT_TYPE, MESSAGE_DIGEST, read_certificates, read_signed_data
from scep.errors import AlgorithmRefused, Exchange, FailInfo
from scep.message import PkiStatus, open_envelope, parse
from tests.scep.messages import CA, CLIENT, NONCE, RA, request, signer_of, windows_throwaway_certificate
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
    answer = parse(reply.success(RA, received, open_envelope(received, [RA]), CLIENT.certificate_der))
    opened = open_envelope(answer, [CLIENT])
    assert Suite(answer.digest, opened.cipher, opened.key_transport) == suite
    assert (answer.message_type, answer.pki_status) == (message.MessageType.CERT_REP, PkiStatus.SUCCESS)
    assert (answer.transaction_id, answer.recipient_nonce) == (received.transaction_id, NONCE)
    assert answer.signer.der == RA.certificate_der


def test_single_des_is_answered_with_triple_des() -> None:
    received = parse(request(Suite(Digest.SHA1, Cipher.DES)))
    answer = parse(reply.success(RA, received, open_envelope(received, [RA]), CLIENT.certificate_der))
    assert open_envelope(answer, [CLIENT]).cipher is Cipher.DES3


def test_success_holds_the_leaf_alone_and_a_chain_only_when_told() -> None:
    received = parse(request())
    envelope = open_envelope(received, [RA])
    leaf = parse(reply.success(RA, received, envelope, CLIENT.certificate_der))
    assert read_certificates(open_envelope(leaf, [CLIENT]).content) == (CLIENT.certificate_der,)
    chain = parse(reply.success(RA, received, envelope, CLIENT.certificate_der, (CA.certificate_der,)))
    assert read_certificates(open_envelope(chain, [CLIENT]).content) == (CLIENT.certificate_der, CA.certificate_der)


def test_success_is_enveloped_to_a_signer_that_the_library_cannot_read() -> None:
    made = windows_throwaway_certificate(serial_number=-5)
    received = parse(request(signer=signer_of(made)))
    answer = reply.success(RA, received, open_envelope(received, [RA]), CLIENT.certificate_der)
    assert made.issuer_and_serial in walk(parse(answer).content)
    assert read_certificates(open_envelope(parse(answer), [signer_of(made)]).content)


def test_a_request_signed_with_an_ec_key_cannot_be_answered_with_success() -> None:
    received = parse(request())
    elliptic = ec.generate_private_key(ec.SECP256R1()).public_key()
    changed = replace(received, signer=replace(received.signer, public_key=elliptic))
    with pytest.raises(AlgorithmRefused) as caught:
        reply.success(RA, changed, open_envelope(received, [RA]), CLIENT.certificate_der)
    assert caught.value.exchange == changed.exchange


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
    success = reply.success(RA, received, open_envelope(received, [RA]), CLIENT.certificate_der)
    assert attribute_tags(success) == always
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
