"""SCEP messages: what is read of them, what is refused, and what a refusal carries."""

import contextlib
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation import tlv
from scep import message
from scep.algorithms import PKCS1_V15, Cipher, Digest, KeyTransport, Suite
from scep.envelope import OpenedEnvelope
from scep.errors import AlgorithmRefused, BadSignature, EnvelopeUndecryptable, FailInfo, MalformedMessage, ScepRefusal
from scep.message import MessageType, check_algorithms, open_envelope, parse
from scep.signing import attribute, sign
from tests.foundation.ber_encoding import to_ber
from tests.fuzz.mutations import mutate
from tests.scep.messages import CAPTURED, CLIENT, CSR, NONCE, RA, captured, request, signer_of, windows_throwaway_certificate
from tests.scep.surgery import rebuilt

TYPE = attribute(message.MESSAGE_TYPE, tlv.printable_string("19"))
TRANSACTION = attribute(message.TRANSACTION_ID, tlv.printable_string("4F"))


def signed(*attributes: bytes, content: bytes = b"", digest: Digest = Digest.SHA256) -> bytes:
    return sign(CLIENT, content, attributes, digest)


@pytest.mark.parametrize("message_type", [MessageType.PKCS_REQ, MessageType.RENEWAL_REQ, MessageType.CERT_POLL])
def test_a_request_says_what_it_was_built_with(message_type: MessageType) -> None:
    received = parse(request(message_type=message_type))
    assert received.message_type == message_type
    assert received.transaction_id == "4F/+=x"
    assert received.sender_nonce == NONCE
    assert (received.recipient_nonce, received.pki_status, received.fail_info, received.challenge) == (None,) * 4
    assert received.signer.der == CLIENT.certificate_der
    assert open_envelope(received, [RA]).content == CSR


def test_a_message_of_an_unknown_type_keeps_its_number() -> None:
    assert parse(signed(TRANSACTION, attribute(message.MESSAGE_TYPE, tlv.printable_string("99")))).message_type == 99


def test_nonces_may_be_absent_or_short() -> None:
    assert parse(signed(TRANSACTION, TYPE)).sender_nonce is None
    short = attribute(message.SENDER_NONCE, tlv.octet_string(b"12345678"))
    assert parse(signed(TRANSACTION, TYPE, short)).sender_nonce == b"12345678"


def test_a_challenge_in_the_signed_attributes_is_read() -> None:
    """As macOS may send it."""
    challenge = attribute(message.CHALLENGE_PASSWORD, tlv.utf8_string("sesame"))
    assert parse(signed(TRANSACTION, TYPE, challenge)).challenge == "sesame"
    assert "sesame" not in repr(parse(signed(TRANSACTION, TYPE, challenge)))


@pytest.mark.parametrize("tag", [tlv.UTF8_STRING, tlv.IA5_STRING, tlv.PRINTABLE_STRING])
def test_a_transaction_id_of_any_string_type_is_read(tag: int) -> None:
    assert parse(signed(attribute(message.TRANSACTION_ID, tlv.tlv(tag, b"aGk+/w==")), TYPE)).transaction_id == "aGk+/w=="


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param([TYPE], id="no transactionID"),
        pytest.param([TYPE, attribute(message.TRANSACTION_ID, tlv.printable_string(""))], id="an empty one"),
        pytest.param([TYPE, attribute(message.TRANSACTION_ID, tlv.printable_string("x" * 256))], id="one of 256 characters"),
        pytest.param([TYPE, attribute(message.TRANSACTION_ID, tlv.utf8_string("Zoë"))], id="one outside ASCII"),
        pytest.param([TYPE, attribute(message.TRANSACTION_ID, tlv.printable_string("a\nb"))], id="one of two lines"),
        pytest.param([TYPE, attribute(message.TRANSACTION_ID, tlv.octet_string(b"4F"))], id="one that is no string"),
        pytest.param([TYPE, TRANSACTION, attribute(message.TRANSACTION_ID, tlv.printable_string("5F"))], id="two of them"),
    ],
)
def test_a_message_without_a_usable_transaction_id_cannot_be_answered(attributes: list[bytes]) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse(signed(*attributes))
    assert caught.value.exchange is None


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param([], id="no messageType"),
        pytest.param([attribute(message.MESSAGE_TYPE, tlv.printable_string("nineteen"))], id="a word"),
        pytest.param([attribute(message.MESSAGE_TYPE, tlv.printable_string("00019"))], id="five digits"),
        pytest.param([attribute(message.MESSAGE_TYPE, tlv.integer(19))], id="an INTEGER"),
        pytest.param([TYPE, attribute(message.PKI_STATUS, tlv.printable_string("-1"))], id="a negative status"),
        pytest.param([TYPE, attribute(message.RECIPIENT_NONCE, tlv.octet_string(bytes(65)))], id="a nonce of 65 bytes"),
    ],
)
def test_other_broken_attributes_are_refused_with_what_a_failure_needs(attributes: list[bytes]) -> None:
    nonce = attribute(message.SENDER_NONCE, tlv.octet_string(NONCE))
    with pytest.raises(MalformedMessage) as caught:
        parse(signed(TRANSACTION, nonce, *attributes, digest=Digest.SHA512))
    assert caught.value.exchange is not None
    assert (caught.value.exchange.transaction_id, caught.value.exchange.sender_nonce) == ("4F", NONCE)
    assert caught.value.exchange.digest is Digest.SHA512
    assert caught.value.fail_info is FailInfo.BAD_REQUEST


