"""PKCS #12 files built piece by piece, as sound or as odd as a test needs them. Keys are derived by what is tested elsewhere."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from foundation import tlv
from pkcs_import import pkcs12_oids as oids
from pkcs_import.pkcs12_kdf import SHA1, SHA256, Use, pkcs12_kdf

Encryption = Callable[[bytes], tuple[bytes, bytes]]
"""From a plaintext to AlgorithmIdentifier and ciphertext."""
MacMaker = Callable[[bytes], bytes]
"""From a content to MacData."""

SALT: Final = bytes(range(8))
IV: Final = bytes(range(16))


def bmp(password: str) -> bytes:
    """Return ``password`` as RFC 7292 spells it."""
    return password.encode("utf-16-be") + b"\0\0"


# --- encryptions and MACs ---


def _cbc(algorithm: AES | TripleDES, iv: bytes, plaintext: bytes) -> bytes:
    padder = padding.PKCS7(len(iv) * 8).padder()
    encryptor = Cipher(algorithm, modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()


def triple_des(password: bytes, *, iterations: int = 2048, stated: int | None = None) -> Encryption:
    """Encrypt as RFC 7292 says, under ``password`` as it is spelt; ``stated`` iterations are what the file claims."""

    def encrypt(plaintext: bytes) -> tuple[bytes, bytes]:
        key = pkcs12_kdf(SHA1, Use.KEY, password, SALT, iterations, 24)
        iv = pkcs12_kdf(SHA1, Use.IV, password, SALT, iterations, 8)
        parameters = tlv.sequence(tlv.octet_string(SALT), tlv.integer(iterations if stated is None else stated))
        algorithm = tlv.sequence(tlv.object_identifier(oids.PBE_SHA1_3DES), parameters)
        return algorithm, _cbc(TripleDES(key), iv, plaintext)

    return encrypt


def pbkdf2(password: bytes, *, iterations: int = 2048, stated: int | None = None, length: int = 32) -> tuple[bytes, bytes]:
    """Return a key derived with PBKDF2 and SHA-256, and the AlgorithmIdentifier that says so."""
    key = hashlib.pbkdf2_hmac("sha256", password, SALT, iterations, length)
    parameters = (
        tlv.octet_string(SALT),
        tlv.integer(iterations if stated is None else stated),
        tlv.integer(length),
        tlv.sequence(tlv.object_identifier(oids.HMAC_WITH_SHA256), tlv.null()),
    )
    return key, tlv.sequence(tlv.object_identifier(oids.PBKDF2), tlv.sequence(*parameters))


def aes(password: bytes, *, iterations: int = 2048, stated: int | None = None) -> Encryption:
    """Encrypt with PBES2 and AES-256, under the octets of ``password``."""

    def encrypt(plaintext: bytes) -> tuple[bytes, bytes]:
        key, derivation = pbkdf2(password, iterations=iterations, stated=stated)
        cipher = tlv.sequence(tlv.object_identifier(oids.AES256_CBC), tlv.octet_string(IV))
        return tlv.sequence(tlv.object_identifier(oids.PBES2), tlv.sequence(derivation, cipher)), _cbc(AES(key), IV, plaintext)

    return encrypt


def algorithm(oid: str, parameters: bytes = tlv.null()) -> bytes:
    """Return an AlgorithmIdentifier."""
    return tlv.sequence(tlv.object_identifier(oid), parameters)


def mac(password: bytes, *, iterations: int = 2048, stated: int | None = None, oid: str = oids.SHA256) -> MacMaker:
    """Authenticate as RFC 7292 says, with SHA-256, under ``password`` as it is spelt."""

    def make(content: bytes) -> bytes:
        key = pkcs12_kdf(SHA256, Use.MAC, password, SALT, iterations, 32)
        digest_info = tlv.sequence(algorithm(oid), tlv.octet_string(hmac.digest(key, content, "sha256")))
        stated_iterations = iterations if stated is None else stated
        return tlv.sequence(
            digest_info, tlv.octet_string(SALT), *((tlv.integer(stated_iterations),) if stated_iterations else ())
        )

    return make


def pbmac1(password: bytes, *, iterations: int = 2048, stated: int | None = None, length: int = 32) -> MacMaker:
    """Authenticate as RFC 9579 says, with SHA-256, under the octets of ``password``."""

    def make(content: bytes) -> bytes:
        key, derivation = pbkdf2(password, iterations=iterations, stated=stated, length=length)
        parameters = tlv.sequence(derivation, algorithm(oids.HMAC_WITH_SHA256))
        digest_info = tlv.sequence(algorithm(oids.PBMAC1, parameters), tlv.octet_string(hmac.digest(key, content, "sha256")))
        # What stands here is of no meaning (RFC 9579 section 4).
        return tlv.sequence(digest_info, tlv.octet_string(b"NOT USED"), tlv.integer(1))

    return make


# --- bags and parts ---


def bag(bag_id: str, value: bytes, attributes: bytes = b"") -> bytes:
    """Return a SafeBag."""
    return tlv.sequence(tlv.object_identifier(bag_id), tlv.explicit(0, value), attributes)


def attribute(oid: str, value: bytes) -> bytes:
    """Return an attribute with one value, encoded."""
    return tlv.sequence(tlv.object_identifier(oid), tlv.set_of(value))


def key_bag(pkcs8: bytes, encryption: Encryption | None = None, attributes: bytes = b"") -> bytes:
    """Return a bag with a private key, encrypted or not."""
    if encryption is None:
        return bag(oids.KEY_BAG, pkcs8, attributes)
    named, ciphertext = encryption(pkcs8)
    return bag(oids.SHROUDED_KEY_BAG, tlv.sequence(named, tlv.octet_string(ciphertext)), attributes)


def certificate_bag(der: bytes, attributes: bytes = b"", certificate_type: str = oids.X509_CERTIFICATE) -> bytes:
    """Return a bag with a certificate."""
    value = tlv.sequence(tlv.object_identifier(certificate_type), tlv.explicit(0, tlv.octet_string(der)))
    return bag(oids.CERTIFICATE_BAG, value, attributes)


Ber = Callable[..., bytes]


def as_it_is(der: bytes, **_: object) -> bytes:
    """Return DER as DER."""
    return der


def data(bags: Sequence[bytes], *, ber: Ber = as_it_is) -> bytes:
    """Return a ContentInfo with ``bags`` in clear, their sequence encoded by ``ber``."""
    return content_info(oids.DATA, tlv.octet_string(ber(tlv.sequence(*bags))))


def encrypted(bags: Sequence[bytes], encryption: Encryption, *, ber: Ber = as_it_is) -> bytes:
    """Return a ContentInfo with ``bags`` encrypted, their sequence encoded by ``ber``."""
    named, ciphertext = encryption(ber(tlv.sequence(*bags)))
    content = tlv.sequence(tlv.object_identifier(oids.DATA), named, tlv.tlv(0x80, ciphertext))
    return content_info(oids.ENCRYPTED_DATA, tlv.sequence(tlv.integer(0), content))


def content_info(content_type: str, content: bytes) -> bytes:
    """Return a ContentInfo."""
    return tlv.sequence(tlv.object_identifier(content_type), tlv.explicit(0, content))


def pfx(*parts: bytes, mac: MacMaker | None = None, version: int = 3, ber: Ber = as_it_is) -> bytes:
    """Return a PFX of ``parts``, authenticated by ``mac`` if any; both levels encoded by ``ber``."""
    content = ber(tlv.sequence(*parts), implicit=True)
    authenticated = (mac(content),) if mac is not None else ()
    return ber(tlv.sequence(tlv.integer(version), content_info(oids.DATA, tlv.octet_string(content)), *authenticated))


def simple(pkcs8: bytes, *certificates: bytes, password: str) -> bytes:
    """Return an ordinary file: the certificates encrypted, the key encrypted, all of it authenticated."""
    encryption = aes(password.encode(), iterations=16)
    parts = (encrypted([certificate_bag(der) for der in certificates], encryption), data([key_bag(pkcs8, encryption)]))
    return pfx(*parts, mac=mac(bmp(password), iterations=16))
