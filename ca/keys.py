"""Private keys of the authority: which algorithms there are, and where keys are kept.

A key store hands out objects of cryptography's own private-key classes (or subclasses of them, for an HSM), so that whoever signs
does not know which store a key came from (facts/ca.md section 6).
"""

import os
import re
import stat
from abc import ABC, abstractmethod
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from ca.errors import KeyExists, KeyUnavailable, UnsafeSecretFile
from foundation.files import create_private

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
SignatureHash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512

PUBLIC_EXPONENT = 65537
_REFERENCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_TESTED = b"signetry: is this the private half?"
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyAlgorithm(StrEnum):
    """The key pairs the authority generates."""

    RSA2048 = "rsa2048"
    RSA3072 = "rsa3072"
    RSA4096 = "rsa4096"
    P256 = "p256"
    P384 = "p384"
    P521 = "p521"
    ED25519 = "ed25519"

    @property
    def is_rsa(self) -> bool:
        """Whether this is an RSA key of some length."""
        return self in _RSA_BITS


_RSA_BITS = {KeyAlgorithm.RSA2048: 2048, KeyAlgorithm.RSA3072: 3072, KeyAlgorithm.RSA4096: 4096}
_CURVES: dict[KeyAlgorithm, type[ec.EllipticCurve]] = {
    KeyAlgorithm.P256: ec.SECP256R1,
    KeyAlgorithm.P384: ec.SECP384R1,
    KeyAlgorithm.P521: ec.SECP521R1,
}
# The hash is tied to the curve (S/MIME baseline requirements 7.1.3.2); every RSA key signs with SHA-256.
_CURVE_HASHES: dict[str, type[SignatureHash]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}


def generate_key(algorithm: KeyAlgorithm) -> PrivateKey:
    """Return a new private key from the operating system's random numbers."""
    if algorithm in _RSA_BITS:
        return rsa.generate_private_key(PUBLIC_EXPONENT, _RSA_BITS[algorithm])
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    return ed25519.Ed25519PrivateKey.generate()


