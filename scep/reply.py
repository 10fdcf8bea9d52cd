"""CertRep: the answers of the RA (RFC 8894 section 3.3.2, facts/scep.md section 3).

Every reply has every attribute its kind asks for, in exactly the types of the RFC (jscep casts), and repeats what the request was
made with: digest, cipher and key transport. Who signed with a key that is not RSA gets it by key agreement or by password.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from foundation import tlv
from scep.algorithms import Cipher
from scep.certificate import CarriedCertificate
from scep.envelope import OpenedEnvelope, Recipient, seal
from scep.errors import AlgorithmRefused, Exchange, FailInfo
from scep.key_agreement import AgreementRecipient, allows_agreement, can_agree
from scep.key_transport import RsaRecipient
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
from scep.password_recipient import PasswordRecipient
from scep.signing import Signer, attribute, certificates_only, sign

_CERT_REP: Final = attribute(MESSAGE_TYPE, tlv.printable_string(str(int(MessageType.CERT_REP))))
_STATUS: Final = {status: attribute(PKI_STATUS, tlv.printable_string(str(int(status)))) for status in PkiStatus}
_FAIL_INFO: Final = {fail_info: attribute(FAIL_INFO, tlv.printable_string(str(int(fail_info)))) for fail_info in FailInfo}


def recipient(message: ReceivedMessage, envelope: OpenedEnvelope, challenge: str) -> Recipient:
    """Decide how the answer to ``message`` can be enveloped to its signer; ``challenge`` is what it came with, or empty.

    A challenge takes the place of a key only for the key to be certified; the caller leaves it out elsewhere.
    To an RSA key it is as the request was to ours. To an EC key it is by key agreement, where the signer's certificate does not
    keep the key from it; else by password, for which RFC 8894 section 3.1 takes the challenge.

    Ask before anything is issued: a certificate that cannot be delivered would have spent its challenge for nothing.

    Raises:
        AlgorithmRefused: an RSA key too small for its key transport, or a key that can only sign, without a challenge;
            ``exchange`` is set.
    """
    signer = message.signer
    issuer_and_serial = tlv.sequence(signer.issuer_der, tlv.integer(signer.serial_number))
    public_key = signer.public_key
    if isinstance(public_key, rsa.RSAPublicKey):
        by_rsa = RsaRecipient(public_key, issuer_and_serial, envelope.key_transport)
        if not by_rsa.can_carry(_cipher(envelope)):
            raise AlgorithmRefused("the key that signed the request is too small for its own key transport", message.exchange)
        return by_rsa
    if isinstance(public_key, ec.EllipticCurvePublicKey) and can_agree(public_key) and allows_agreement(signer.x509):
        return AgreementRecipient(public_key, issuer_and_serial)
    if challenge:
        return PasswordRecipient(challenge)
    raise AlgorithmRefused(
        "the answer cannot be enveloped: the key that signed the request can only sign, and the request has no challenge that "
        "could take its place",
        message.exchange,
    )


def may_open_by_challenge(signer: CarriedCertificate, certified: PublicKeyTypes, issuers: Iterable[bytes]) -> bool:
    """Say whether ``signer`` may be answered under the challenge: it has the key to be certified, or is issued by ``issuers``.

    Somebody who merely copied the envelope could sign it with a key that can only sign, and then try passwords on the answer, at
    home and a million a second.
    """
    if signer.public_key == certified:
        return True
    if isinstance(signer.public_key, rsa.RSAPublicKey) or signer.x509 is None:
        return False
    return any(_issued_by(signer.x509, issuer) for issuer in issuers)


def _issued_by(certificate: x509.Certificate, issuer: bytes) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_der_x509_certificate(issuer))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def success(
    ra: Signer,
    message: ReceivedMessage,
    envelope: OpenedEnvelope,
    recipient: Recipient,
    certificate: bytes,
    chain: Sequence[bytes] = (),
) -> bytes:
    """Return a CertRep with the issued ``certificate`` (DER), enveloped to the signer of this very request.

    Each attempt may be signed with another key (Windows makes one per attempt), so a reply is never kept for a retry. ``chain``
    stays empty by default: iOS pairs its key with whichever certificate comes first.
    """
    return found(ra, message, envelope, recipient, certificates_only((certificate, *chain)))


def found(ra: Signer, message: ReceivedMessage, envelope: OpenedEnvelope, recipient: Recipient, content: bytes) -> bytes:
    """Return a CertRep SUCCESS with ``content``, a degenerate SignedData of certificates or CRLs, enveloped to ``recipient``."""
    return _sign(ra, message.exchange, seal(content, recipient, _cipher(envelope)), PkiStatus.SUCCESS)


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
