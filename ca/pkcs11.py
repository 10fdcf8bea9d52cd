"""The key store in a hardware security module, or whatever else speaks PKCS #11 v2.40.

Keys are made in the token and never leave it. A key's reference is its label there.
"""

import secrets
from dataclasses import dataclass
from typing import Final

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, Mechanism, MechanismFlag, ObjectClass

from ca.errors import KeyExists, KeyMissing, KeyUnavailable, TokenUnavailable
from ca.keys import KeyAlgorithm, KeyStore, PrivateKey, require_halves, require_reference
from ca.pkcs11_keys import TokenCurveKey, TokenEdwardsKey
from ca.pkcs11_objects import Pair, destroy, find_pair, make_pair, objects, whole_pairs
from ca.pkcs11_rsa import TokenRsaKey, offers
from ca.pkcs11_session import Token, TokenLocation

_KEY_ID_BYTES: Final = 16
_ASKED_AGAIN_AFTER_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a token says of itself.

    Attributes:
        model: manufacturer and model.
        serial: its serial number.
        decrypts_raw: whether it leaves the padding of RSA decryption to us.
    """

    model: str
    serial: str
    decrypts_raw: bool


class Pkcs11KeyStore(KeyStore):
    """Keys in a token, which is opened when it is first needed."""

    def __init__(self, location: TokenLocation) -> None:
        self._token = Token(location)

    def generate(self, reference: str, algorithm: KeyAlgorithm) -> PrivateKey:
        """Make a key in the token; see ``KeyStore.generate``.

        Raises:
            KeyExists: the reference is taken.
            KeyUnavailable: the token cannot be used, or makes no keys of this kind.
        """
        if self.exists(reference):
            raise KeyExists(f"there is already a key {reference!r}")
        key_id = secrets.token_bytes(_KEY_ID_BYTES)
        try:
            self._token.run(lambda session: make_pair(session, reference, key_id, algorithm))
            self._token.run(lambda session: _require_alone(session, reference, key_id))
        except TokenUnavailable:
            raise
        except KeyUnavailable as error:
            raise KeyUnavailable(f"the token makes no key of kind {algorithm}: {error}") from None
        key = self.load(reference)
        require_halves(key)
        return key

    def load(self, reference: str) -> PrivateKey:
        """Find a key in the token; see ``KeyStore.load``."""
        require_reference(reference)
        pair = self._token.run(lambda session: find_pair(session, reference))
        return _key(self._token, reference, pair)

    def exists(self, reference: str) -> bool:
        """Say whether the token holds a key called ``reference``."""
        require_reference(reference)

        def look(session: pkcs11.Session) -> bool:
            if whole_pairs(session, reference):
                return True
            raise pkcs11.NoSuchKey

        try:
            return self._token.run(look)
        except KeyMissing:
            return False

    def facts(self) -> TokenFacts:
        """Return what the token says of itself. Raises TokenUnavailable."""

        def ask(session: pkcs11.Session) -> TokenFacts:
            token = session.token
            model = f"{token.manufacturer_id} {token.model}".strip()
            return TokenFacts(
                model, token.serial.decode(errors="replace"), offers(session, Mechanism.RSA_X_509, MechanismFlag.DECRYPT)
            )

        return self._token.run(ask)

    def require_reachable(self) -> None:
        """Return if the token has answered a moment ago, or answers now. Raises KeyUnavailable."""
        if self._token.has_answered_within(_ASKED_AGAIN_AFTER_SECONDS):
            return

        def look(session: pkcs11.Session) -> None:
            if not objects(session, {Attribute.CLASS: ObjectClass.PRIVATE_KEY}):
                raise pkcs11.NoSuchKey("the token holds no keys")

        self._token.run(look)

    def close(self) -> None:
        """Leave the token; the next use opens it again."""
        self._token.close()


def _key(token: Token, reference: str, pair: Pair) -> PrivateKey:
    """Return the private key of a pair."""
    if isinstance(pair.public_key, rsa.RSAPublicKey):
        return TokenRsaKey(token, reference, pair)
    if isinstance(pair.public_key, ec.EllipticCurvePublicKey):
        return TokenCurveKey(token, reference, pair)
    return TokenEdwardsKey(token, reference, pair)


def _require_alone(session: pkcs11.Session, reference: str, key_id: bytes) -> None:
    """Return if the key just made is the only one of its name; otherwise another process was at it, too, and ours is taken back.

    Two that made one at the same time both take theirs back: better none than two.
    """
    if [pair.key_id for pair in whole_pairs(session, reference)] != [key_id]:
        destroy(session, key_id)
        raise KeyExists(f"there is already a key {reference!r}")
