"""The other fields of persons and devices: each checked and brought to the one form in which it is stored and compared."""

import re
import unicodedata

from people.addresses import is_logon_character, normalise_dns_name
from people.errors import InvalidField

# Format characters that names in Persian and the scripts of India are spelt with.
_JOINERS = frozenset("\u200c\u200d")

# What a 32-bit column holds, for certain.
_ID = re.compile(r"[1-9][0-9]{0,8}")
_SID = re.compile(r"S-1-5((?:-(?:0|[1-9][0-9]{0,9})){1,15})", re.IGNORECASE | re.ASCII)
_PHONE = re.compile(r"\+?[0-9]{3,15}")
_IMEI = re.compile(r"[0-9]{15}")
_ICCID = re.compile(r"89[0-9A-F]{16,20}")
_MAC = re.compile(r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|[0-9a-f]{12}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}")
_UDID_OLD = re.compile(r"[0-9a-f]{40}", re.IGNORECASE | re.ASCII)
_UDID = re.compile(r"[0-9A-F]{8}-(?:[0-9A-F]{16}|[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12})", re.IGNORECASE | re.ASCII)
_EAS_DEVICE_ID = re.compile(r"[0-9A-Za-z]{1,32}")
_NETBIOS_NAME = re.compile(r"[^\s\\/:*?\"<>|.,\x00-\x1f\x7f-\U0010ffff]{1,15}")
# RFC 5646 section 2.1 without the grandfathered tags, which nothing uses.
_LANGUAGE = re.compile(
    r"(?P<language>[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})"
    r"(?:-(?P<script>[a-z]{4}))?"
    r"(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<rest>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[a-wy-z0-9](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?)",
)
_MAX_LANGUAGE = 35
_MAX_SUB_AUTHORITY = 2**32 - 1
_PUNCTUATION_OF_NUMBERS = str.maketrans("", "", " -().\u00a0")


def is_id(text: str) -> bool:
    """Say whether ``text`` can be the number under which something is recorded."""
    return _ID.fullmatch(text) is not None


def normalise_text(value: str, *, field: str, maximum: int, required: bool = False) -> str:
    """Return free text in NFC without the spaces around it.

    Control characters, bidirectional overrides and other invisible characters are refused: they would deceive the reader of a
    certificate and injure LDAP. Private-use characters stay (Japanese names hold them), as do letters younger than this
    Python's Unicode tables.

    Raises:
        InvalidField: it holds such a character, is longer than ``maximum`` characters, or is ``required`` and empty.
    """
    if len(value) > 4 * maximum:
        raise InvalidField(field, f"is longer than {maximum} characters")
    text = unicodedata.normalize("NFC", value).strip(" \u3000")
    if not (text.isascii() and text.isprintable()):
        for character in text:
            category = unicodedata.category(character)
            if category in {"Cc", "Cs", "Zl", "Zp"} or (category == "Cf" and character not in _JOINERS):
                raise InvalidField(field, f"holds the control character U+{ord(character):04X}")
    if len(text) > maximum:
        raise InvalidField(field, f"is longer than {maximum} characters")
    if required and not text:
        raise InvalidField(field, "is empty")
    return text


def normalise_account_name(value: str, *, field: str = "account_name", maximum: int = 100) -> str:
    """Return an account name (sAMAccountName) as text; its case is kept. Raises InvalidField for what Windows refuses."""
    text = normalise_text(value, field=field, maximum=maximum)
    for character in text:
        if not is_logon_character(character):
            raise InvalidField(field, f"may not hold {character}")
    if text.endswith("."):
        raise InvalidField(field, "may not end with a dot")
    return text


def normalise_account_domain(value: str, *, field: str = "domain") -> str:
    """Return an account's domain: a DNS name in lower case, or a NetBIOS name in upper case. Raises InvalidField."""
    if "." in value:
        return normalise_dns_name(value, field=field)
    if not _NETBIOS_NAME.fullmatch(value):
        raise InvalidField(field, "is neither a DNS name nor a NetBIOS name of up to 15 characters")
    return value.upper()


