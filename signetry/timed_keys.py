"""Private keys whose use is timed: an observer learns how long each signature and decryption took, and what it was for.

They are implementations of ``cryptography``'s own private-key classes around another, so whoever signs does not notice.
"""

import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.keys import KeyAlgorithm, KeyStore, PrivateKey

# Told of one operation: ``ca-sign``, ``ra-sign`` or ``ra-decrypt``, and its seconds.
KeyObserver = Callable[[str, float], None]


class TimedKeyStore(KeyStore):
    """A key store whose keys are timed.

    Args:
        keystore: where the keys are.
        whose: whose keys these are, ``ca`` or ``ra``; the first half of an operation's name.
        observer: told of each operation that succeeded.
    """

    def __init__(self, keystore: KeyStore, whose: str, observer: KeyObserver) -> None:
        self._keystore = keystore
        self._whose = whose
        self._observer = observer

    def generate(self, reference: str, algorithm: KeyAlgorithm) -> PrivateKey:
        """Make a key; see ``KeyStore.generate``."""
        return _timed(self._keystore.generate(reference, algorithm), self._whose, self._observer)

    def load(self, reference: str) -> PrivateKey:
        """Return a key; see ``KeyStore.load``."""
        return _timed(self._keystore.load(reference), self._whose, self._observer)

    def exists(self, reference: str) -> bool:
        """Say whether there is a key."""
        return self._keystore.exists(reference)

    def require_reachable(self) -> None:
        """Return if the keys can be reached."""
        self._keystore.require_reachable()

    def close(self) -> None:
        """Let go of what is open."""
        self._keystore.close()


def _timed(key: PrivateKey, whose: str, observer: KeyObserver) -> PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey):
        return _TimedRsaKey(key, whose, observer)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _TimedCurveKey(key, whose, observer)
    return _TimedEdwardsKey(key, whose, observer)


class _Timed:
    """What the three have in common: the key within, and whom to tell."""

    def __init__(self, key: Any, whose: str, observer: KeyObserver) -> None:  # noqa: ANN401 - one of three classes
        self._key = key
        self._sign_name = f"{whose}-sign"
        self._decrypt_name = f"{whose}-decrypt"
        self._observer = observer

    @property
    def key_size(self) -> int:
        """The length of the key in bits."""
        size: int = self._key.key_size
        return size

    def public_key(self) -> Any:  # noqa: ANN401
        """Return the public half."""
        return self._key.public_key()

    def sign(self, *arguments: Any) -> bytes:  # noqa: ANN401
        """Sign."""
        started = time.perf_counter()
        signature: bytes = self._key.sign(*arguments)
        self._observer(self._sign_name, time.perf_counter() - started)
        return signature

    def private_numbers(self) -> Any:  # noqa: ANN401
        """Return the numbers of the key, where its store lets them out."""
        return self._key.private_numbers()

    def private_bytes(self, *arguments: Any) -> bytes:  # noqa: ANN401
        """Return the key itself, where its store lets it out."""
        exported: bytes = self._key.private_bytes(*arguments)
        return exported

    def __copy__(self) -> Any:  # noqa: ANN401
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Any:  # noqa: ANN401
        return self


class _TimedRsaKey(_Timed, rsa.RSAPrivateKey):
    """An RSA key."""

    def decrypt(self, *arguments: Any) -> bytes:  # noqa: ANN401
        """Decrypt."""
        started = time.perf_counter()
        decrypted: bytes = self._key.decrypt(*arguments)
        self._observer(self._decrypt_name, time.perf_counter() - started)
        return decrypted


class _TimedCurveKey(_Timed, ec.EllipticCurvePrivateKey):
    """A key on one of NIST's curves."""

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        curve: ec.EllipticCurve = self._key.curve
        return curve

    def exchange(self, *arguments: Any) -> bytes:  # noqa: ANN401
        """Agree on a secret."""
        secret: bytes = self._key.exchange(*arguments)
        return secret


class _TimedEdwardsKey(_Timed, ed25519.Ed25519PrivateKey):
    """An Ed25519 key."""

    def private_bytes_raw(self) -> bytes:
        """Return the key itself, where its store lets it out."""
        exported: bytes = self._key.private_bytes_raw()
        return exported
