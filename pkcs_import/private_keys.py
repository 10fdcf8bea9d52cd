"""Private keys from elsewhere: read, found sound, and brought into one form.

OpenSSL's own check of an RSA key tests its factors for being prime, which takes tens of milliseconds. It is not needed where the
key is matched against a certificate: when p times q is the certificate's modulus and that is a product of two primes, as its
authority saw to, p and q are those primes. What is left is that all parts of the key go together and that it does what its public
half undoes.
"""

import warnings
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.utils import CryptographyDeprecationWarning

from foundation.ber import normalise
from foundation.tlv import MalformedTlv
from pkcs_import.errors import NoPrivateKey, UnsupportedKey

_MAX_BYTES: Final = 16384
_MIN_RSA_BITS: Final = 1024
_MAX_RSA_BITS: Final = 8192
_MAX_EXPONENT_BITS: Final = 64
_PROBE: Final = b"the key does what its public half undoes"

Readable = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | x25519.X25519PrivateKey
    | x448.X448PrivateKey
)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key in one form, PKCS #8 DER without attributes, its public half, and what people call it."""

    pkcs8: bytes = field(repr=False)
    spki: bytes = field(repr=False)
    algorithm: str


def read_private_key(der: bytes) -> PrivateKey:
    """Return the key in a PrivateKeyInfo (RFC 5958), found sound but for the primes of RSA.

    Raises:
        MalformedTlv: it is none.
        UnsupportedKey: it is of a kind that is not read here.
        NoPrivateKey: its parts do not go together.
    """
    if len(der) > _MAX_BYTES:
        raise UnsupportedKey("a private key larger than any that is read here")
    key = _loaded(der)
    if isinstance(key, rsa.RSAPrivateKey):
        _check_rsa(key)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        _check_ec(key)
    pkcs8 = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return PrivateKey(pkcs8, public_half(key.public_key()), _called(key))


def public_half(key: PublicKeyTypes) -> bytes:
    """Return a public key as SubjectPublicKeyInfo DER, in the one form in which equal keys have equal bytes."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _loaded(der: bytes) -> Readable:
    try:
        key = _load(der)
    except ValueError:
        try:
            key = _load(normalise(der, max_size=_MAX_BYTES))
        except ValueError as error:
            raise MalformedTlv("not a private key") from error
    if not isinstance(key, Readable):
        raise UnsupportedKey("a private key of a kind that no mail is encrypted or signed with")
    return key


def _load(der: bytes) -> PrivateKeyTypes:
    try:
        with warnings.catch_warnings():
            # That a key is weak is not what a reader of files from elsewhere decides.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return serialization.load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm as error:
        raise UnsupportedKey("a private key of a kind that is not read here") from error
    except TypeError as error:
        # It is encrypted once more.
        raise MalformedTlv("not a private key in clear") from error
    except InternalError as error:
        # What the library has for a key of Curve25519 with another length.
        raise MalformedTlv("a private key of a wrong length") from error


def _check_rsa(key: rsa.RSAPrivateKey) -> None:
    if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        raise UnsupportedKey(f"RSA keys have between {_MIN_RSA_BITS} and {_MAX_RSA_BITS} bits here, this one {key.key_size}")
    private, public = key.private_numbers(), key.public_key().public_numbers()
    p, q, d, e = private.p, private.q, private.d, public.e
    if p < 3 or q < 3 or p == q or p * q != public.n:  # noqa: PLR2004 - the smallest odd prime
        raise NoPrivateKey("the private key is damaged: its primes do not make up its modulus")
    if not e & 1 or not 3 <= e < 1 << _MAX_EXPONENT_BITS or d * e % (p - 1) != 1 or d * e % (q - 1) != 1:  # noqa: PLR2004 - as above
        raise NoPrivateKey("the private key is damaged: its exponents do not belong together")
    if private.dmp1 != d % (p - 1) or private.dmq1 != d % (q - 1) or private.iqmp >= p or private.iqmp * q % p != 1:
        raise NoPrivateKey("the private key is damaged: the parts that speed it up do not belong to it")
    try:
        signature = key.sign(_PROBE, padding.PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, _PROBE, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature) as error:
        raise NoPrivateKey("the private key is damaged: what it signs does not verify") from error


def _check_ec(key: ec.EllipticCurvePrivateKey) -> None:
    derived = ec.derive_private_key(key.private_numbers().private_value, key.curve).public_key()
    if derived.public_numbers() != key.public_key().public_numbers():
        raise NoPrivateKey("the private key is damaged: the public key within is another one")


def _called(key: Readable) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return f"rsa{key.key_size}"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.curve.name
    return type(key).__name__.removesuffix("PrivateKey").lower()
