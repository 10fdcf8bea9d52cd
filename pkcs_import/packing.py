"""Writing PKCS #12: several keys with their certificates in one file, under one passphrase (RFC 7292).

Who reads what (by experiment where a test runs the program; else facts/mail_profiles.md sections 1 and 9):

=====================  ==========  ==========  ===========================================================
importer               ``MODERN``  ``LEGACY``  several keys in one file
=====================  ==========  ==========  ===========================================================
openssl, NSS, Java     yes         yes         yes
gpgsm 2.2              no          yes, RSA    no: the first only, so one file for each key
Apple, Outlook         not all     yes         one identity to a profile payload, so one file for each key
=====================  ==========  ==========  ===========================================================

gpgsm 2.2 stumbles over EC keys: it crashes, or takes the certificates alone.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from foundation import tlv
from pkcs_import import pkcs12_oids as oids
from pkcs_import.pkcs12_kdf import SHA1, SHA256, Digest, Use, is_misderived_by_gnupg, pkcs12_kdf
from pkcs_import.pkcs12_password import bmp_password

_VERSION: Final = 3
# The passphrase has as many bits as a key. Iterations are for those that people think up; here they only cost time.
_ITERATIONS: Final = 2048
_SALT_BYTES: Final = 16
# OpenSSL never wrote another length before version 3, so that is what old importers have met.
_LEGACY_SALT_BYTES: Final = 8
_LOCAL_KEY_ID_BYTES: Final = 20
_BMP_STRING: Final = 0x1E
_IMPLICIT_CONTENT: Final = 0x80

# No letter or digit here is taken for another one, and a phone's keyboard has the letters without shift.
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS: Final = 6
_GROUP: Final = 4


class Encoding(StrEnum):
    """How a file is encrypted and authenticated.

    AES-256 with PBKDF2 and a SHA-256 MAC; or 3DES with a SHA-1 MAC, for who reads nothing newer.
    """

    MODERN = "aes256"
    LEGACY = "3des"


@dataclass(frozen=True, slots=True)
class Packable:
    """A private key (PKCS #8 DER), its certificate and chain (DER, its issuer first), and what it is called in lists."""

    pkcs8: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
    friendly_name: str


def new_passphrase() -> str:
    """Return a fresh passphrase, 24 letters and digits of 31 in groups of four: 118 bits (facts/ca.md section 3 asks for 112)."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def pack(keys: Sequence[Packable], passphrase: str, encoding: Encoding) -> bytes:
    """Return one PKCS #12 file with all ``keys``, the first one first, under ``passphrase`` (ASCII, from ``new_passphrase``).

    Certificates of authorities that several keys share are in it once.
    """
    scheme = _SCHEMES[encoding]
    names = _distinct([key.friendly_name for key in keys])
    authorities = dict.fromkeys(der for key in keys for der in key.chain)
    certificates, shrouded = [], []
    for key, name in zip(keys, names, strict=True):
        attributes = _attributes(name, hashlib.sha256(key.certificate).digest()[:_LOCAL_KEY_ID_BYTES])
        certificates.append(_certificate_bag(key.certificate, attributes))
        algorithm, ciphertext = scheme.encrypt(key.pkcs8, passphrase)
        shrouded.append(_bag(oids.SHROUDED_KEY_BAG, tlv.sequence(algorithm, tlv.octet_string(ciphertext)), attributes))
    certificates += [_certificate_bag(der, b"") for der in authorities]
    content = tlv.sequence(
        _encrypted(scheme, tlv.sequence(*certificates), passphrase),
        _content_info(oids.DATA, tlv.octet_string(tlv.sequence(*shrouded))),
    )
    auth_safe = _content_info(oids.DATA, tlv.octet_string(content))
    return tlv.sequence(tlv.integer(_VERSION), auth_safe, _mac_data(scheme, content, passphrase))


@dataclass(frozen=True, slots=True)
class _Scheme:
    """How a file is encrypted and authenticated."""

    digest: Digest
    digest_oid: str
    salt_bytes: int

    def encrypt(self, plaintext: bytes, passphrase: str) -> tuple[bytes, bytes]:
        """Return the AlgorithmIdentifier and the ciphertext."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Pkcs12TripleDes(_Scheme):
    """pbeWithSHAAnd3-KeyTripleDES-CBC (RFC 7292 appendix C)."""

    def encrypt(self, plaintext: bytes, passphrase: str) -> tuple[bytes, bytes]:
        password = bmp_password(passphrase)
        salt, key = self._salted(password)
        # GnuPG 2.2 (gpgsm): with one salt in 128 it derives another key than everybody else, and reads one file in 64 not.
        while is_misderived_by_gnupg(SHA1, password, salt, key):
            salt, key = self._salted(password)
        iv = pkcs12_kdf(SHA1, Use.IV, password, salt, _ITERATIONS, 8)
        parameters = tlv.sequence(tlv.octet_string(salt), tlv.integer(_ITERATIONS))
        return tlv.sequence(tlv.object_identifier(oids.PBE_SHA1_3DES), parameters), _cbc(TripleDES(key), iv, plaintext)

    def _salted(self, password: bytes) -> tuple[bytes, bytes]:
        salt = secrets.token_bytes(self.salt_bytes)
        return salt, pkcs12_kdf(SHA1, Use.KEY, password, salt, _ITERATIONS, 24)


@dataclass(frozen=True, slots=True)
class _Pbes2Aes(_Scheme):
    """PBES2 with PBKDF2, HMAC with SHA-256 and AES-256-CBC (RFC 8018 section 6.2)."""

    def encrypt(self, plaintext: bytes, passphrase: str) -> tuple[bytes, bytes]:
        salt, iv = secrets.token_bytes(self.salt_bytes), secrets.token_bytes(16)
        key = PBKDF2HMAC(self.digest.algorithm, 32, salt, _ITERATIONS).derive(passphrase.encode("ascii"))
        derivation = tlv.sequence(
            tlv.object_identifier(oids.PBKDF2),
            tlv.sequence(
                tlv.octet_string(salt),
                tlv.integer(_ITERATIONS),
                tlv.sequence(tlv.object_identifier(oids.HMAC_WITH_SHA256), tlv.null()),
            ),
        )
        cipher = tlv.sequence(tlv.object_identifier(oids.AES256_CBC), tlv.octet_string(iv))
        algorithm = tlv.sequence(tlv.object_identifier(oids.PBES2), tlv.sequence(derivation, cipher))
        return algorithm, _cbc(AES(key), iv, plaintext)


_SCHEMES: Final = {
    Encoding.MODERN: _Pbes2Aes(SHA256, oids.SHA256, _SALT_BYTES),
    Encoding.LEGACY: _Pkcs12TripleDes(SHA1, oids.SHA1, _LEGACY_SALT_BYTES),
}


def _cbc(algorithm: AES | TripleDES, iv: bytes, plaintext: bytes) -> bytes:
    padder = padding.PKCS7(algorithm.block_size).padder()
    encryptor = Cipher(algorithm, modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()


def _mac_data(scheme: _Scheme, content: bytes, passphrase: str) -> bytes:
    salt = secrets.token_bytes(scheme.salt_bytes)
    key = pkcs12_kdf(scheme.digest, Use.MAC, bmp_password(passphrase), salt, _ITERATIONS, scheme.digest.size)
    algorithm = tlv.sequence(tlv.object_identifier(scheme.digest_oid), tlv.null())
    digest_info = tlv.sequence(algorithm, tlv.octet_string(hmac.digest(key, content, scheme.digest.name)))
    return tlv.sequence(digest_info, tlv.octet_string(salt), tlv.integer(_ITERATIONS))


def _encrypted(scheme: _Scheme, plaintext: bytes, passphrase: str) -> bytes:
    algorithm, ciphertext = scheme.encrypt(plaintext, passphrase)
    content = tlv.sequence(tlv.object_identifier(oids.DATA), algorithm, tlv.tlv(_IMPLICIT_CONTENT, ciphertext))
    return _content_info(oids.ENCRYPTED_DATA, tlv.sequence(tlv.integer(0), content))


def _content_info(content_type: str, content: bytes) -> bytes:
    return tlv.sequence(tlv.object_identifier(content_type), tlv.explicit(0, content))


def _bag(bag_id: str, value: bytes, attributes: bytes) -> bytes:
    return tlv.sequence(tlv.object_identifier(bag_id), tlv.explicit(0, value), attributes)


def _certificate_bag(der: bytes, attributes: bytes) -> bytes:
    value = tlv.sequence(tlv.object_identifier(oids.X509_CERTIFICATE), tlv.explicit(0, tlv.octet_string(der)))
    return _bag(oids.CERTIFICATE_BAG, value, attributes)


def _attributes(friendly_name: str, local_key_id: bytes) -> bytes:
    name = tlv.tlv(_BMP_STRING, friendly_name.encode("utf-16-be"))
    return tlv.set_of(
        tlv.sequence(tlv.object_identifier(oids.FRIENDLY_NAME), tlv.set_of(name)),
        tlv.sequence(tlv.object_identifier(oids.LOCAL_KEY_ID), tlv.set_of(tlv.octet_string(local_key_id))),
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Return ``names`` with numbers behind those that come again: Java keeps one entry of each name, whatever its case."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        count = seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
        found.append(name if count == 1 else f"{name} ({count})")
    return found
