"""Fixed parties and ready-made messages for the tests of the codec: the authority and the client of ``tests/vectors/scep``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from foundation import tlv
from scep import message, reply
from scep.algorithms import Suite
from scep.envelope import OpenedEnvelope
from scep.message import MessageType, ReceivedMessage
from scep.signing import Signer
from tests.vectors.scep.capture import HERE, certificate, key

RA = Signer.of(certificate("ra"), key("ra"))
CA = Signer.of(certificate("ca"), key("ca"))
CLIENT = Signer.of(certificate("client"), key("client"))
CAPTURED = tuple(sorted(path.stem for path in HERE.glob("*.der")))
NONCE = bytes(range(16))


def captured(name: str) -> bytes:
    """Return a captured message."""
    return (HERE / f"{name}.der").read_bytes()


def csr(*, challenge: str = "a-challenge") -> bytes:
    """Return a certificate request of the client's key."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ann")]))
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name("ann@example.com")]), critical=False)
        .add_attribute(x509.ObjectIdentifier("1.2.840.113549.1.9.7"), challenge.encode())
        .sign(key("client"), hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


CSR = csr()


def request(
    suite: Suite | None = None,
    *,
    signer: Signer = CLIENT,
    content: bytes = CSR,
    message_type: MessageType = MessageType.PKCS_REQ,
    transaction_id: str = "4F/+=x",
) -> bytes:
    """Return a request to the RA."""
    return message.build_request(
        signer,
        RA.certificate,
        content,
        message_type=message_type,
        transaction_id=transaction_id,
        sender_nonce=NONCE,
        suite=suite or Suite(),
    )


def success(
    signer: Signer,
    received: ReceivedMessage,
    opened: OpenedEnvelope,
    certificate: bytes,
    chain: Sequence[bytes] = (),
    *,
    challenge: str = "",
) -> bytes:
    """Return the CertRep that ``signer`` answers a request with, sealed for whoever sent it."""
    return reply.success(signer, received, opened, reply.recipient(received, opened, challenge), certificate, chain)


@dataclass(frozen=True)
class HandMadeCertificate:
    """A self-signed certificate that the library would not make."""

    der: bytes
    issuer_and_serial: bytes
    key: rsa.RSAPrivateKey


def windows_throwaway_certificate(*, serial_number: int) -> HandMadeCertificate:
    """Return what Windows signs its requests with: SHA-1, self-signed, a critical authorityKeyIdentifier.

    facts/scep.md section 3; the shape follows the template of step-ca's SCEP integration tests. A serial number may be negative.
    """
    private_key = key("client")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SCEP Protocol Certificate")]).public_bytes()
    sha1_with_rsa = tlv.sequence(tlv.object_identifier("1.2.840.113549.1.1.5"), tlv.null())
    identifier = x509.SubjectKeyIdentifier.from_public_key(private_key.public_key()).digest
    validity = tlv.sequence(
        *(tlv.tlv(tlv.UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode()) for moment in (datetime(2026, 1, 1, tzinfo=UTC),) * 2)
    )
    authority_key_identifier = tlv.sequence(
        tlv.object_identifier("2.5.29.35"),
        tlv.boolean(value=True),
        tlv.octet_string(tlv.sequence(tlv.tlv(0x80, identifier))),
    )
    spki = private_key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    tbs = tlv.sequence(
        tlv.explicit(0, tlv.integer(2)),
        tlv.integer(serial_number),
        sha1_with_rsa,
        name,
        validity,
        name,
        spki,
        tlv.explicit(3, tlv.sequence(authority_key_identifier)),
    )
    signature = private_key.sign(tbs, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - as Windows does
    return HandMadeCertificate(
        der=tlv.sequence(tbs, sha1_with_rsa, tlv.bit_string(signature)),
        issuer_and_serial=tlv.sequence(name, tlv.integer(serial_number)),
        key=private_key,
    )


def signer_of(made: HandMadeCertificate) -> Signer:
    """Return a signer with a certificate that ``Signer.of`` may not be able to read."""
    return Signer(CLIENT.certificate, made.key, made.der, made.issuer_and_serial)
