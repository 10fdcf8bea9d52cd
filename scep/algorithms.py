"""The algorithms of SCEP messages: their identifiers, what they mean here, and which of them an endpoint accepts.

Source: RFC 8894 section 2.9, RFC 5754 (SHA-2 in CMS), RFC 3565 (AES), RFC 4055 (OAEP), facts/scep.md section 3.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from foundation import tlv


class Digest(StrEnum):
    """A message digest."""

    MD5 = "md5"
    SHA1 = "sha1"
    SHA224 = "sha224"
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"

    @property
    def hash(self) -> hashes.HashAlgorithm:
        """The implementation."""
        return _HASHES[self]


_HASHES: Final[dict[Digest, hashes.HashAlgorithm]] = {
    Digest.MD5: hashes.MD5(),  # noqa: S303 - to recognise it; no endpoint accepts it
    Digest.SHA1: hashes.SHA1(),  # noqa: S303 - only where an endpoint is set to legacy
    Digest.SHA224: hashes.SHA224(),
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
}

DIGEST_OIDS: Final[dict[str, Digest]] = {
    "1.2.840.113549.2.5": Digest.MD5,
    "1.3.14.3.2.26": Digest.SHA1,
    "2.16.840.1.101.3.4.2.4": Digest.SHA224,
    "2.16.840.1.101.3.4.2.1": Digest.SHA256,
    "2.16.840.1.101.3.4.2.2": Digest.SHA384,
    "2.16.840.1.101.3.4.2.3": Digest.SHA512,
}

RSA_ENCRYPTION: Final = "1.2.840.113549.1.1.1"
RSAES_OAEP: Final = "1.2.840.113549.1.1.7"
MGF1: Final = "1.2.840.113549.1.1.8"
P_SPECIFIED: Final = "1.2.840.113549.1.1.9"
EC_PUBLIC_KEY: Final = "1.2.840.10045.2.1"

RSA_SIGNATURE_OIDS: Final[dict[str, Digest]] = {
    "1.2.840.113549.1.1.4": Digest.MD5,
    "1.2.840.113549.1.1.5": Digest.SHA1,
    "1.2.840.113549.1.1.14": Digest.SHA224,
    "1.2.840.113549.1.1.11": Digest.SHA256,
    "1.2.840.113549.1.1.12": Digest.SHA384,
    "1.2.840.113549.1.1.13": Digest.SHA512,
}
ECDSA_SIGNATURE_OIDS: Final[dict[str, Digest]] = {
    "1.2.840.10045.4.1": Digest.SHA1,
    "1.2.840.10045.4.3.1": Digest.SHA224,
    "1.2.840.10045.4.3.2": Digest.SHA256,
    "1.2.840.10045.4.3.3": Digest.SHA384,
    "1.2.840.10045.4.3.4": Digest.SHA512,
}


class Cipher(StrEnum):
    """A content encryption algorithm, always in CBC mode with PKCS #7 padding."""

    DES = "des-cbc"
    DES3 = "des-ede3-cbc"
    AES128 = "aes128-cbc"
    AES192 = "aes192-cbc"
    AES256 = "aes256-cbc"

    @property
    def key_size(self) -> int:
        """The length of a key in bytes."""
        return _KEY_SIZES[self]

    @property
    def block_size(self) -> int:
        """The length of a block, and of the IV, in bytes."""
        return 8 if self in (Cipher.DES, Cipher.DES3) else 16

    @property
    def wrapping_key_size(self) -> int:
        """The length in bytes of an AES key that wraps a key of this cipher and is no weaker than it."""
        return self.key_size if self in (Cipher.AES192, Cipher.AES256) else 16

    def keyed(self, key: bytes) -> BlockCipherAlgorithm:
        """Return the block cipher under ``key``."""
        if self is Cipher.DES:
            # Three equal keys make triple DES single DES; the library offers no other.
            return TripleDES(key * 3)
        if self is Cipher.DES3:
            return TripleDES(key)
        return AES(key)


_KEY_SIZES: Final = {Cipher.DES: 8, Cipher.DES3: 24, Cipher.AES128: 16, Cipher.AES192: 24, Cipher.AES256: 32}

CIPHER_OIDS: Final[dict[str, Cipher]] = {
    "1.3.14.3.2.7": Cipher.DES,
    "1.2.840.113549.3.7": Cipher.DES3,
    "2.16.840.1.101.3.4.1.2": Cipher.AES128,
    "2.16.840.1.101.3.4.1.22": Cipher.AES192,
    "2.16.840.1.101.3.4.1.42": Cipher.AES256,
}


@dataclass(frozen=True, slots=True)
class KeyTransport:
    """How the content encryption key is wrapped with RSA: PKCS #1 v1.5 when ``oaep`` is None, else OAEP."""

    oaep: Digest | None = None
    mgf: Digest = Digest.SHA1
    label: bytes = b""

    def padding(self) -> padding.AsymmetricPadding:
        """Return the padding for the RSA operation."""
        if self.oaep is None:
            return padding.PKCS1v15()
        return padding.OAEP(padding.MGF1(self.mgf.hash), self.oaep.hash, self.label or None)

    @property
    def overhead(self) -> int:
        """How many bytes of the modulus the padding takes (RFC 8017 sections 7.1.1 and 7.2.1)."""
        return 11 if self.oaep is None else 2 * self.oaep.hash.digest_size + 2


PKCS1_V15: Final = KeyTransport()


@dataclass(frozen=True, slots=True)
class Suite:
    """What a message is signed and enveloped with."""

    digest: Digest = Digest.SHA256
    cipher: Cipher = Cipher.AES128
    key_transport: KeyTransport = PKCS1_V15


# Encoded AlgorithmIdentifiers, made once. Digests carry an explicit NULL: strongSwan and old Cisco compare with that form.

DIGEST_IDENTIFIERS: Final = {digest: tlv.sequence(tlv.object_identifier(oid), tlv.null()) for oid, digest in DIGEST_OIDS.items()}
CIPHER_OID_BYTES: Final = {cipher: tlv.object_identifier(oid) for oid, cipher in CIPHER_OIDS.items()}
ECDSA_IDENTIFIERS: Final = {digest: tlv.sequence(tlv.object_identifier(oid)) for oid, digest in ECDSA_SIGNATURE_OIDS.items()}
# Plain rsaEncryption in SignerInfo: strongSwan before 5.9.11 refuses shaXXXWithRSA ("only RSA digest encryption supported").
RSA_ENCRYPTION_IDENTIFIER: Final = tlv.sequence(tlv.object_identifier(RSA_ENCRYPTION), tlv.null())


def key_transport_identifier(transport: KeyTransport) -> bytes:
    """Return the encoded keyEncryptionAlgorithm; members equal to their DEFAULT are left out, as DER demands."""
    if transport.oaep is None:
        return RSA_ENCRYPTION_IDENTIFIER
    parameters = b""
    if transport.oaep is not Digest.SHA1:
        parameters += tlv.explicit(0, DIGEST_IDENTIFIERS[transport.oaep])
    if transport.mgf is not Digest.SHA1:
        parameters += tlv.explicit(1, tlv.sequence(tlv.object_identifier(MGF1), DIGEST_IDENTIFIERS[transport.mgf]))
    if transport.label:
        parameters += tlv.explicit(2, tlv.sequence(tlv.object_identifier(P_SPECIFIED), tlv.octet_string(transport.label)))
    return tlv.sequence(tlv.object_identifier(RSAES_OAEP), tlv.sequence(parameters))
