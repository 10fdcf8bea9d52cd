"""SCEP messages: bytes in, frozen values out, and back (RFC 8894 section 3).

Pure: what a message may do is decided elsewhere. Tolerance is for what real clients send (facts/scep.md sections 3 and 6).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from ca.csr import MAX_CHALLENGE
from foundation import tlv
from scep import envelope as envelopes
from scep.algorithms import DIGEST_OIDS, Cipher, Digest, Suite
from scep.certificate import CarriedCertificate
from scep.cms import SignedMessage, read_signed_data
from scep.envelope import OpenedEnvelope
from scep.errors import AlgorithmRefused, Exchange, MalformedMessage, ScepRefusal
from scep.key_transport import RsaRecipient
from scep.signing import Signer, attribute, sign

_VERISIGN_ATTRIBUTES: Final = "2.16.840.1.113733.1.9."
MESSAGE_TYPE: Final = _VERISIGN_ATTRIBUTES + "2"
PKI_STATUS: Final = _VERISIGN_ATTRIBUTES + "3"
FAIL_INFO: Final = _VERISIGN_ATTRIBUTES + "4"
SENDER_NONCE: Final = _VERISIGN_ATTRIBUTES + "5"
RECIPIENT_NONCE: Final = _VERISIGN_ATTRIBUTES + "6"
TRANSACTION_ID: Final = _VERISIGN_ATTRIBUTES + "7"
FAIL_INFO_TEXT: Final = "1.3.6.1.5.5.7.24.1"
CHALLENGE_PASSWORD: Final = "1.2.840.113549.1.9.7"  # noqa: S105 - an OID

_MAX_TRANSACTION_ID = 255
_MAX_NONCE = 64
_MAX_TEXT = 1024
_MAX_DIGITS = 4
NONCE_SIZE: Final = 16


class MessageType(IntEnum):
    """What a message is. 18 stood in drafts only and is nobody's; 20 was called GetCertInitial there."""

    CERT_REP = 3
    RENEWAL_REQ = 17
    UPDATE_REQ = 18
    PKCS_REQ = 19
    CERT_POLL = 20
    GET_CERT = 21
    GET_CRL = 22


