"""What encrypts the contents of a PKCS #12: the schemes of RFC 7292 appendix C, and oids.PBES2 (RFC 8018 section 6.2)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4, RC2, TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher as CipherContext
from cryptography.hazmat.primitives.ciphers import CipherAlgorithm, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from foundation.tlv import MalformedTlv
from pkcs_import import pkcs12_oids as oids
from pkcs_import import rc2
from pkcs_import.effort import Effort, bounded
from pkcs_import.errors import UnsupportedKey, WrongPassword
from pkcs_import.pkcs12_decoding import Algorithm, decode, octets, salt_and_iterations, two_algorithms
from pkcs_import.pkcs12_kdf import SHA1, Pbkdf2Derivation, Use, bounded_salt, pbkdf2_derivation, pkcs12_cost, pkcs12_kdf
from pkcs_import.pkcs12_password import Spelling

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class _Cipher:
    """A cipher: the sizes of its keys and blocks in bytes, the block 1 for a stream; and how it decrypts."""

    key_size: int
    block_size: int
    decrypt: Callable[[bytes, bytes, bytes], bytes]


def _cbc(algorithm: Callable[[bytes], CipherAlgorithm]) -> Callable[[bytes, bytes, bytes], bytes]:
    def decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
        decryptor = CipherContext(algorithm(key), modes.CBC(iv)).decryptor()
        return decryptor.update(data) + decryptor.finalize()

    return decrypt


def _rc4(key: bytes, _: bytes, data: bytes) -> bytes:
    decryptor = CipherContext(ARC4(key), mode=None).decryptor()
    return decryptor.update(data) + decryptor.finalize()


def _rc2_40(key: bytes, iv: bytes, data: bytes) -> bytes:
    return rc2.decrypted(key, 40, iv, data)


def _two_key_3des(key: bytes) -> TripleDES:
    return TripleDES(key + key[:8])


_PKCS12_CIPHERS: Final = {
    "1.2.840.113549.1.12.1.1": _Cipher(16, 1, _rc4),
    "1.2.840.113549.1.12.1.2": _Cipher(5, 1, _rc4),
    oids.PBE_SHA1_3DES: _Cipher(24, 8, _cbc(TripleDES)),
    "1.2.840.113549.1.12.1.4": _Cipher(16, 8, _cbc(_two_key_3des)),
    "1.2.840.113549.1.12.1.5": _Cipher(16, 8, _cbc(RC2)),
    "1.2.840.113549.1.12.1.6": _Cipher(5, 8, _rc2_40),
}
_PBES2_CIPHERS: Final = {
    "1.2.840.113549.3.7": _Cipher(24, 8, _cbc(TripleDES)),
    "2.16.840.1.101.3.4.1.2": _Cipher(16, 16, _cbc(AES)),
    "2.16.840.1.101.3.4.1.22": _Cipher(24, 16, _cbc(AES)),
    oids.AES256_CBC: _Cipher(32, 16, _cbc(AES)),
}


class Encryption(Protocol):
    """An encryption whose parameters are within bounds."""

    def decrypted(self, ciphertext: bytes, spelling: Spelling, effort: Effort) -> Iterator[bytes]:
        """Yield what ``ciphertext`` may say with a password so spelt, padding taken off. Raises ContainerTooSlow."""


@dataclass(frozen=True, slots=True)
class _Pkcs12Encryption:
    cipher: _Cipher
    salt: bytes = field(repr=False)
    iterations: int

    def decrypted(self, ciphertext: bytes, spelling: Spelling, effort: Effort) -> Iterator[bytes]:
        key = self._derived(Use.KEY, spelling, self.cipher.key_size, effort)
        iv = self._derived(Use.IV, spelling, self.cipher.block_size, effort) if self.cipher.block_size > 1 else b""
        yield from _plain(self.cipher, key, iv, ciphertext)

    def _derived(self, use: Use, spelling: Spelling, length: int, effort: Effort) -> bytes:
        effort.spend(pkcs12_cost(SHA1, self.iterations, length))
        return pkcs12_kdf(SHA1, use, spelling.bmp, self.salt, self.iterations, length)


@dataclass(frozen=True, slots=True)
class _Pbes2:
    cipher: _Cipher
    iv: bytes = field(repr=False)
    derivation: Pbkdf2Derivation

    def decrypted(self, ciphertext: bytes, spelling: Spelling, effort: Effort) -> Iterator[bytes]:
        for password in spelling.octets:
            yield from _plain(self.cipher, self.derivation.derive(password, self.cipher.key_size, effort), self.iv, ciphertext)


def _plain(cipher: _Cipher, key: bytes, iv: bytes, ciphertext: bytes) -> Iterator[bytes]:
    """Yield the plaintext, unless its padding (RFC 8018 section 6.1.1) is wrong."""
    if cipher.block_size == 1:
        yield cipher.decrypt(key, iv, ciphertext)
        return
    if not ciphertext or len(ciphertext) % cipher.block_size:
        raise MalformedTlv("a ciphertext of broken blocks")
    padded = cipher.decrypt(key, iv, ciphertext)
    padding = padded[-1]
    if 1 <= padding <= cipher.block_size and padded.endswith(bytes((padding,)) * padding):
        yield padded[:-padding]


def read_encryption(algorithm: Algorithm) -> Encryption:
    """Return the encryption that ``algorithm`` names.

    Raises:
        MalformedTlv: its parameters are malformed.
        UnsupportedKey: it is of a kind that is not read here.
        ContainerTooSlow: it asks for too many iterations.
    """
    if algorithm.oid == oids.PBES2:
        return _pbes2(algorithm)
    cipher = _PKCS12_CIPHERS.get(algorithm.oid)
    if cipher is None:
        raise UnsupportedKey(f"it is encrypted by an algorithm that is not read here ({algorithm.oid})")
    salt, iterations = decode(salt_and_iterations, algorithm.parameters)
    return _Pkcs12Encryption(cipher, bounded_salt(salt), bounded(iterations))


def _pbes2(algorithm: Algorithm) -> Encryption:
    derived, encrypted = decode(two_algorithms, algorithm.parameters)
    cipher = _PBES2_CIPHERS.get(encrypted.oid)
    if cipher is None:
        raise UnsupportedKey(f"it is encrypted by an algorithm that is not read here ({encrypted.oid})")
    derivation, iv = pbkdf2_derivation(derived), decode(octets, encrypted.parameters)
    if len(iv) != cipher.block_size or derivation.key_length not in (None, cipher.key_size):
        raise MalformedTlv("an initialisation vector or a key of a wrong length")
    return _Pbes2(cipher, iv, derivation)


def opened(
    encryption: Encryption,
    ciphertext: bytes,
    spellings: Sequence[Spelling],
    effort: Effort,
    read: Callable[[bytes], Read],
) -> Read:
    """Return what ``read`` makes of the plaintext, under the first spelling of the password that gives it something to read.

    A wrong key passes the padding once in 256 times, so ``read`` has a say: what it raises MalformedTlv for does not count.

    Raises:
        MalformedTlv: the ciphertext is damaged.
        WrongPassword: there is no such spelling.
        ContainerTooSlow: trying took too much.
    """
    for spelling in spellings:
        for plaintext in encryption.decrypted(ciphertext, spelling, effort):
            try:
                return read(plaintext)
            except MalformedTlv:
                continue
    raise WrongPassword("the password does not open it")
