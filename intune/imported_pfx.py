"""PKCS #12 files that Intune hands to the devices of a person: their shapes in Microsoft Graph, and how passphrases travel.

Only Intune's certificate connector can open such a file: its passphrase is encrypted to the connector's public key, the file
itself goes as it is. Source: facts/mail_profiles.md section 5.
"""

import base64
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from intune.errors import BadConnectorKey, BadPassphrase, IntuneUnavailable

# BCRYPT_RSAKEY_BLOB (bcrypt.h) of a public key: magic, bits, lengths of exponent, modulus and two primes, little-endian.
_BLOB_HEADER: Final = struct.Struct("<4sIIIII")
_BLOB_MAGIC: Final = b"RSA1"
_SMALLEST_BITS: Final = 2048
_LARGEST_BITS: Final = 16384
_LONGEST_EXPONENT: Final = 8
_ODATA_TYPE: Final = "#microsoft.graph.userPFXCertificate"
# For each field of ours what Graph calls it.
_STATED: Final = {
    "user_principal_name": "userPrincipalName",
    "intended_purpose": "intendedPurpose",
    "provider_name": "providerName",
    "key_name": "keyName",
    "padding_scheme": "paddingScheme",
}
_LONGEST_TEXT: Final = 1024
_LONGEST_ID: Final = 255


class PaddingScheme(StrEnum):
    """How the passphrase is padded; Graph knows weaker ones, and Intune takes them no more."""

    OAEP_SHA256 = "oaepSha256"
    OAEP_SHA384 = "oaepSha384"
    OAEP_SHA512 = "oaepSha512"


class IntendedPurpose(StrEnum):
    """What a file is for: a tag by which Intune's profiles choose. Its key usage is not looked at."""

    SMIME_ENCRYPTION = "smimeEncryption"
    SMIME_SIGNING = "smimeSigning"


_HASHES: Final[Mapping[PaddingScheme, type[hashes.HashAlgorithm]]] = {
    PaddingScheme.OAEP_SHA256: hashes.SHA256,
    PaddingScheme.OAEP_SHA384: hashes.SHA384,
    PaddingScheme.OAEP_SHA512: hashes.SHA512,
}