class PkiStatus(IntEnum):
    """What a CertRep says."""

    SUCCESS = 0
    FAILURE = 2
    PENDING = 3


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message whose signature was verified with the key of the certificate it carries, and nothing more.

    ``message_type`` and ``fail_info`` keep numbers unknown to us. ``challenge`` is that of the signed attributes, where macOS may
    put it; the usual one is in the request inside the envelope. ``content`` is the envelope, still closed, or empty.
    """

    message_type: int
    transaction_id: str
    sender_nonce: bytes | None
    recipient_nonce: bytes | None
    pki_status: int | None
    fail_info: int | None
    fail_info_text: str | None
    challenge: str | None = field(repr=False)
    signer: CarriedCertificate
    digest: Digest
    signature_oid: str
    content: bytes

    @property
    def exchange(self) -> Exchange:
        """What the reply repeats."""
        return Exchange(self.transaction_id, self.sender_nonce, self.digest)


def parse(der: bytes) -> ReceivedMessage:
    """Read a pkiMessage and verify its signature.

    Raises:
        MalformedMessage: it is no pkiMessage.
        BadSignature: digest or signature do not hold.
        AlgorithmRefused: it is signed with what cannot be verified here (MD5, for one).
        All three carry ``exchange`` once the transactionID was read.
    """
    signed = read_signed_data(der)
    exchange = _exchange(signed)
    try:
        signer = signed.signer()
        digest = signed.verify(signer.public_key)
        return ReceivedMessage(
            message_type=_required_number(signed, MESSAGE_TYPE),
            transaction_id=exchange.transaction_id,
            sender_nonce=exchange.sender_nonce,
            recipient_nonce=_nonce(signed, RECIPIENT_NONCE),
            pki_status=_number(signed, PKI_STATUS),
            fail_info=_number(signed, FAIL_INFO),
            fail_info_text=_text(signed, FAIL_INFO_TEXT, _MAX_TEXT),
            challenge=_text(signed, CHALLENGE_PASSWORD, MAX_CHALLENGE) or None,
            signer=signer,
            digest=digest,
            signature_oid=signed.signature_oid,
            content=signed.content,
        )
    except ScepRefusal as refusal:
        refusal.exchange = exchange
        raise


def open_envelope(message: ReceivedMessage, keys: Sequence[Signer]) -> OpenedEnvelope:
    """Open the envelope of ``message`` with one of ``keys``: those of the RA, or the requester's own for a reply.

    Raises:
        MalformedMessage: there is no envelope.
        AlgorithmRefused: it is sealed with what is not implemented.
        EnvelopeUndecryptable: it does not open.
        All three carry ``exchange``.
    """
    try:
        return envelopes.open_envelope(message.content, keys)
    except ScepRefusal as refusal:
        refusal.exchange = message.exchange
        raise


def recognise_envelope(message: ReceivedMessage, keys: Sequence[Signer]) -> OpenedEnvelope:
    """Return how the envelope of ``message`` is sealed and which of ``keys`` it is for, still closed.

    Raises:
        MalformedMessage, AlgorithmRefused, EnvelopeUndecryptable: as ``open_envelope``, for what shows outside.
    """
    try:
        return envelopes.recognise_envelope(message.content, keys)
    except ScepRefusal as refusal:
        refusal.exchange = message.exchange
        raise


def addressee(message: ReceivedMessage, keys: Sequence[Signer]) -> Signer:
    """Return which of ``keys`` the envelope of ``message`` is for by what shows outside; the first where that does not say."""
    try:
        return envelopes.recognise_envelope(message.content, keys).recipient
    except Exception:  # noqa: BLE001 - an answer is owed, a defect of ours in reading envelopes included
        return keys[0]


def check_algorithms(message: ReceivedMessage, envelope: OpenedEnvelope | None, *, legacy: bool, museum: bool) -> None:
    """Hold the algorithms of a message against the switches of its endpoint.

    ``legacy`` admits SHA-1 and triple DES, ``museum`` these and single DES. MD5 never gets this far.

    Raises:
        AlgorithmRefused: one of them is not admitted; ``exchange`` is set.
    """
    if message.digest is Digest.SHA1 and not (legacy or museum):
        raise AlgorithmRefused("SHA-1 is not accepted at this endpoint", message.exchange)
    if envelope is None:
        return
    if envelope.cipher is Cipher.DES and not museum:
        raise AlgorithmRefused("single DES is not accepted at this endpoint", message.exchange)
    if envelope.cipher is Cipher.DES3 and not (legacy or museum):
        raise AlgorithmRefused("triple DES is not accepted at this endpoint", message.exchange)


def build_request(
    signer: Signer,
    recipient: x509.Certificate,
    content: bytes,
    *,
    message_type: MessageType,
    transaction_id: str,
    sender_nonce: bytes,
    suite: Suite,
) -> bytes:
    """Return a signed request with ``content`` enveloped to ``recipient``, the RA.

    ``content`` is what the message type asks for: a CSR for PKCSReq and RenewalReq.

    Raises:
        AlgorithmRefused: the recipient's key is not RSA, or too small.
    """
    public_key = recipient.public_key()
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise AlgorithmRefused("the recipient has no RSA key")
    issuer_and_serial = tlv.sequence(recipient.issuer.public_bytes(), tlv.integer(recipient.serial_number))
    sealed = envelopes.seal(content, RsaRecipient(public_key, issuer_and_serial, suite.key_transport), suite.cipher)
    attributes = (
        attribute(TRANSACTION_ID, tlv.printable_string(transaction_id)),
        attribute(MESSAGE_TYPE, tlv.printable_string(str(int(message_type)))),
        attribute(SENDER_NONCE, tlv.octet_string(sender_nonce)),
    )
    return sign(signer, sealed, attributes, suite.digest)


def new_nonce() -> bytes:
    """Return a fresh nonce."""
    return secrets.token_bytes(NONCE_SIZE)


# --- signed attributes ---


def _exchange(signed: SignedMessage) -> Exchange:
    transaction_id = _text(signed, TRANSACTION_ID, _MAX_TRANSACTION_ID)
    if not transaction_id or not (transaction_id.isascii() and transaction_id.isprintable()):
        raise MalformedMessage("a pkiMessage without a transactionID in printable characters")
    digest = DIGEST_OIDS.get(signed.digest_oid, Digest.SHA256)
    return Exchange(
        transaction_id=transaction_id,
        sender_nonce=_nonce(signed, SENDER_NONCE),
        digest=Digest.SHA256 if digest is Digest.MD5 else digest,
    )


def _nonce(signed: SignedMessage, oid: str) -> bytes | None:
    """Return a nonce, None when absent: clients are seen with none, with 8 bytes and with 16."""
    nonce = signed.octets(oid)
    if nonce is not None and len(nonce) > _MAX_NONCE:
        raise MalformedMessage("a nonce above 64 bytes")
    return nonce


def _text(signed: SignedMessage, oid: str, limit: int) -> str | None:
    """Return the text of an attribute, of whatever string type: some clients write UTF8String for PrintableString."""
    value = signed.value(oid)
    if value is None:
        return None
    if len(value.data) > 4 * limit:
        raise MalformedMessage("a signed attribute is too long")
    try:
        text = tlv.text(value.tag_bytes[0], bytes(value.data))
    except tlv.MalformedTlv as error:
        raise MalformedMessage("a signed attribute of the wrong type") from error
    if len(text) > limit:
        raise MalformedMessage("a signed attribute is too long")
    return text


def _number(signed: SignedMessage, oid: str) -> int | None:
    """Return the number that an attribute spells in decimal digits."""
    text = _text(signed, oid, _MAX_DIGITS)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise MalformedMessage("a signed attribute that should be a number is none")
    return int(text)


def _required_number(signed: SignedMessage, oid: str) -> int:
    number = _number(signed, oid)
    if number is None:
        raise MalformedMessage("a pkiMessage without a messageType")
    return number
