"""How programs turn a password into bytes: RFC 7292 appendix B.1 says BMPString, RFC 8018 says nothing, so ways are many."""

import unicodedata
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way to spell a password: for the derivation of RFC 7292, and for PBKDF2 in the order of likelihood."""

    bmp: bytes = field(repr=False)
    octets: tuple[bytes, ...] = field(repr=False)


def spellings(password: str | None) -> tuple[Spelling, ...]:
    """Return the ways in which ``password`` may have been spelt, the likeliest first.

    None is an absent password, which RFC 7292 tells from the empty one; programs differ in what they make of either, so both are
    tried. Of a password with other than ASCII characters, composed and decomposed forms differ (macOS hands out decomposed ones),
    and gpgsm, like OpenSSL before 1.1, takes each byte of its UTF-8 form for a character.
    """
    empty, absent = Spelling(b"\0\0", (b"",)), Spelling(b"", (b"",))
    if password is None:
        return (absent, empty)
    if not password:
        return (empty, absent)
    forms = dict.fromkeys((password, unicodedata.normalize("NFC", password), unicodedata.normalize("NFD", password)))
    found = [Spelling(_bmp(form), _octets(form)) for form in forms]
    if not password.isascii():
        found += [Spelling(_bmp(_utf8(form).decode("latin-1")), _octets(form)) for form in forms]
    return tuple(found)


def bmp_password(password: str) -> bytes:
    """Return ``password`` as the derivation of RFC 7292 takes it: a BMPString with a terminator."""
    return _bmp(password)


def _bmp(text: str) -> bytes:
    # Characters beyond the BMP become surrogate pairs, as Windows and Java write them.
    return text.encode("utf-16-be", "surrogatepass") + b"\0\0"


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _octets(text: str) -> tuple[bytes, ...]:
    # OpenSSL takes a password for PBKDF2 as the terminal gives it, which may be Latin-1; NSS long took the BMPString.
    latin = (text.encode("latin-1"),) if all(ord(character) < 0x100 for character in text) else ()  # noqa: PLR2004 - Latin-1
    return tuple(dict.fromkeys((_utf8(text), *latin, _bmp(text))))
