"""Build the SCEP messages that no client at hand sends: ``python -m tests.vectors.scep.build [name …]``.

Each is a message as some client was reported to send it (facts/scep.md section 3), made from the fixed keys beside this file. RSA
signatures (PKCS #1 v1.5), AES keys, IVs and nonces are the same each time; what the algorithm itself makes random (the padding of
a wrapped key, an ECDSA signature) is not, so a file is built when it is missing or named, and kept otherwise. What a reader is to
find in each stands in ``built.json`` beside them.
"""

import base64
import hashlib
import sys
from collections.abc import Callable
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher as CipherContext
from cryptography.hazmat.primitives.ciphers import modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.x509.oid import AttributeOID, NameOID

from foundation import tlv
from scep import message
from scep.algorithms import CIPHER_OID_BYTES, PKCS1_V15, Cipher, Digest, KeyTransport, key_transport_identifier
from scep.certificate import subject_key_identifier
from scep.message import MessageType
from scep.signing import Signer, attribute, sign
from tests.foundation.ber_encoding import to_ber
from tests.vectors.scep.capture import HERE, certificate, key

NONCE = bytes(range(16))
TRANSACTION_ID = "0123456789abcdef0123456789abcdef"
_EC_SCALAR = int.from_bytes(hashlib.sha256(b"the EC key of the vectors").digest(), "big") >> 1
_ENVELOPED_DATA, _DATA = tlv.object_identifier("1.2.840.113549.1.7.3"), tlv.object_identifier("1.2.840.113549.1.7.1")
# A client renews to the key of the RA, as there is no third: nothing is ever issued for it.
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def ec_key() -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key of the client with an EC key."""
    return ec.derive_private_key(_EC_SCALAR, ec.SECP256R1())


def request(of: Key, challenge: str | None = "built-challenge") -> bytes:
    """Return a certificate request of a key, for ``ann@example.com``."""
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ann")]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name("ann@example.com")]), critical=False)
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(of, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def sealed(
    content: bytes, *, cipher: Cipher = Cipher.AES256, transport: KeyTransport = PKCS1_V15, by_key_identifier: bool = False
) -> bytes:
    """Return ``content`` enveloped to the RA, under a content key and an IV that are always the same."""
    seed = hashlib.sha512(b"vectors" + cipher.encode()).digest()
    content_key, iv = seed[: cipher.key_size], seed[32 : 32 + cipher.block_size]
    padder = PKCS7(cipher.block_size * 8).padder()
    encryptor = CipherContext(cipher.keyed(content_key), modes.CBC(iv)).encryptor()
    encrypted = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    ra = Signer.of(certificate("ra"), key("ra"))
    named = tlv.tlv(0x80, subject_key_identifier(ra.certificate)) if by_key_identifier else ra.issuer_and_serial
    recipient = tlv.sequence(
        tlv.integer(2 if by_key_identifier else 0),
        named,
        key_transport_identifier(transport),
        tlv.octet_string(key("ra").public_key().encrypt(content_key, transport.padding())),
    )
    algorithm = tlv.sequence(CIPHER_OID_BYTES[cipher], tlv.octet_string(iv))
    body = tlv.sequence(
        tlv.integer(2 if by_key_identifier else 0),
        tlv.tlv(tlv.SET, recipient),
        tlv.sequence(_DATA, algorithm, tlv.tlv(0x80, encrypted)),
    )
    return tlv.sequence(_ENVELOPED_DATA, tlv.explicit(0, body))


def signed(
    envelope: bytes,
    *more: bytes,
    signer: Signer | None = None,
    message_type: MessageType = MessageType.PKCS_REQ,
    transaction_id: str = TRANSACTION_ID,
    nonce: bytes | None = NONCE,
    digest: Digest = Digest.SHA256,
) -> bytes:
    """Return a pkiMessage around an envelope."""
    attributes = [
        attribute(message.TRANSACTION_ID, tlv.printable_string(transaction_id)),
        attribute(message.MESSAGE_TYPE, tlv.printable_string(str(int(message_type)))),
        *([] if nonce is None else [attribute(message.SENDER_NONCE, tlv.octet_string(nonce))]),
        *more,
    ]
    return sign(signer or self_signed(key("client")), envelope, attributes, digest)


def self_signed(of: Key) -> Signer:
    """Return a signer with a certificate that the key made for itself, as RFC 8894 section 2.3 has it for a first enrolment."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ann")])
    model = certificate("client")
    builder = x509.CertificateBuilder(name, name, of.public_key(), 1)
    builder = builder.not_valid_before(model.not_valid_before_utc).not_valid_after(model.not_valid_after_utc)
    return Signer.of(builder.sign(of, hashes.SHA256()), of)


