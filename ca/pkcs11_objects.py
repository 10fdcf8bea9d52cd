"""The objects of a token that are a key pair: made, and found again by label and CKA_ID (PKCS #11 v2.40 section 4).

The label is our reference; the CKA_ID, which is random, tells which public key belongs to a private one. A private key without
its public half is what an interrupted attempt left, and counts as none.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from ca.errors import KeyUnavailable
from ca.keys import KeyAlgorithm, PublicKey
from foundation import tlv

_RSA_BITS: Final = {KeyAlgorithm.RSA2048: 2048, KeyAlgorithm.RSA3072: 3072, KeyAlgorithm.RSA4096: 4096}
_CURVES: Final[dict[KeyAlgorithm, ec.EllipticCurve]] = {
    KeyAlgorithm.P256: ec.SECP256R1(),
    KeyAlgorithm.P384: ec.SECP384R1(),
    KeyAlgorithm.P521: ec.SECP521R1(),
}
_CURVE_PARAMETERS: Final = {
    KeyAlgorithm.P256: tlv.object_identifier("1.2.840.10045.3.1.7"),
    KeyAlgorithm.P384: tlv.object_identifier("1.3.132.0.34"),
    KeyAlgorithm.P521: tlv.object_identifier("1.3.132.0.35"),
}
# PKCS #11 v3.0 section 2.3.10 allows the name as well as the object identifier; SoftHSM 2.6 knows the name.
_EDWARDS_PARAMETERS: Final = (tlv.printable_string("edwards25519"), tlv.object_identifier("1.3.101.112"))
_EDWARDS_BYTES: Final = 32
# Wrapping and unwrapping are left out: neither must a key of ours carry others out, nor may others come in by it.
_RSA_USES: Final = MechanismFlag.SIGN | MechanismFlag.VERIFY | MechanismFlag.DECRYPT | MechanismFlag.ENCRYPT
_CURVE_USES: Final = MechanismFlag.SIGN | MechanismFlag.VERIFY | MechanismFlag.DERIVE
_KEPT: Final = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
_OPEN: Final = {Attribute.PRIVATE: False}


@dataclass(frozen=True, slots=True)
class Pair:
    """A key pair in a token. ``private`` is good as long as the session it was found in."""

    key_id: bytes
    private: pkcs11.PrivateKey
    public_key: PublicKey


def make_pair(session: pkcs11.Session, reference: str, key_id: bytes, algorithm: KeyAlgorithm) -> None:
    """Make a pair that stays in the token and never leaves it; where ``key_id`` is there already, it was made before."""
    if objects(session, {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: key_id}):
        return
    common: dict[str, Any] = {"id": key_id, "label": reference, "store": True, "private_template": _KEPT}
    if algorithm.is_rsa:
        session.generate_keypair(KeyType.RSA, _RSA_BITS[algorithm], capabilities=_RSA_USES, public_template=_OPEN, **common)
    elif algorithm in _CURVE_PARAMETERS:
        template = {**_OPEN, Attribute.EC_PARAMS: _CURVE_PARAMETERS[algorithm]}
        session.generate_keypair(KeyType.EC, capabilities=_CURVE_USES, public_template=template, **common)
    else:
        template = {**_OPEN, Attribute.EC_PARAMS: _EDWARDS_PARAMETERS[0]}
        session.generate_keypair(
            KeyType.EC_EDWARDS,
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            public_template=template,
            **common,
        )


def find_pair(session: pkcs11.Session, reference: str) -> Pair:
    """Return the pair called ``reference``.

    Raises:
        NoSuchKey: there is none that is whole.
        KeyUnavailable: there are several.
    """
    found = whole_pairs(session, reference)
    if not found:
        raise pkcs11.NoSuchKey(f"there is no key {reference!r}")
    if len(found) > 1:
        raise KeyUnavailable(f"the token holds {len(found)} keys called {reference!r}: remove all but the one in use")
    return found[0]


def whole_pairs(session: pkcs11.Session, reference: str) -> list[Pair]:
    """Return every pair called ``reference`` both halves of which are there."""
    found = []
    for private in objects(session, {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: reference}):
        key_id = private[Attribute.ID]
        halves = (private, *objects(session, {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: key_id}))
        public_key = next((key for key in map(_public_key, halves) if key is not None), None)
        if isinstance(private, pkcs11.PrivateKey) and public_key is not None and not _is_begun(private):
            found.append(Pair(key_id, private, public_key))
    return found


def _is_begun(private: pkcs11.Object) -> bool:
    """Say whether making a private key was broken off after its object was there, before it held anything."""
    kind = Attribute.MODULUS if _attribute(private, Attribute.KEY_TYPE) == KeyType.RSA else Attribute.EC_PARAMS
    return bool(_attribute(private, kind) == b"")


def find_private(session: pkcs11.Session, reference: str, key_id: bytes) -> pkcs11.PrivateKey:
    """Return a private key that was found before. Raises NoSuchKey."""
    wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: reference, Attribute.ID: key_id}
    for private in objects(session, wanted):
        if isinstance(private, pkcs11.PrivateKey):
            return private
    raise pkcs11.NoSuchKey(f"there is no key {reference!r}")


def destroy(session: pkcs11.Session, key_id: bytes) -> None:
    """Remove both halves of a pair."""
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        for each in objects(session, {Attribute.CLASS: kind, Attribute.ID: key_id}):
            each.destroy()


def objects(session: pkcs11.Session, wanted: Mapping[Attribute, Any]) -> list[pkcs11.Object]:
    """Return the objects that are as ``wanted``."""
    # python-pkcs11 0.10 prints a stack trace when a search fails to begin; a session that is lost says so here without one.
    with suppress(pkcs11.RandomNoRNG, pkcs11.FunctionNotSupported):
        session.generate_random(8)
    return list(session.get_objects(dict(wanted)))


def _public_key(half: pkcs11.Object) -> PublicKey | None:
    """Return what a half tells of the public key; None where it does not tell it all."""
    kind = _attribute(half, Attribute.KEY_TYPE)
    if kind == KeyType.RSA:
        modulus, exponent = _attribute(half, Attribute.MODULUS), _attribute(half, Attribute.PUBLIC_EXPONENT)
        if not modulus or not exponent:
            return None
        return rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
    parameters, point = _attribute(half, Attribute.EC_PARAMS), _attribute(half, Attribute.EC_POINT)
    if not parameters or not point:
        return None
    if kind == KeyType.EC_EDWARDS and parameters in _EDWARDS_PARAMETERS:
        return ed25519.Ed25519PublicKey.from_public_bytes(_unwrapped(point, _EDWARDS_BYTES))
    for algorithm, known in _CURVE_PARAMETERS.items():
        if parameters == known:
            curve = _CURVES[algorithm]
            length = 1 + 2 * ((curve.key_size + 7) // 8)
            return ec.EllipticCurvePublicKey.from_encoded_point(curve, _unwrapped(point, length))
    return None


def _unwrapped(point: bytes, length: int) -> bytes:
    """Return a point from the OCTET STRING that it should stand in; some tokens give it bare."""
    return point if len(point) == length else point[-length:]


def _attribute(half: pkcs11.Object, attribute: Attribute) -> Any:  # noqa: ANN401 - bytes, or a KeyType
    try:
        return half[attribute]
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, pkcs11.FunctionFailed):
        return None
