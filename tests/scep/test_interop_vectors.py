"""Messages captured from real clients (``tests/vectors/scep/README.md``): each is read, verified, opened and answered."""

from dataclasses import dataclass

import pytest
from cryptography import x509

from ca.csr import parse_csr
from foundation.ber import normalise
from scep.algorithms import PKCS1_V15, Cipher, Digest
from scep.cms import read_certificates
from scep.decoding import MAX_SIZE
from scep.message import MessageType, open_envelope, parse
from tests.foundation.ber_encoding import to_ber
from tests.scep.messages import CAPTURED, CLIENT, RA, captured, success


@dataclass(frozen=True)
class Expected:
    """What is in a captured message."""

    message_type: MessageType
    digest: Digest
    cipher: Cipher
    signature_oid: str
    common_name: str
    emails: tuple[str, ...]
    challenge: str | None


_RSA = "1.2.840.113549.1.1.1"
_SHA1_RSA, _SHA256_RSA, _SHA512_RSA = (f"1.2.840.113549.1.1.{number}" for number in (5, 11, 13))
_ENROL, _RENEW = MessageType.PKCS_REQ, MessageType.RENEWAL_REQ
_ANN = ("ann@example.com",)
_SWAN, _MONGER, _MDM = "strongswan-challenge", "certmonger-challenge", "micromdm-challenge"
EXPECTED = {
    "strongswan-aes": Expected(_ENROL, Digest.SHA256, Cipher.AES128, _SHA256_RSA, "Ann", _ANN, _SWAN),
    "strongswan-3des": Expected(_ENROL, Digest.SHA256, Cipher.DES3, _SHA256_RSA, "Ann", _ANN, _SWAN),
    "strongswan-sha512": Expected(_ENROL, Digest.SHA512, Cipher.AES128, _SHA512_RSA, "Ann", _ANN, _SWAN),
    "strongswan-renewal": Expected(_RENEW, Digest.SHA256, Cipher.AES128, _SHA256_RSA, "Ann", _ANN, None),
    "micromdm": Expected(_ENROL, Digest.SHA1, Cipher.DES, _SHA1_RSA, "ann", (), _MDM),
    "micromdm-renewal": Expected(_RENEW, Digest.SHA1, Cipher.DES, _SHA1_RSA, "ann", (), _MDM),
    "certmonger": Expected(_ENROL, Digest.SHA256, Cipher.AES256, _RSA, "ann@example.com", _ANN, _MONGER),
    "certmonger-3des": Expected(_ENROL, Digest.SHA256, Cipher.DES3, _RSA, "ann@example.com", _ANN, _MONGER),
}


def test_every_captured_message_is_described_here() -> None:
    assert set(CAPTURED) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_real_clients_send_is_read_opened_and_understood(name: str) -> None:
    message = parse(captured(name))
    envelope = open_envelope(message, [RA])
    request = parse_csr(envelope.content)
    assert envelope.key_transport == PKCS1_V15
    assert message.sender_nonce is not None
    assert len(message.sender_nonce) == 16
    assert EXPECTED[name] == Expected(
        MessageType(message.message_type),
        message.digest,
        envelope.cipher,
        message.signature_oid,
        request.requested.common_name,
        request.requested.emails,
        request.challenge,
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_the_answer_opens_with_the_key_of_the_client(name: str) -> None:
    message = parse(captured(name))
    answer = parse(success(RA, message, open_envelope(message, [RA]), CLIENT.certificate_der))
    assert read_certificates(open_envelope(answer, [CLIENT]).content) == (CLIENT.certificate_der,)
    assert answer.recipient_nonce == message.sender_nonce


@pytest.mark.parametrize("name", EXPECTED)
def test_ber_of_a_real_message_comes_back_as_that_message(name: str) -> None:
    assert normalise(to_ber(captured(name)), max_size=MAX_SIZE) == captured(name)


@pytest.mark.parametrize("name", ["strongswan-aes", "strongswan-3des", "strongswan-sha512", "certmonger", "certmonger-3des"])
def test_the_tolerant_reading_is_needed(name: str) -> None:
    """Should the library come to read these, the strict path could take over."""
    with pytest.raises(ValueError, match=r"InvalidSetOrdering|PrintableString"):
        x509.load_der_x509_csr(open_envelope(parse(captured(name)), [RA]).content).subject  # noqa: B018 - names may be read late


@pytest.mark.parametrize("name", ["certmonger", "certmonger-3des"])
def test_a_signer_that_the_library_cannot_read_is_still_a_signer(name: str) -> None:
    """The self-signed certificate that certmonger signs with has ``@`` in a PrintableString, too."""
    assert parse(captured(name)).signer.x509 is None
