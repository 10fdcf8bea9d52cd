"""PKCS #12: what is in a file, under a password, within bounds (RFC 7292).

Everything that takes time is bounded before it is begun: bytes, iterations, keys, certificates. Where there is a MAC it is
verified.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from foundation import tlv
from foundation.tlv import MalformedTlv, TruncatedTlv
from pkcs_import import pkcs12_oids as oids
from pkcs_import.effort import MAX_ITERATIONS, Effort
from pkcs_import.errors import (
    BadContainer,
    ContainerTooBig,
    NoPrivateKey,
    NotPkcs12,
    TruncatedContainer,
    UnsupportedKey,
    WrongPassword,
)
from pkcs_import.pkcs12_ciphers import Encryption, opened, read_encryption
from pkcs_import.pkcs12_decoding import (
    MAX_BYTES,
    ContentInfo,
    Encrypted,
    Pfx,
    SafeBag,
    certificate_bag,
    content_info,
    decode,
    encrypted_data,
    encrypted_private_key_info,
    octets,
    pfx,
    safe_bags,
    sequence_of,
)
from pkcs_import.pkcs12_mac import authenticated_spelling, read_mac
from pkcs_import.pkcs12_password import Spelling, spellings
from pkcs_import.private_keys import PrivateKey, read_private_key
from pkcs_import.recognition import recognised

__all__ = ["MAX_BYTES", "MAX_CERTIFICATES", "MAX_ITERATIONS", "MAX_KEYS", "ContainedKey", "Container", "open_container"]

MAX_KEYS: Final = 100
MAX_CERTIFICATES: Final = 500
_MAX_BAGS: Final = 2000
_MAX_DEPTH: Final = 4
# More than ``foundation.ber`` lets be open at once.
_MAX_OPEN: Final = 40
_VERSION: Final = 3
_CUT_OFF: Final = "the file ends too early: part of it is missing"

_MAX_NAME: Final = 200
_MAX_PASSWORD: Final = 4096


@dataclass(frozen=True, slots=True)
class ContainedKey:
    """A private key of a file: as PKCS #8 DER, with its public half as SubjectPublicKeyInfo DER.

    ``algorithm`` is for people: ``rsa2048``, ``secp256r1``, ``ed25519``.
    """

    pkcs8: bytes = field(repr=False)
    spki: bytes = field(repr=False)
    algorithm: str
    local_key_id: bytes | None
    friendly_name: str


@dataclass(frozen=True, slots=True)
class Container:
    """What is in a file: its keys, and its certificates as DER, each once, in the order they stand in.

    ``skipped`` says of each key that was left out why it was.
    """

    keys: tuple[ContainedKey, ...]
    certificates: tuple[bytes, ...] = field(repr=False)
    skipped: tuple[str, ...] = ()


def open_container(data: bytes, password: str | None) -> Container:
    """Return what is in a PKCS #12 file, opened with ``password`` (None for no password at all).

    Raises:
        ContainerTooBig: more than MAX_BYTES, or more keys or certificates than are read.
        NotPkcs12: something else, or damaged.
        TruncatedContainer: it ends too early.
        ContainerTooSlow: it asks for more than MAX_ITERATIONS, or for too many in all.
        WrongPassword: the password does not open it.
        UnsupportedKey: all of its keys, or the encryption of all of it, are of a kind that is not read here.
        NoPrivateKey: there is no private key in it, or none that is sound.
    """
    if len(data) > MAX_BYTES:
        raise ContainerTooBig(f"the file has {len(data)} bytes; {MAX_BYTES} are read at most")
    if len(password or "") > _MAX_PASSWORD:
        raise WrongPassword(f"the password has more than {_MAX_PASSWORD} characters, so it is none")
    try:
        return _Opening(spellings(password)).opened(_outermost(data))
    except MalformedTlv as error:
        raise NotPkcs12("the file is no PKCS #12, or it is damaged") from error


def _outermost(data: bytes) -> Pfx:
    reason = recognised(data)
    if reason is not None:
        raise NotPkcs12(reason)
    try:
        tag, content, length = tlv.read_header(data, 0, len(data))
    except TruncatedTlv as error:
        raise TruncatedContainer(_CUT_OFF) from error
    if tag != tlv.SEQUENCE:
        raise NotPkcs12("the file is no PKCS #12")
    if length is not None:
        # What follows the outermost element is no part of it.
        data = data[: content + length]
    try:
        found = decode(pfx, data)
    except MalformedTlv as error:
        if length is None and _is_cut_off(data):
            raise TruncatedContainer(_CUT_OFF) from error
        raise
    if found.version != _VERSION:
        raise NotPkcs12(f"the file is a PKCS #12 of version {found.version}; version {_VERSION} is read")
    return found


def _is_cut_off(data: bytes) -> bool:
    """Return whether ``data``, of indefinite length, ends before its end-of-contents."""
    offset, depth = 0, 0
    try:
        while depth <= _MAX_OPEN:
            tag, content, length = tlv.read_header(data, offset, len(data))
            if length is None:
                depth += 1
            elif tag == 0:
                depth -= 1
            if depth == 0:
                return False
            offset = content + (length or 0)
    except TruncatedTlv:
        return True
    except MalformedTlv:
        pass
    return False


class _Opening:
    """One file being opened."""

    def __init__(self, candidates: Sequence[Spelling]) -> None:
        self._spellings = candidates
        self._effort = Effort()
        self._bags = 0
        self._keys: dict[bytes, ContainedKey] = {}
        self._certificates: dict[bytes, None] = {}
        self._refused: list[BadContainer] = []

    def opened(self, found: Pfx) -> Container:
        content = self._authenticated_content(found)
        parts = [decode(content_info, part) for part in decode(sequence_of, content)]
        # What each part is encrypted by is looked at before any of them is decrypted.
        prepared = [(part, self._prepared(part)) for part in parts]
        if found.mac_data is not None:
            mac = read_mac(found.mac_data)
            self._spellings = (authenticated_spelling(mac, found.mac_data.digest, content, self._spellings, self._effort),)
        for part, encrypted in prepared:
            self._take_part(part, encrypted)
        if not self._keys:
            raise self._refused[0] if self._refused else NoPrivateKey("there is no private key in the file")
        return Container(tuple(self._keys.values()), tuple(self._certificates), tuple(str(each) for each in self._refused))

    def _authenticated_content(self, found: Pfx) -> bytes:
        if found.auth_safe.content_type == oids.SIGNED_DATA:
            raise UnsupportedKey("the file is authenticated by a signature; only those under a password are read")
        if found.auth_safe.content_type != oids.DATA:
            raise MalformedTlv("an authenticated safe of a foreign type")
        return decode(octets, found.auth_safe.content)

    def _prepared(self, part: ContentInfo) -> tuple[Encryption, Encrypted] | None:
        if part.content_type == oids.ENVELOPED_DATA:
            raise UnsupportedKey("the file is encrypted to a certificate; only those under a password are read")
        if part.content_type != oids.ENCRYPTED_DATA:
            return None
        encrypted = decode(encrypted_data, part.content)
        return read_encryption(encrypted.algorithm), encrypted

    def _take_part(self, part: ContentInfo, prepared: tuple[Encryption, Encrypted] | None) -> None:
        if prepared is not None:
            encryption, encrypted = prepared
            bags = self._decrypted_bags(encryption, encrypted)
        elif part.content_type == oids.DATA:
            bags = decode(safe_bags, decode(octets, part.content))
        else:
            raise MalformedTlv("a part of a foreign type")
        self._take(bags, 1)

    def _decrypted_bags(self, encryption: Encryption, encrypted: Encrypted) -> list[SafeBag]:
        try:
            return opened(encryption, encrypted.ciphertext, self._spellings, self._effort, lambda plain: decode(safe_bags, plain))
        except WrongPassword as error:
            raise WrongPassword("the password does not open what is encrypted in the file") from error

    def _take(self, bags: Sequence[SafeBag], depth: int) -> None:
        self._bags += len(bags)
        if self._bags > _MAX_BAGS:
            raise ContainerTooBig(f"there are more than {_MAX_BAGS} things in the file")
        for bag in bags:
            if bag.bag_id in (oids.KEY_BAG, oids.SHROUDED_KEY_BAG):
                self._take_key(bag)
            elif bag.bag_id == oids.CERTIFICATE_BAG:
                self._take_certificate(bag)
            elif bag.bag_id == oids.SAFE_CONTENTS_BAG:
                if depth == _MAX_DEPTH:
                    raise MalformedTlv("nested too deeply")
                self._take(decode(safe_bags, bag.value), depth + 1)

    def _take_key(self, bag: SafeBag) -> None:
        if len(self._keys) + len(self._refused) >= MAX_KEYS:
            raise ContainerTooBig(f"there are more than {MAX_KEYS} keys in the file")
        try:
            key = read_private_key(bag.value) if bag.bag_id == oids.KEY_BAG else self._decrypted_key(bag.value)
        except (NoPrivateKey, UnsupportedKey, WrongPassword) as error:
            self._refused.append(error)
            return
        contained = ContainedKey(key.pkcs8, key.spki, key.algorithm, _local_key_id(bag), _friendly_name(bag))
        self._keys.setdefault(key.spki, contained)

    def _decrypted_key(self, encoded: bytes) -> PrivateKey:
        encrypted = decode(encrypted_private_key_info, encoded)
        encryption = read_encryption(encrypted.algorithm)
        try:
            return opened(encryption, encrypted.ciphertext, self._spellings, self._effort, read_private_key)
        except WrongPassword as error:
            raise WrongPassword("the password does not open the private key in the file") from error

    def _take_certificate(self, bag: SafeBag) -> None:
        certificate_type, value = decode(certificate_bag, bag.value)
        if certificate_type != oids.X509_CERTIFICATE:
            return
        self._certificates[decode(octets, value)] = None
        if len(self._certificates) > MAX_CERTIFICATES:
            raise ContainerTooBig(f"there are more than {MAX_CERTIFICATES} certificates in the file")


def _local_key_id(bag: SafeBag) -> bytes | None:
    try:
        return decode(octets, bag.attributes[oids.LOCAL_KEY_ID])
    except (KeyError, MalformedTlv):
        return None


def _friendly_name(bag: SafeBag) -> str:
    """Return what the key is called, fit to be shown; nothing where it is called nothing, or by no string."""
    encoded = bag.attributes.get(oids.FRIENDLY_NAME, b"")
    try:
        element = tlv.read(encoded)
        name = tlv.text(element.tag, encoded[element.content : element.end])
    except MalformedTlv:
        return ""
    return "".join(character for character in name if character.isprintable())[:_MAX_NAME]
