"""RSA keys in a token.

Decryption asks the token for the bare private operation (CKM_RSA_X_509) wherever it offers that, and takes the padding off here:
then nothing the token says depends on what was sent, and what fails is a token that is lost (docs/decisions/0015). Where it does
not, the token takes the padding off, and what it finds wrong with a PKCS #1 v1.5 one is answered by a message of our own making.
"""

import secrets
from typing import Any, Final

import pkcs11
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from pkcs11 import MGF, Mechanism, MechanismFlag

from ca.pkcs11_errors import is_of_the_data, is_refusal
from ca.pkcs11_keys import TokenKey, digest_of
from ca.pkcs11_objects import Pair
from ca.pkcs11_session import Token
from ca.rsa_padding import substitute, take_off_oaep, take_off_pkcs1
from foundation import tlv

_DIGEST_OIDS: Final = {
    "sha1": "1.3.14.3.2.26",
    "sha224": "2.16.840.1.101.3.4.2.4",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
_OAEP_DIGESTS: Final = {
    "sha1": (Mechanism.SHA_1, MGF.SHA1),
    "sha224": (Mechanism.SHA224, MGF.SHA224),
    "sha256": (Mechanism.SHA256, MGF.SHA256),
    "sha384": (Mechanism.SHA384, MGF.SHA384),
    "sha512": (Mechanism.SHA512, MGF.SHA512),
}


class TokenRsaKey(TokenKey, rsa.RSAPrivateKey):
    """An RSA key."""

    def __init__(self, token: Token, reference: str, pair: Pair) -> None:
        super().__init__(token, reference, pair)
        self._modulus: int = self._public_key.public_numbers().n
        self._bytes = (self._public_key.key_size + 7) // 8
        # Of this process: the same ciphertext gives the same message for as long as anybody could compare.
        self._secret = secrets.token_bytes(32)
        self._is_raw: bool | None = None

    def sign(
        self,
        data: bytes,
        padding: padding.AsymmetricPadding,
        algorithm: utils.Prehashed | hashes.HashAlgorithm | utils.NoDigestInfo,
    ) -> bytes:
        """Sign with PKCS #1 v1.5 (CKM_RSA_PKCS over the DigestInfo, RFC 8017 section 9.2).

        Raises:
            UnsupportedAlgorithm: another padding or hash.
            KeyUnavailable: the token cannot be used.
        """
        _require_pkcs1(padding)
        name, digest = digest_of(data, algorithm)
        if name not in _DIGEST_OIDS:
            raise UnsupportedAlgorithm(f"keys in a token do not sign over {name}")
        info = tlv.sequence(tlv.sequence(tlv.object_identifier(_DIGEST_OIDS[name]), tlv.null()), tlv.octet_string(digest))
        signature = self.use(lambda key: key.sign(info, mechanism=Mechanism.RSA_PKCS))
        return bytes(signature).rjust(self._bytes, b"\0")

    def decrypt(self, ciphertext: bytes, padding: padding.AsymmetricPadding) -> bytes:
        """Decrypt PKCS #1 v1.5, which never fails for its padding, or OAEP.

        Raises:
            ValueError: the ciphertext cannot be one of this key, or its OAEP is wrong.
            UnsupportedAlgorithm: another padding, or an OAEP that the token does not do and does not let us do.
            KeyUnavailable: the token cannot be used, whatever was sent.
        """
        ciphertext = bytes(ciphertext)
        # The public key tells this much to anybody. A token would tell it in a way of its own.
        # 0, 1 and n - 1 are left as they are by the operation, and refused by what keeps to SP 800-56B section 7.1.2.1.
        if len(ciphertext) != self._bytes or not 1 < int.from_bytes(ciphertext, "big") < self._modulus - 1:
            raise ValueError("the ciphertext is none of this key")
        if _is_pkcs1(padding):
            return self._decrypt_pkcs1(ciphertext)
        return self._decrypt_oaep(ciphertext, *_oaep(padding))

    def _decrypt_pkcs1(self, ciphertext: bytes) -> bytes:
        block = self._raw(ciphertext)
        if block is not None:
            return take_off_pkcs1(block, self._secret, ciphertext)
        instead = substitute(self._secret, ciphertext, self._bytes)
        message = self.use(lambda key: _unless_of_the_data(key, ciphertext, Mechanism.RSA_PKCS, None))
        return instead if message is None else message

    def _decrypt_oaep(self, ciphertext: bytes, digest: str, mask_digest: str, label: bytes) -> bytes:
        block = self._raw(ciphertext)
        if block is not None:
            message = take_off_oaep(block, digest=digest, mask_digest=mask_digest, label=label)
        else:
            parameters = (_OAEP_DIGESTS[digest][0], _OAEP_DIGESTS[mask_digest][1], label or None)
            message = self.use(lambda key: _unless_of_the_data(key, ciphertext, Mechanism.RSA_PKCS_OAEP, parameters))
        if message is None:
            raise ValueError("decryption failed")
        return message

    def _raw(self, ciphertext: bytes) -> bytes | None:
        """Return the bare result of the private operation; None where the token, or its policy for this key, has no such."""

        def operate(key: Any) -> bytes | None:  # noqa: ANN401 - as _handle
            if self._is_raw is None:
                self._is_raw = offers(key.session, Mechanism.RSA_X_509, MechanismFlag.DECRYPT)
            if not self._is_raw:
                return None
            try:
                block: bytes = key.decrypt(ciphertext, mechanism=Mechanism.RSA_X_509)
            except (pkcs11.EncryptedDataInvalid, pkcs11.EncryptedDataLenRange, pkcs11.DataInvalid, pkcs11.DataLenRange):
                # No token has a reason to. What stands for the result has no padding that is right.
                return bytes(self._bytes)
            except pkcs11.PKCS11Error as error:
                # Said of the mechanism, before the ciphertext was looked at.
                if not is_refusal(error):
                    raise
                self._is_raw = False
                return None
            # Some tokens leave the zero out that every padding begins with.
            return block.rjust(self._bytes, b"\0")

        return self.use(operate)


def offers(session: pkcs11.Session, mechanism: Mechanism, use: MechanismFlag) -> bool:
    """Say whether a token offers a mechanism for ``use``."""
    slot = session.token.slot
    return mechanism in slot.get_mechanisms() and bool(slot.get_mechanism_info(mechanism).flags & use)


def _unless_of_the_data(key: Any, ciphertext: bytes, mechanism: Mechanism, parameters: Any) -> bytes | None:  # noqa: ANN401
    """Return what the token decrypts; None where it finds fault with the ciphertext.

    Raises:
        UnsupportedAlgorithm: it does not do the mechanism with these parameters, whatever was sent.
    """
    try:
        message: bytes = key.decrypt(ciphertext, mechanism=mechanism, mechanism_param=parameters)
    except pkcs11.PKCS11Error as error:
        if is_of_the_data(error):
            return None
        if is_refusal(error):
            raise UnsupportedAlgorithm(f"the token does not decrypt with {mechanism.name} and these hashes") from None
        raise
    return message


def _is_pkcs1(given: object) -> bool:
    return isinstance(given, padding.PKCS1v15)


def _require_pkcs1(given: object) -> None:
    if not _is_pkcs1(given):
        raise UnsupportedAlgorithm("keys in a token sign with PKCS #1 v1.5")


def _oaep(given: object) -> tuple[str, str, bytes]:
    """Return the names of the hash and of MGF1's, and the label."""
    if not isinstance(given, padding.OAEP):
        raise UnsupportedAlgorithm("keys in a token decrypt PKCS #1 v1.5 and OAEP")
    digest, mask_digest = given.algorithm.name, given.mgf._algorithm.name  # noqa: SLF001 - there is no public name for it
    if digest not in _OAEP_DIGESTS or mask_digest not in _OAEP_DIGESTS:
        raise UnsupportedAlgorithm(f"keys in a token do not decrypt OAEP with {digest} and {mask_digest}")
    label: bytes | None = given._label  # noqa: SLF001 - as above
    return digest, mask_digest, label or b""