def normalise_sid(value: str, *, field: str = "sid") -> str:
    """Return a security identifier ``S-1-5-…`` (MS-DTYP section 2.4.2.1). Raises InvalidField."""
    matched = _SID.fullmatch(value)
    if matched is None or any(int(part) > _MAX_SUB_AUTHORITY for part in matched[1].split("-")[1:]):
        raise InvalidField(field, "is not a security identifier such as S-1-5-21-1004336348-1177238915-682003330-1103")
    return value.upper()


def normalise_language(value: str, *, field: str = "language") -> str:
    """Return a language tag in the case RFC 5646 section 2.1.1 recommends: ``ja``, ``zh-Hant-TW``. Raises InvalidField."""
    matched = _LANGUAGE.fullmatch(value.lower()) if value.isascii() and len(value) <= _MAX_LANGUAGE else None
    if matched is None:
        raise InvalidField(field, "is not a language tag such as ja or en-GB")
    tag = [matched["language"], (matched["script"] or "").title(), (matched["region"] or "").upper()]
    return "-".join(part for part in tag if part) + matched["rest"]


def normalise_phone_number(value: str, *, field: str = "phone_number") -> str:
    """Return a telephone number as digits, with a leading + when it is international (E.164). Raises InvalidField."""
    number = value.translate(_PUNCTUATION_OF_NUMBERS)
    if not _PHONE.fullmatch(number):
        raise InvalidField(field, "is not a telephone number of up to 15 digits, such as +819012345678")
    return number


def normalise_imei(value: str, *, field: str = "imei") -> str:
    """Return an IMEI as its 15 digits, the last of which must check the others (Luhn). Raises InvalidField."""
    number = value.translate(_PUNCTUATION_OF_NUMBERS)
    if not _IMEI.fullmatch(number):
        raise InvalidField(field, "is not an IMEI of 15 digits")
    # Every second digit counts double; a two-digit product counts as the sum of its digits.
    total = sum(sum(divmod(2 * int(digit), 10)) if place % 2 else int(digit) for place, digit in enumerate(number))
    if total % 10:
        raise InvalidField(field, "the last digit does not check the IMEI: a digit is wrong")
    return number


def normalise_iccid(value: str, *, field: str = "iccid") -> str:
    """Return the number of a SIM card (ITU-T E.118) without spaces and filler.

    Some operators use hexadecimal digits and not all end with a check digit, so only shape is checked. Raises InvalidField.
    """
    number = value.translate(_PUNCTUATION_OF_NUMBERS).upper().rstrip("F")
    if not _ICCID.fullmatch(number):
        raise InvalidField(field, "is not the number of a SIM card: 18 to 22 digits that begin with 89")
    return number


def normalise_mac(value: str, *, field: str = "wifi_mac") -> str:
    """Return a MAC address as ``aa:bb:cc:dd:ee:ff``; colons, hyphens, dots or nothing may part it. Raises InvalidField."""
    if not _MAC.fullmatch(value.lower()):
        raise InvalidField(field, "is not a MAC address such as aa:bb:cc:dd:ee:ff")
    digits = re.sub(r"[^0-9a-f]", "", value.lower())
    if int(digits[:2], 16) & 1:
        raise InvalidField(field, "is the MAC address of a group, not of one device")
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


def normalise_udid(value: str, *, field: str = "udid") -> str:
    """Return an Apple device's UDID: 40 hexadecimal digits, ``00008030-001A2B3C4D5E6F70``, or a Mac's UUID.

    Raises InvalidField.
    """
    if _UDID_OLD.fullmatch(value):
        return value.lower()
    if _UDID.fullmatch(value):
        return value.upper()
    raise InvalidField(field, "is not a UDID: 40 hexadecimal digits, 8-16, or a UUID")


def normalise_eas_device_id(value: str, *, field: str = "eas_device_id") -> str:
    """Return an Exchange ActiveSync DeviceId (MS-ASHTTP: up to 32 letters and digits) in upper case.

    Exchange compares it without case. Raises InvalidField.
    """
    if not _EAS_DEVICE_ID.fullmatch(value):
        raise InvalidField(field, "is not an Exchange ActiveSync device id of up to 32 letters and digits")
    return value.upper()


def normalise_key(value: str, *, field: str, maximum: int) -> str:
    """Return an identifier that another system made up: text without spaces inside. Raises InvalidField."""
    text = normalise_text(value, field=field, maximum=maximum)
    if any(character.isspace() for character in text):
        raise InvalidField(field, "holds a space")
    return text
