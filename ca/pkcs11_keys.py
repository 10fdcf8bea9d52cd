"""Private keys in a token, as ``cryptography``'s own classes: whoever signs does not notice (facts/ca.md section 6).

Signatures are made over a digest that is computed here. RSA keys, which decrypt as well, are in ``ca.pkcs11_rsa``.
"""

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import pkcs11
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.utils import Buffer
from pkcs11 import KDF, Attribute, KeyType, Mechanism

from ca.errors import KeyNotExtractable
from ca.pkcs11_errors import is_refusal
from ca.pkcs11_objects import Pair, find_private
from ca.pkcs11_session import Token
from foundation import tlv

_T = TypeVar("_T")


class TokenKey:
    """What the three have in common."""

    def __init__(self, token: Token, reference: str, pair: Pair) -> None:
        self._token = token
        self._reference = reference
        self._key_id = pair.key_id
        self._public_key: Any = pair.public_key
        # The session that a handle of the key was found in, and the handle.
        self._found: tuple[pkcs11.Session, Any] | None = None

    def use(self, operation: Callable[[Any], _T]) -> _T:
        """Return what ``operation`` makes of the key in its token. Raises as ``Token.run``."""
        return self._token.run(lambda session: operation(self._handle(session)))

    def _handle(self, session: pkcs11.Session) -> Any:  # noqa: ANN401 - its class is made up of what the key can do
        if self._found is None or self._found[0] is not session:
            self._found = (session, find_private(session, self._reference, self._key_id))
        return self._found[1]

    @property
    def key_size(self) -> int:
        """The length of the key in bits."""
        size: int = self._public_key.key_size
        return size

    def public_key(self) -> Any:  # noqa: ANN401 - one of three classes
        """Return the public half."""
        return self._public_key

    def private_numbers(self) -> NoReturn:
        """Refuse: the key never leaves its token."""
        raise KeyNotExtractable("this private key never leaves its token")

    def private_bytes(self, *_arguments: object, **_named: object) -> NoReturn:
        """Refuse: the key never leaves its token."""
        raise KeyNotExtractable("this private key never leaves its token")

    def private_bytes_raw(self) -> NoReturn:
        """Refuse: the key never leaves its token."""
        raise KeyNotExtractable("this private key never leaves its token")

    def __copy__(self) -> Any:  # noqa: ANN401 - the very key
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Any:  # noqa: ANN401 - as above
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._reference}>"


class TokenCurveKey(TokenKey, ec.EllipticCurvePrivateKey):
    """A key on one of NIST's curves."""

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        curve: ec.EllipticCurve = self._public_key.curve
        return curve

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign with ECDSA; the signature is DER (RFC 3279 section 2.2.3).

        Raises:
            UnsupportedAlgorithm: anything but ECDSA with a random nonce.
            KeyUnavailable: the token cannot be used.
        """
        if not isinstance(signature_algorithm, ec.ECDSA) or signature_algorithm.deterministic_signing:
            raise UnsupportedAlgorithm("keys in a token sign with ECDSA and a random nonce")
        size = (self.key_size + 7) // 8
        # Of a digest longer than the order, the leftmost bits count (FIPS 186-5 section 6.4.1); not every token cuts it.
        digest = digest_of(data, signature_algorithm.algorithm)[1][:size]
        raw = self.use(lambda key: key.sign(digest, mechanism=Mechanism.ECDSA))
        half = len(raw) // 2
        return utils.encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Return the x coordinate that ECDH gives (CKM_ECDH1_DERIVE without a derivation function).

        Raises:
            ValueError: the peer's key is on another curve.
            UnsupportedAlgorithm: another algorithm than ECDH.
            KeyUnavailable: the token cannot be used, or keeps to itself what it derives.
        """
        if not isinstance(algorithm, ec.ECDH):
            raise UnsupportedAlgorithm("keys on a curve exchange with ECDH")
        if peer_public_key.curve.name != self.curve.name:
            raise ValueError("the peer's key is on another curve")
        numbers = peer_public_key.public_numbers()
        size = (self.key_size + 7) // 8
        point = b"\4" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")

        def derive(key: Any) -> bytes:  # noqa: ANN401 - as _handle
            try:
                return _derived(key, point, size)
            except pkcs11.PKCS11Error as error:
                if not is_refusal(error):
                    raise
                # Before PKCS #11 v2.30 it had to stand in an OCTET STRING.
                return _derived(key, tlv.octet_string(point), size)

        return self.use(derive)


class TokenEdwardsKey(TokenKey, ed25519.Ed25519PrivateKey):
    """An Ed25519 key (PKCS #11 v3.0 section 2.3.14)."""

    def sign(self, data: Buffer) -> bytes:
        """Sign. Raises KeyUnavailable: the token cannot be used."""
        return bytes(self.use(lambda key: key.sign(bytes(data), mechanism=Mechanism.EDDSA)))


def _derived(key: Any, point: bytes, size: int) -> bytes:  # noqa: ANN401 - as _handle
    secret = key.derive_key(
        KeyType.GENERIC_SECRET,
        size * 8,
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, point),
        template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True, Attribute.TOKEN: False},
    )
    try:
        agreed: bytes = secret[Attribute.VALUE]
    finally:
        secret.destroy()
    return agreed.rjust(size, b"\0")


def digest_of(data: Buffer, algorithm: object) -> tuple[str, bytes]:
    """Return the hash's name and the digest to sign."""
    if isinstance(algorithm, utils.Prehashed):
        inner: hashes.HashAlgorithm = algorithm._algorithm  # noqa: SLF001 - there is no public name for it
        if len(data) != inner.digest_size:
            raise ValueError("the digest has another length than its hash gives")
        return inner.name, bytes(data)
    if not isinstance(algorithm, hashes.HashAlgorithm):
        raise UnsupportedAlgorithm("keys in a token sign over a hash")
    context = hashes.Hash(algorithm)
    context.update(data)
    return algorithm.name, context.finalize()
