"""The structures of PKCS #12 and of the encryptions in it, decoded within bounds (RFC 7292, RFC 5652, RFC 8018).

Old Windows and Java write BER: indefinite lengths, strings in segments. What does not read as it stands is brought into DER form
by ``foundation.ber`` and read again. Reading is otherwise lenient where others are: SETs in any order, defaults spelt out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from foundation import tlv
from foundation.ber import normalise
from foundation.tlv import MalformedTlv

MAX_BYTES: Final = 1 << 20
"""The largest file read, in bytes."""

_CONTENT: Final = 0xA0
_CONTENT_PRIMITIVE: Final = 0x80
# Beyond what any of the numbers read here may be; Python takes quadratic time to write long ones out.
_MAX_INTEGER_BYTES: Final = 16

Structure = TypeVar("Structure")


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An AlgorithmIdentifier: the OID, dotted, and the encoded parameters, empty when absent."""

    oid: str
    parameters: bytes


@dataclass(frozen=True, slots=True)
class ContentInfo:
    """A content, encoded, under its type. ``content`` is empty when absent."""

    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class MacData:
    """What a file is authenticated by."""

    algorithm: Algorithm
    digest: bytes
    salt: bytes
    iterations: int


@dataclass(frozen=True, slots=True)
class Pfx:
    """The outermost structure."""

    version: int
    auth_safe: ContentInfo
    mac_data: MacData | None


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A ciphertext and how it was made: an EncryptedData or an EncryptedPrivateKeyInfo."""

    algorithm: Algorithm
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class SafeBag:
    """A key, a certificate or something else: the encoded value, and the encoded attributes, by OID the first of their values."""

    bag_id: str
    value: bytes
    attributes: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Pbkdf2:
    """What PBKDF2 is to do; ``pseudorandom`` None for HMAC with SHA-1, its default."""

    salt: bytes
    iterations: int
    key_length: int | None
    pseudorandom: Algorithm | None


def decode(read: Callable[[bytes], Structure], data: bytes) -> Structure:
    """Return what ``read`` makes of ``data``: as it stands, and if that fails brought from BER into DER form.

    Raises:
        MalformedTlv: it is malformed in both, or breaks the bounds of ``foundation.ber``.
    """
    try:
        return read(data)
    except MalformedTlv:
        return read(normalise(data, max_size=MAX_BYTES))


# --- what ``decode`` reads ---


def pfx(data: bytes) -> Pfx:
    """Read a PFX (RFC 7292 section 4)."""
    fields = _Fields(data)
    version = fields.integer()
    auth_safe = content_info(fields.take())
    return Pfx(version, auth_safe, _mac_data(fields.take()) if fields else None)


def content_info(data: bytes) -> ContentInfo:
    """Read a ContentInfo (RFC 5652 section 3)."""
    fields = _Fields(data)
    return ContentInfo(tlv.dotted(fields.take()), _unwrapped(fields.take()) if fields else b"")


def encrypted_data(data: bytes) -> Encrypted:
    """Read an EncryptedData (RFC 5652 section 8), with its ciphertext whole or in segments."""
    fields = _Fields(data)
    fields.integer()
    content = _Fields(fields.take())
    content.take()
    algorithm = _algorithm(content.take())
    ciphertext = content.take() if content else b""
    if ciphertext[:1] == bytes((_CONTENT,)):
        # The IMPLICIT tag hides from the BER reader that this is a string, so its segments are still apart.
        return Encrypted(algorithm, b"".join(octets(each) for each in _elements(ciphertext, _CONTENT)))
    return Encrypted(algorithm, _content(ciphertext, _CONTENT_PRIMITIVE))


def encrypted_private_key_info(data: bytes) -> Encrypted:
    """Read an EncryptedPrivateKeyInfo (RFC 5958 section 3)."""
    fields = _Fields(data)
    return Encrypted(_algorithm(fields.take()), octets(fields.take()))


def sequence_of(data: bytes) -> list[bytes]:
    """Return the encoded elements of a SEQUENCE OF."""
    return list(_elements(data, tlv.SEQUENCE))


def safe_bags(data: bytes) -> list[SafeBag]:
    """Read a SafeContents (RFC 7292 section 4.2)."""
    return [_safe_bag(each) for each in _elements(data, tlv.SEQUENCE)]


def certificate_bag(data: bytes) -> tuple[str, bytes]:
    """Read a CertBag (RFC 7292 section 4.2.3): the type of the certificate, and what is in it, encoded."""
    fields = _Fields(data)
    return tlv.dotted(fields.take()), _unwrapped(fields.take())


def octets(data: bytes) -> bytes:
    """Return what an OCTET STRING holds."""
    return _content(data, tlv.OCTET_STRING)


def two_algorithms(data: bytes) -> tuple[Algorithm, Algorithm]:
    """Read the parameters of PBES2 (derivation, cipher) or of PBMAC1 (derivation, HMAC)."""
    fields = _Fields(data)
    return _algorithm(fields.take()), _algorithm(fields.take())


def salt_and_iterations(data: bytes) -> tuple[bytes, int]:
    """Read the parameters of the encryptions of RFC 7292 appendix C."""
    fields = _Fields(data)
    return octets(fields.take()), fields.integer()


def pbkdf2(data: bytes) -> Pbkdf2:
    """Read the parameters of PBKDF2 (RFC 8018 appendix A.2). A salt from elsewhere than an OCTET STRING is not read."""
    fields = _Fields(data)
    salt, iterations = octets(fields.take()), fields.integer()
    key_length = fields.integer() if fields.next_tag == tlv.INTEGER else None
    return Pbkdf2(salt, iterations, key_length, _algorithm(fields.take()) if fields else None)


# --- pieces ---


class _Fields:
    """The elements of a SEQUENCE, taken one by one."""

    def __init__(self, data: bytes) -> None:
        self._left = list(_elements(data, tlv.SEQUENCE))[::-1]

    def __bool__(self) -> bool:
        return bool(self._left)

    @property
    def next_tag(self) -> int | None:
        """The tag of what comes next; None at the end."""
        return self._left[-1][0] if self._left else None

    def take(self) -> bytes:
        """Return the next element."""
        if not self._left:
            raise MalformedTlv("a SEQUENCE ends too early")
        return self._left.pop()

    def integer(self) -> int:
        """Return the next element, an INTEGER."""
        content = _content(self.take(), tlv.INTEGER)
        if not 0 < len(content) <= _MAX_INTEGER_BYTES:
            raise MalformedTlv("an INTEGER out of all bounds")
        return int.from_bytes(content, "big", signed=True)


def _elements(data: bytes, tag: int) -> Iterator[bytes]:
    outer = tlv.read(data)
    if outer.tag != tag or outer.end != len(data):
        raise MalformedTlv("another element was expected")
    for each in tlv.children(data, outer):
        yield data[each.start : each.end]


def _content(data: bytes, tag: int) -> bytes:
    outer = tlv.read(data)
    if outer.tag != tag or outer.end != len(data):
        raise MalformedTlv("another element was expected")
    return data[outer.content :]


def _unwrapped(data: bytes) -> bytes:
    """Return the element under an EXPLICIT [0]."""
    inner = list(_elements(data, _CONTENT))
    if len(inner) != 1:
        raise MalformedTlv("not one element under a tag")
    return inner[0]


def _algorithm(data: bytes) -> Algorithm:
    fields = _Fields(data)
    return Algorithm(tlv.dotted(fields.take()), fields.take() if fields else b"")


def _mac_data(data: bytes) -> MacData:
    fields = _Fields(data)
    digest_info = _Fields(fields.take())
    algorithm, digest = _algorithm(digest_info.take()), octets(digest_info.take())
    # One iteration is the default, which old writers spell out.
    return MacData(algorithm, digest, octets(fields.take()), fields.integer() if fields else 1)


def _safe_bag(data: bytes) -> SafeBag:
    fields = _Fields(data)
    bag_id, value = tlv.dotted(fields.take()), _unwrapped(fields.take())
    return SafeBag(bag_id, value, _attributes(fields.take()) if fields else {})


def _attributes(data: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for each in _elements(data, tlv.SET):
        fields = _Fields(each)
        oid, values = tlv.dotted(fields.take()), list(_elements(fields.take(), tlv.SET))
        if values:
            found.setdefault(oid, values[0])
    return found
