"""A peer that writes whatever a test wants, by hand: honest, odd or hostile."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID
from sqlalchemy import func, select
from sqlmodel import col

from audit.records import AuditEvent
from foundation import tlv
from scep import envelope, message
from scep.algorithms import Cipher, Digest, Suite
from scep.client import named, throwaway_signer
from scep.cms import read_certificates
from scep.key_transport import RsaRecipient
from scep.message import MessageType, PkiStatus, ReceivedMessage
from scep.records import Challenge
from scep.signing import Signer, attribute, sign
from tests.scep.world import World

STRONG = Suite(digest=Digest.SHA256, cipher=Cipher.AES128)
NONCE = bytes(range(16))


def certificate_request(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    challenge: str | None = None,
    *extensions: x509.ExtensionType,
    subject: x509.Name | None = None,
    more: Sequence[tuple[str, bytes]] = (),
) -> bytes:
    """Return a certificate request; ``more`` are attributes, each a dotted OID and an encoded value."""
    builder = x509.CertificateSigningRequestBuilder(subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    request = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    if not more:
        return request
    assert isinstance(key, rsa.RSAPrivateKey)
    return with_attributes(request, key, more)


def with_attributes(request: bytes, key: rsa.RSAPrivateKey, more: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a certificate request with further attributes, signed anew: the library would make some only once."""
    info, algorithm, _ = _members(request)
    *fields, attributes = _members(info)
    content = attributes[tlv.read(attributes).content :]
    content += b"".join(attribute(oid, value) for oid, value in more)
    return signed_request(tlv.sequence(*fields, tlv.explicit(0, content)), algorithm, key)


def signed_request(info: bytes, algorithm: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """Return a certificate request over ``info``."""
    return tlv.sequence(info, algorithm, tlv.bit_string(key.sign(info, padding.PKCS1v15(), hashes.SHA256())))


def _members(encoded: bytes) -> list[bytes]:
    return [encoded[child.start : child.end] for child in tlv.children(encoded, tlv.read(encoded))]


@dataclass(frozen=True)
class Peer:
    """Somebody with a key, in front of an endpoint."""

    world: World
    key: rsa.RSAPrivateKey
    signer: Signer
    endpoint: str = "default"

    @classmethod
    def stranger(cls, world: World, key: rsa.RSAPrivateKey, endpoint: str = "default") -> "Peer":
        """Return one who signs with a certificate made for the occasion."""
        return cls(world, key, throwaway_signer(key, named("SCEP SIGNER")), endpoint)

    def signing_as(self, signer: Signer) -> "Peer":
        """Return the same one, who signs with something else."""
        return replace(self, signer=signer)

    def at(self, endpoint: str) -> "Peer":
        """Return the same one, at another endpoint."""
        return replace(self, endpoint=endpoint)

    def sealed(self, content: bytes, suite: Suite = STRONG, ra: Signer | None = None) -> bytes:
        """Return ``content`` enveloped to the RA."""
        recipient = ra or self.world.ra
        public_key = recipient.certificate.public_key()
        assert isinstance(public_key, rsa.RSAPublicKey)
        return envelope.seal(content, RsaRecipient(public_key, recipient.issuer_and_serial, suite.key_transport), suite.cipher)

    def signed(
        self,
        sealed: bytes,
        *,
        message_type: int = MessageType.PKCS_REQ,
        transaction_id: str = "1",
        nonce: bytes | None = NONCE,
        digest: Digest = Digest.SHA256,
        more: Sequence[bytes] = (),
    ) -> bytes:
        """Return a pkiMessage around an envelope."""
        attributes = [
            attribute(message.TRANSACTION_ID, tlv.printable_string(transaction_id)),
            attribute(message.MESSAGE_TYPE, tlv.printable_string(str(int(message_type)))),
            *([] if nonce is None else [attribute(message.SENDER_NONCE, tlv.octet_string(nonce))]),
            *more,
        ]
        return sign(self.signer, sealed, attributes, digest)

    def post(self, der: bytes) -> bytes:
        """Send a message; return what comes back."""
        return self.world.responder.pki_operation(self.endpoint, der, origin="192.0.2.1")

    def send(self, der: bytes) -> ReceivedMessage:
        """Send a message; return the answer, its signature verified."""
        answer = message.parse(self.post(der))
        assert answer.message_type == MessageType.CERT_REP
        assert answer.signer.der == self.world.ra.certificate_der
        return answer

    def ask(
        self,
        content: bytes,
        *,
        message_type: int = MessageType.PKCS_REQ,
        transaction_id: str = "1",
        nonce: bytes | None = NONCE,
        suite: Suite = STRONG,
        more: Sequence[bytes] = (),
    ) -> ReceivedMessage:
        """Seal, sign and send."""
        return self.send(
            self.signed(
                self.sealed(content, suite),
                message_type=message_type,
                transaction_id=transaction_id,
                nonce=nonce,
                digest=suite.digest,
                more=more,
            )
        )

    def granted(self, answer: ReceivedMessage) -> x509.Certificate:
        """Return the certificate in an answer that this peer can open."""
        assert answer.pki_status == PkiStatus.SUCCESS, answer.fail_info_text
        (der,) = read_certificates(message.open_envelope(answer, [self.signer]).content)
        return x509.load_der_x509_certificate(der)

    def holding(self, certificate: x509.Certificate) -> "Peer":
        """Return the same one, who signs with a certificate for its key."""
        return self.signing_as(Signer.of(certificate, self.key))


def said(answer: ReceivedMessage) -> tuple[int | None, int | None, str | None]:
    """Return what a refusal says."""
    return answer.pki_status, answer.fail_info, answer.fail_info_text


def trace(world: World) -> tuple[object, ...]:
    """Return everything a message could leave behind."""
    with world.transactions.reading() as session:
        events = session.execute(select(func.count()).select_from(AuditEvent)).scalar_one()
        redeemed = session.execute(select(func.count(col(Challenge.redeemed_at)))).scalar_one()
    return (*world.counts().values(), events, redeemed)