def windows_signer() -> Signer:
    """Return what Windows signs with: a throwaway certificate in SHA-1, a critical AKI, a negative serial number.

    facts/scep.md section 3; the shape follows the template of step-ca's SCEP integration tests.
    """
    of, serial_number = key("ra"), -0x5A17C0DE
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SCEP Protocol Certificate")]).public_bytes()
    algorithm = tlv.sequence(tlv.object_identifier("1.2.840.113549.1.1.5"), tlv.null())
    identifier = x509.SubjectKeyIdentifier.from_public_key(of.public_key()).digest
    aki = tlv.sequence(
        tlv.object_identifier("2.5.29.35"), tlv.boolean(value=True), tlv.octet_string(tlv.sequence(tlv.tlv(0x80, identifier)))
    )
    validity = tlv.sequence(*(tlv.tlv(tlv.UTC_TIME, text) for text in (b"260101000000Z", b"270101000000Z")))
    spki = of.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    tbs = tlv.sequence(
        tlv.explicit(0, tlv.integer(2)),
        tlv.integer(serial_number),
        algorithm,
        name,
        validity,
        name,
        spki,
        tlv.explicit(3, tlv.sequence(aki)),
    )
    signature = of.sign(tbs, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - as Windows does
    der = tlv.sequence(tbs, algorithm, tlv.bit_string(signature))
    return Signer(certificate("ra"), of, der, tlv.sequence(name, tlv.integer(serial_number)))


def _ber() -> bytes:
    signer = self_signed(key("client"))
    inner = to_ber(sealed(request(key("client"))), segment=64, implicit=True)
    return to_ber(signed(inner, signer=signer), segment=100, keep=[signer.certificate_der])


def _get(encode: Callable[[str], str]) -> Callable[[], bytes]:
    def built() -> bytes:
        text = base64.b64encode(signed(sealed(request(key("client"))))).decode()
        return f"operation=PKIOperation&message={encode(text)}".encode()

    return built


def _lines(text: str) -> str:
    return "%0A".join(quote(text[at : at + 64], safe="") for at in range(0, len(text), 64)) + "%0A"


def _held() -> Signer:
    return Signer.of(certificate("client"), key("client"))


_OUTER = attribute(message.CHALLENGE_PASSWORD, tlv.printable_string("outer-challenge"))
_OAEP_SHA256 = KeyTransport(oaep=Digest.SHA256, mgf=Digest.SHA256)

BUILT: dict[str, Callable[[], bytes]] = {
    "windows.built": lambda: signed(
        sealed(request(key("client")), cipher=Cipher.DES3, transport=PKCS1_V15),
        signer=windows_signer(),
        digest=Digest.SHA1,
    ),
    "oaep-sha1.built": lambda: signed(sealed(request(key("client")), transport=KeyTransport(oaep=Digest.SHA1))),
    "oaep-sha256.built": lambda: signed(sealed(request(key("client")), transport=_OAEP_SHA256)),
    "recipient-by-key-identifier.built": lambda: signed(sealed(request(key("client")), by_key_identifier=True)),
    "ber.built": _ber,
    "outer-challenge.built": lambda: signed(sealed(request(key("client"), None)), _OUTER),
    "nonce-of-8-bytes.built": lambda: signed(sealed(request(key("client"))), nonce=NONCE[:8]),
    "no-nonce.built": lambda: signed(sealed(request(key("client"))), nonce=None),
    "base64-transaction-id.built": lambda: signed(sealed(request(key("client"))), transaction_id="MIIBIjAN+kqh/iG9w0B=="),
    "renewal-same-key.built": lambda: signed(
        sealed(request(key("client"), "")), signer=_held(), message_type=MessageType.RENEWAL_REQ
    ),
    "renewal-new-key.built": lambda: signed(
        sealed(request(key("ra"), None)), signer=_held(), message_type=MessageType.RENEWAL_REQ
    ),
    "renewal-as-pkcsreq.built": lambda: signed(sealed(request(key("ra"), None)), signer=_held()),
    "ec.built": lambda: signed(sealed(request(ec_key())), signer=self_signed(ec_key())),
    "get-raw-plus.query": _get(lambda text: text),
    "get-line-breaks.query": _get(_lines),
    "get-spaces.query": _get(lambda text: quote(text, safe="+").replace("+", "%20")),
    "get-url-safe.query": _get(lambda text: text.replace("+", "-").replace("/", "_").rstrip("=")),
}


def built() -> list[bytes]:
    """Return the messages at hand, those of the queries left out."""
    return [path.read_bytes() for path in sorted(HERE.glob("*.built"))]


def main() -> None:
    """Build the vectors named on the command line; without names, those that are missing."""
    for name, build in BUILT.items():
        path = HERE / name
        if name in sys.argv[1:] or (not sys.argv[1:] and not path.exists()):
            path.write_bytes(build())
            sys.stdout.write(f"{name}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