@dataclass(frozen=True, slots=True)
class ConnectorKey:
    """The public key of Intune's certificate connector, and how a passphrase is encrypted to it."""

    public_key: rsa.RSAPublicKey
    padding_scheme: PaddingScheme = PaddingScheme.OAEP_SHA512

    @classmethod
    def of(cls, content: bytes, padding_scheme: PaddingScheme = PaddingScheme.OAEP_SHA512) -> Self:
        """Return the key in a file: SubjectPublicKeyInfo in PEM, or an RSAPUBLICBLOB as ``Export-IntunePublicKey`` writes it.

        Raises:
            BadConnectorKey: it is neither, or a key that is not taken.
        """
        public_key = _from_blob(content) if content.startswith(_BLOB_MAGIC) else _from_pem(content)
        if not _SMALLEST_BITS <= public_key.key_size <= _LARGEST_BITS:
            raise BadConnectorKey(f"a connector's RSA key has {_SMALLEST_BITS} bits or more, this one {public_key.key_size}")
        return cls(public_key, padding_scheme)

    @property
    def sha256(self) -> str:
        """SHA-256 of its SubjectPublicKeyInfo, in hex: what it is called in records."""
        spki = self.public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()

    def encrypt(self, passphrase: str) -> bytes:
        """Return a passphrase as only the connector can read it: RSA-OAEP (RFC 8017 section 7.1), no label.

        Raises:
            BadPassphrase: it is not ASCII (the connector makes a character of each byte), empty, or too long for the key.
        """
        if not passphrase or not passphrase.isascii():
            raise BadPassphrase("a passphrase for Intune's connector is made of ASCII characters")
        algorithm = _HASHES[self.padding_scheme]()
        if len(passphrase) > self.public_key.key_size // 8 - 2 * algorithm.digest_size - 2:
            raise BadPassphrase("the passphrase is too long for the connector's key")
        oaep = padding.OAEP(mgf=padding.MGF1(algorithm), algorithm=algorithm, label=None)
        return self.public_key.encrypt(passphrase.encode("ascii"), oaep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What can be read of an imported file: whose it is, which certificate, and which key of the connector opens it.

    ``thumbprint`` is the certificate's SHA-1 in lower-case hex.
    """

    thumbprint: str
    user_principal_name: str
    intended_purpose: str
    start: datetime
    expiration: datetime
    provider_name: str
    key_name: str
    padding_scheme: str

    def differences(self, listed: "Statement") -> tuple[str, ...]:
        """Return the names, as Graph has them, of what ``listed`` says otherwise about the same certificate."""
        pairs = ((theirs, getattr(self, ours), getattr(listed, ours)) for ours, theirs in _STATED.items())
        return tuple(theirs for theirs, wanted, found in pairs if wanted.casefold() != found.casefold())


@dataclass(frozen=True, slots=True)
class Listed:
    """An imported file as Graph lists it. ``id`` is made of the user's and the thumbprint."""

    id: str
    statement: Statement

    @classmethod
    def of(cls, entry: object) -> Self:
        """Return what an entry of the list says. Raises IntuneUnavailable where it is none."""
        if not isinstance(entry, dict) or not isinstance(entry.get("thumbprint"), str) or not is_id(entry.get("id")):
            raise IntuneUnavailable("Microsoft Graph lists something else than imported certificates")
        return cls(
            entry["id"],
            Statement(
                thumbprint=entry["thumbprint"].lower()[:_LONGEST_TEXT],
                start=_read(entry.get("startDateTime")),
                expiration=_read(entry.get("expirationDateTime")),
                **{ours: _text(entry.get(theirs)) for ours, theirs in _STATED.items()},
            ),
        )


@dataclass(frozen=True, slots=True)
class ImportedPfx:
    """A file to be imported: PKCS #12 as it is, and its passphrase as ``ConnectorKey`` has encrypted it."""

    statement: Statement
    pkcs12: bytes = field(repr=False)
    encrypted_passphrase: bytes = field(repr=False)

    def document(self, now: datetime) -> dict[str, Any]:
        """Return the JSON object that creates it, or with the same identity replaces it, written at ``now``."""
        stated = self.statement
        return {
            "@odata.type": _ODATA_TYPE,
            "thumbprint": stated.thumbprint,
            "startDateTime": _written(stated.start),
            "expirationDateTime": _written(stated.expiration),
            **{theirs: str(getattr(stated, ours)) for ours, theirs in _STATED.items()},
            "encryptedPfxBlob": base64.b64encode(self.pkcs12).decode("ascii"),
            "encryptedPfxPassword": base64.b64encode(self.encrypted_passphrase).decode("ascii"),
            "createdDateTime": _written(now),
            "lastModifiedDateTime": _written(now),
        }


def thumbprint_of(certificate: bytes) -> str:
    """Return what Intune calls a certificate (DER): its SHA-1 in lower-case hex."""
    return hashlib.sha1(certificate, usedforsecurity=False).hexdigest()


def _from_pem(content: bytes) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise BadConnectorKey("it is neither a public key in PEM nor an RSAPUBLICBLOB") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadConnectorKey("a connector's key is an RSA key, this is another")
    return key


def _from_blob(content: bytes) -> rsa.RSAPublicKey:
    damaged = BadConnectorKey("the RSAPUBLICBLOB is damaged")
    if len(content) < _BLOB_HEADER.size:
        raise damaged
    _, bits, exponent_length, modulus_length, *primes = _BLOB_HEADER.unpack_from(content)
    is_bounded = exponent_length <= _LONGEST_EXPONENT and modulus_length * 8 <= _LARGEST_BITS
    if any(primes) or not is_bounded or len(content) != _BLOB_HEADER.size + exponent_length + modulus_length:
        raise damaged
    split = _BLOB_HEADER.size + exponent_length
    exponent = int.from_bytes(content[_BLOB_HEADER.size : split], "big")
    modulus = int.from_bytes(content[split:], "big")
    if modulus.bit_length() != bits:
        raise damaged
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        raise damaged from None


def is_id(value: object) -> bool:
    """Say whether a value is what Graph calls an imported file: fit for a URL and for our records."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isascii() and value.replace("-", "").isalnum()


def _text(value: object) -> str:
    return value[:_LONGEST_TEXT] if isinstance(value, str) else ""


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(value: object) -> datetime:
    """Return a time that Graph has written; one that cannot be read is long ago."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