def algorithm_of(key: PublicKey) -> KeyAlgorithm:
    """Say which of our algorithms ``key`` belongs to.

    Raises:
        KeyUnavailable: none of them, so it cannot be a key the authority made.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        return KeyAlgorithm.ED25519
    for algorithm, bits in _RSA_BITS.items():
        if isinstance(key, rsa.RSAPublicKey) and key.key_size == bits:
            return algorithm
    for algorithm, curve in _CURVES.items():
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, curve):
            return algorithm
    raise KeyUnavailable("the key is of no algorithm the authority uses")


def signature_hash(key: PrivateKey | PublicKey) -> SignatureHash | None:
    """Return the hash that signatures of ``key`` are made over: None for Ed25519, which hashes by itself."""
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return hashes.SHA256()
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)):
        return None
    return _CURVE_HASHES[key.curve.name]()


def verify_signature(key: PublicKey, signature: bytes, data: bytes) -> None:
    """Check a signature made by the private half of ``key`` with the hash of ``signature_hash``.

    Raises:
        cryptography.exceptions.InvalidSignature: it is not one.
    """
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, data)
    else:
        key.verify(signature, data, ec.ECDSA(_CURVE_HASHES[key.curve.name]()))


def require_halves(key: PrivateKey) -> None:
    """Return if a private key makes signatures that its public key verifies.

    Raises:
        KeyUnavailable: it does not, or cannot be used.
    """
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(_TESTED, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        chosen = signature_hash(key)
        assert chosen is not None  # noqa: S101 - of a curve
        signature = key.sign(_TESTED, ec.ECDSA(chosen))
    else:
        signature = key.sign(_TESTED)
    try:
        verify_signature(key.public_key(), signature, _TESTED)
    except InvalidSignature:
        raise KeyUnavailable("the key does not make signatures that verify") from None


class KeyStore(ABC):
    """Where private keys live. A reference is a short name, unique in the store, kept in the database."""

    @abstractmethod
    def generate(self, reference: str, algorithm: KeyAlgorithm) -> PrivateKey:
        """Make a key, keep it durably under ``reference``, and return it.

        Raises:
            KeyExists: the reference is taken; the key that has it is left alone.
        """

    @abstractmethod
    def load(self, reference: str) -> PrivateKey:
        """Return the key kept under ``reference``.

        Raises:
            KeyUnavailable: there is none, or it cannot be opened.
        """

    @abstractmethod
    def exists(self, reference: str) -> bool:
        """Say whether a key is kept under ``reference``.

        Raises:
            KeyUnavailable: that cannot be told now.
        """

    def require_reachable(self) -> None:  # noqa: B027 - most are where this process is
        """Return if the keys can be reached now, as far as that is not plain; cheap enough to be asked again and again.

        Raises:
            KeyUnavailable: they cannot.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of what is open; whoever uses the store again opens it again."""


class FileKeyStore(KeyStore):
    """Keys as files of encrypted PKCS #8 (PEM), mode 0600, in a directory of mode 0700.

    The passphrase should be machine-made (``signetry init`` makes it from 32 random bytes): cryptography stretches it by
    2,048 rounds of PBKDF2 only, which is enough for a random one and too little for one that a person thought up.
    """

    def __init__(self, directory: Path, passphrase: bytes) -> None:
        if not passphrase:
            raise KeyUnavailable("the passphrase of the key files is empty")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(directory.stat().st_mode) & _READABLE_BY_OTHERS:
            raise UnsafeSecretFile(f"the key directory {directory.name!r} is open to other users: it must have mode 0700")
        self._directory = directory
        self._passphrase = passphrase

    def generate(self, reference: str, algorithm: KeyAlgorithm) -> PrivateKey:
        """Make a key and write its file; see ``KeyStore.generate``."""
        target = self._path(reference)
        if target.exists():
            raise KeyExists(f"there is already a key {reference!r}")
        key = generate_key(algorithm)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(self._passphrase),
        )
        try:
            create_private(target, pem)
        except FileExistsError:
            raise KeyExists(f"there is already a key {reference!r}") from None
        return key

    def load(self, reference: str) -> PrivateKey:
        """Read and decrypt a key file; see ``KeyStore.load``."""
        try:
            pem = read_secret_file(self._path(reference))
        except FileNotFoundError:
            raise KeyUnavailable(f"there is no key {reference!r}") from None
        try:
            key = serialization.load_pem_private_key(pem, self._passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # One message for a wrong passphrase, a damaged file and a key that is not encrypted, without the library's own
            # text and without a chained traceback: neither may say anything about the file's content.
            raise KeyUnavailable(f"the key {reference!r} cannot be opened with the configured passphrase") from None
        if not isinstance(key, PrivateKey):
            raise KeyUnavailable(f"the key {reference!r} is of no algorithm the authority uses")
        return key

    def exists(self, reference: str) -> bool:
        """Say whether there is a file for ``reference``."""
        return self._path(reference).exists()

    def _path(self, reference: str) -> Path:
        require_reference(reference)
        return self._directory / f"{reference}.key"


def require_reference(reference: str) -> None:
    """Return if a key can be kept under ``reference``.

    Raises:
        KeyUnavailable: no key can: it holds what has no place in a file name or a label.
    """
    if not _REFERENCE.fullmatch(reference):
        raise KeyUnavailable(f"{reference!r} is no name for a key")


def open_key(keystore: KeyStore, reference: str, algorithm: KeyAlgorithm) -> PrivateKey:
    """Return the key for a row about to be written: a new one, or the one an interrupted attempt left behind.

    Raises:
        KeyUnavailable: the key that is there is of another algorithm, or cannot be opened.
    """
    if not keystore.exists(reference):
        return keystore.generate(reference, algorithm)
    key = keystore.load(reference)
    if algorithm_of(key.public_key()) is not algorithm:
        raise KeyUnavailable(f"the key {reference!r} is not of algorithm {algorithm}")
    return key


def read_secret_file(path: Path) -> bytes:
    """Return the content of a file that only its owner may read, without a trailing line break.

    Raises:
        UnsafeSecretFile: it is no regular file, or its mode lets its group or others at it.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        # The open file is judged, not the name, which could point elsewhere by the time it is opened.
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise UnsafeSecretFile(f"the secret {path.name!r} is not a regular file")
        if mode & _READABLE_BY_OTHERS:
            shown = f"{stat.S_IMODE(mode):04o}"
            raise UnsafeSecretFile(f"the secret {path.name!r} has mode {shown}: it must be 0600, closed to group and others")
        return file.read().rstrip(b"\r\n")