def test_a_forged_attribute_is_a_bad_signature() -> None:
    with pytest.raises(BadSignature) as caught:
        parse(request(transaction_id="0123456789").replace(b"0123456789", b"9876543210"))
    assert caught.value.fail_info is FailInfo.BAD_MESSAGE_CHECK
    assert caught.value.exchange is not None
    assert caught.value.exchange.transaction_id == "9876543210"


def test_md5_is_a_bad_algorithm_and_is_answered_with_sha256() -> None:
    sha256, md5 = tlv.object_identifier("2.16.840.1.101.3.4.2.1"), tlv.object_identifier("1.2.840.113549.2.5")
    with pytest.raises(AlgorithmRefused) as caught:
        parse(rebuilt(request(), tlv.sequence(sha256, tlv.null()), tlv.sequence(md5, tlv.null())))
    assert caught.value.fail_info is FailInfo.BAD_ALG
    assert caught.value.exchange is not None
    assert caught.value.exchange.digest is Digest.SHA256


def test_an_envelope_that_does_not_open_carries_the_exchange() -> None:
    received = parse(request())
    with pytest.raises(EnvelopeUndecryptable) as caught:
        open_envelope(received, [CLIENT])
    assert caught.value.exchange == received.exchange
    with pytest.raises(MalformedMessage) as malformed:
        open_envelope(replace(received, content=b""), [RA])
    assert malformed.value.exchange == received.exchange


@pytest.mark.parametrize("segment", [64, 1000])
def test_ber_as_bouncycastle_writes_it_is_read(segment: int) -> None:
    """An equivalent of what jscep sends: every layer of indefinite length, strings in segments (facts/scep.md section 6)."""
    der = request(Suite(digest=Digest.SHA512))
    inner = parse(der).content
    outer = sign(
        CLIENT,
        to_ber(inner, segment=segment, implicit=True),
        [TYPE, TRANSACTION, attribute(message.SENDER_NONCE, tlv.octet_string(NONCE))],
        Digest.SHA512,
    )
    received = parse(to_ber(outer, segment=segment, keep=[CLIENT.certificate_der]))
    assert received.digest is Digest.SHA512
    assert open_envelope(received, [RA]).content == CSR


@pytest.mark.parametrize("serial_number", [0x7A51, -0x7A51])
def test_windows_throwaway_signers_are_read(serial_number: int) -> None:
    made = windows_throwaway_certificate(serial_number=serial_number)
    suite = Suite(digest=Digest.SHA1, cipher=Cipher.DES3, key_transport=KeyTransport(oaep=Digest.SHA1))
    received = parse(request(suite, signer=signer_of(made)))
    assert received.signer.der == made.der
    assert open_envelope(received, [RA]).key_transport.oaep is Digest.SHA1


def opened(cipher: Cipher) -> OpenedEnvelope:
    return OpenedEnvelope(CSR, cipher, PKCS1_V15, RA)


_STRONG = (Cipher.AES128, Cipher.AES192, Cipher.AES256)


@pytest.mark.parametrize("digest", [Digest.SHA1, Digest.SHA256, Digest.SHA384, Digest.SHA512])
@pytest.mark.parametrize("cipher", list(Cipher))
def test_weak_algorithms_need_their_switch(digest: Digest, cipher: Cipher) -> None:
    received = replace(parse(request()), digest=digest)
    plain = digest is not Digest.SHA1 and cipher in _STRONG
    for legacy, museum, admitted in (
        (False, False, plain),
        (True, False, cipher is not Cipher.DES),
        (False, True, True),
        (True, True, True),
    ):
        if admitted:
            check_algorithms(received, opened(cipher), legacy=legacy, museum=museum)
            continue
        with pytest.raises(AlgorithmRefused) as caught:
            check_algorithms(received, opened(cipher), legacy=legacy, museum=museum)
        assert caught.value.exchange == received.exchange


def test_a_message_without_an_envelope_is_held_to_its_digest() -> None:
    with pytest.raises(AlgorithmRefused, match="SHA-1"):
        check_algorithms(replace(parse(request()), digest=Digest.SHA1), None, legacy=False, museum=False)


def test_an_empty_message_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        parse(b"")


@settings(max_examples=200)
@given(st.binary(max_size=600))
def test_arbitrary_bytes_raise_declared_errors_only(data: bytes) -> None:
    with pytest.raises(ScepRefusal):
        parse(data)


@settings(max_examples=400)
@given(st.integers(0, 2**32), st.sampled_from(CAPTURED))
def test_mutated_real_messages_raise_declared_errors_only(seed: int, name: str) -> None:
    with contextlib.suppress(ScepRefusal):
        parse(mutate(random.Random(seed), captured(name)))


@settings(max_examples=60)
@given(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255),
    st.sampled_from([Cipher.DES3, Cipher.AES128, Cipher.AES256]),
    st.sampled_from([Digest.SHA1, Digest.SHA256, Digest.SHA512]),
    st.binary(max_size=2000),
)
def test_whatever_is_built_is_read_back(transaction_id: str, cipher: Cipher, digest: Digest, content: bytes) -> None:
    inner = tlv.sequence(tlv.octet_string(content))
    received = parse(request(Suite(digest, cipher), content=inner, transaction_id=transaction_id))
    assert (received.transaction_id, received.digest) == (transaction_id, digest)
    assert open_envelope(received, [RA]).content == inner
