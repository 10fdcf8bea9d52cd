"""CertRep: the answers of the RA (RFC 8894 section 3.3.2, facts/scep.md section 3).

Every reply has every attribute its kind asks for, in exactly the types of the RFC (jscep casts), and repeats what the request was
made with: digest, cipher and key transport.
"""

from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from foundation import tlv
from scep.algorithms import Cipher
from scep.envelope import OpenedEnvelope, seal
from scep.errors import AlgorithmRefused, Exchange, FailInfo
from scep.message import (
    FAIL_INFO,
    FAIL_INFO_TEXT,
    MESSAGE_TYPE,
    PKI_STATUS,
    RECIPIENT_NONCE,
    SENDER_NONCE,
    TRANSACTION_ID,
    MessageType,
    PkiStatus,
    ReceivedMessage,
    new_nonce,
)
from scep.signing import Signer, attribute, certificates_only, sign

_CERT_REP: Final = attribute(MESSAGE_TYPE, tlv.printable_string(str(int(MessageType.CERT_REP))))
_STATUS: Final = {status: attribute(PKI_STATUS, tlv.printable_string(str(int(status)))) for status in PkiStatus}
_FAIL_INFO: Final = {fail_info: attribute(FAIL_INFO, tlv.printable_string(str(int(fail_info)))) for fail_info in FailInfo}


def success(
    ra: Signer,
    message: ReceivedMessage,
    envelope: OpenedEnvelope,
    certificate: bytes,
    chain: Sequence[bytes] = (),
) -> bytes:
    """Return a CertRep with the issued ``certificate`` (DER), enveloped to the signer of this very request.

    Each attempt may be signed with another key (Windows makes one per attempt), so a reply is never kept for a retry. ``chain``
    stays empty by default: iOS pairs its key with whichever certificate comes first.

    Raises:
        AlgorithmRefused: the signer has no RSA key to envelope to, or one too small; ``exchange`` is set.
    """
    public_key = recipient_key(message, envelope)
    signer = message.signer
    issuer_and_serial = tlv.sequence(signer.issuer_der, tlv.integer(signer.serial_number))
    issued = certificates_only((certificate, *chain))
    sealed = seal(issued, public_key, issuer_and_serial, _cipher(envelope), envelope.key_transport)
    return _sign(ra, message.exchange, sealed, PkiStatus.SUCCESS)


def recipient_key(message: ReceivedMessage, envelope: OpenedEnvelope) -> rsa.RSAPublicKey:
    """Return the key that an answer to ``message`` is enveloped to: its signer's.

    Ask before anything is issued: a certificate that cannot be delivered would have spent its challenge for nothing.

    Raises:
        AlgorithmRefused: it is no RSA key, or too small for the key transport of the request; ``exchange`` is set.
    """
    public_key = message.signer.public_key
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise AlgorithmRefused(
            "the request must be signed with an RSA key, to which the answer can be enveloped", message.exchange
        )
    if public_key.key_size // 8 < _cipher(envelope).key_size + envelope.key_transport.overhead:
        raise AlgorithmRefused("the key that signed the request is too small for its own key transport", message.exchange)
    return public_key


def _cipher(envelope: OpenedEnvelope) -> Cipher:
    # Single DES is answered with triple DES: sscep on OpenSSL 3 cannot read the former; micromdm, which sends it, reads both.
    return Cipher.DES3 if envelope.cipher is Cipher.DES else envelope.cipher


def failure(ra: Signer, exchange: Exchange, fail_info: FailInfo, text: str) -> bytes:
    """Return a CertRep FAILURE with ``fail_info`` and ``text`` as failInfoText, which the peer gets to read."""
    return _sign(
        ra,
        exchange,
        b"",
        PkiStatus.FAILURE,
        _FAIL_INFO[fail_info],
        attribute(FAIL_INFO_TEXT, tlv.utf8_string(text)),
    )


def pending(ra: Signer, exchange: Exchange) -> bytes:
    """Return a CertRep PENDING: the request waits for a decision, the client is to poll."""
    return _sign(ra, exchange, b"", PkiStatus.PENDING)


def _sign(ra: Signer, exchange: Exchange, content: bytes, status: PkiStatus, *more: bytes) -> bytes:
    attributes = (
        _CERT_REP,
        _STATUS[status],
        attribute(TRANSACTION_ID, tlv.printable_string(exchange.transaction_id)),
        attribute(SENDER_NONCE, tlv.octet_string(new_nonce())),
        # A request without a nonce gets an empty one back: some clients read the attribute without asking whether it is there.
        attribute(RECIPIENT_NONCE, tlv.octet_string(exchange.sender_nonce or b"")),
        *more,
    )
    return sign(ra, content, attributes, exchange.digest)
