"""Mail addresses, user principal names and DNS names in the one form in which they are stored and compared.

Addresses follow RFC 5321 (dot-string local parts; quoted ones are refused) with the non-ASCII local parts of RFC 6531. Domains
are IDNA 2008 A-labels, mapped by UTS #46, as RFC 9598 wants them in a certificate. User principal names follow the rules Active
Directory has for them.

The stored form is in lower case throughout. RFC 5321 lets a host tell ``Taro@`` from ``taro@``, yet no mail system in use does
(Exchange, Entra ID and Gmail compare without case), and two persons told apart by case alone would be one mailbox with two
certificates. Keeping one form makes the database's unique constraint the rule itself, on every database and beyond ASCII.
"""

import unicodedata
from functools import lru_cache

import idna

from people.errors import InvalidField

MAX_LOCAL_OCTETS = 64
MAX_DOMAIN = 253
MAX_ADDRESS_OCTETS = 320

# Anything longer is refused before it costs work: a domain may shrink when it is mapped, but never from this.
_MAX_INPUT = 1024

# RFC 5322 section 3.2.3 (atext), beyond letters and digits.
_ATEXT = frozenset("!#$%&'*+-/=?^_`{|}~")

# What Active Directory refuses in a log-on name.
_NOT_IN_LOGON_NAMES = frozenset('"/\\[]:;|=,+*?<>')


def normalise_email(value: str, *, field: str = "email") -> str:
    """Return the mail address ``value`` in its stored form: NFC, lower case, the domain in A-labels.

    Raises:
        InvalidField: it is no address that mail can be sent to and a certificate can name; ``field`` is what the error calls it.
    """
    local, domain = _split(value, field)
    local = _local_part(local, field)
    for character in local:
        if character.isascii() and not (character.isalnum() or character in _ATEXT or character == "."):
            raise InvalidField(field, f"the part before the @ may not hold {character}")
    domain = _domain(domain, field)
    if "." not in domain:
        raise InvalidField(field, "the domain has no dot")
    return _joined(local, domain, field)


def normalise_upn(value: str, *, field: str = "upn") -> str:
    """Return the user principal name ``value`` in its stored form: NFC, lower case, the suffix in A-labels.

    The suffix may be a single label, as that of a single-label domain is.

    Raises:
        InvalidField: Active Directory would not accept it; ``field`` is what the error calls it.
    """
    local, suffix = _split(value, field)
    local = _local_part(local, field)
    for character in local:
        if character in _NOT_IN_LOGON_NAMES:
            raise InvalidField(field, f"the part before the @ may not hold {character}")
    return _joined(local, _domain(suffix, field), field)


def normalise_dns_name(value: str, *, field: str = "dns_name") -> str:
    """Return the host name ``value`` in lower case and A-labels. Wildcards, IP addresses and a final dot are refused.

    Raises:
        InvalidField: it is no host name; ``field`` is what the error calls it.
    """
    _refuse_oversize(value, field)
    return _domain(value, field)


def is_logon_character(character: str) -> bool:
    """Say whether Active Directory allows ``character`` in a log-on name."""
    return character not in _NOT_IN_LOGON_NAMES


def _split(value: str, field: str) -> tuple[str, str]:
    _refuse_oversize(value, field)
    if not value:
        raise InvalidField(field, "is empty")
    local, at, domain = value.rpartition("@")
    if not at:
        raise InvalidField(field, "has no @")
    if "@" in local:
        raise InvalidField(field, "has more than one @")
    return local, domain


def _refuse_oversize(value: str, field: str) -> None:
    if len(value) > _MAX_INPUT:
        raise InvalidField(field, f"is longer than {MAX_ADDRESS_OCTETS} octets")


def _local_part(local: str, field: str) -> str:
    """Return what stands before the @ in NFC and lower case, held to what addresses and UPNs have in common."""
    for character in local:
        _refuse_unprintable(character, field)
    # Lower case first, as it may decompose (U+0130), then NFC; the result is a fixed point of both.
    local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).lower())
    if not local:
        raise InvalidField(field, "has nothing before the @")
    for part in local.split("."):
        if not part:
            raise InvalidField(field, "the part before the @ may not begin or end with a dot, nor hold two in a row")
        if unicodedata.category(part[0]).startswith("M"):
            raise InvalidField(field, "has a combining mark with nothing to combine with")
    return local


def _refuse_unprintable(character: str, field: str) -> None:
    if character.isascii():
        if character == " ":
            raise InvalidField(field, "holds a space")
        if not character.isprintable():
            raise InvalidField(field, f"holds the control character U+{ord(character):04X}")
        return
    category = unicodedata.category(character)
    if category == "Cf":
        # Bidirectional overrides and zero-width characters: two addresses that differ must look different.
        raise InvalidField(field, f"holds the invisible character U+{ord(character):04X}")
    if category.startswith("C"):
        raise InvalidField(field, f"holds U+{ord(character):04X}, which is a control character or none at all")
    if category.startswith("Z"):
        raise InvalidField(field, f"holds the space U+{ord(character):04X}")
    if any(mapped.isascii() for mapped in unicodedata.normalize("NFKC", character)):
        # Full-width forms above all: in an address they are a slip of the keyboard, or a look-alike.
        raise InvalidField(field, f"holds U+{ord(character):04X}; write it as plain ASCII")


@lru_cache(maxsize=4096)
def _mapped(domain: str) -> str:
    return idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")


def _domain(domain: str, field: str) -> str:
    """Return ``domain`` in lower-case A-labels."""
    if not domain:
        raise InvalidField(field, "has no domain")
    try:
        mapped = _mapped(domain)
    except UnicodeError as error:  # idna.IDNAError, and what the codecs below it raise
        raise InvalidField(field, "the domain is not a valid (internationalised) domain name") from error
    if mapped.endswith("."):
        raise InvalidField(field, "the domain ends with a dot")
    if len(mapped) > MAX_DOMAIN:
        raise InvalidField(field, f"the domain is longer than {MAX_DOMAIN} characters")
    if mapped.rpartition(".")[2].isdigit():
        raise InvalidField(field, "an IP address stands where a domain name is needed")
    return mapped


def _joined(local: str, domain: str, field: str) -> str:
    if len(local.encode()) > MAX_LOCAL_OCTETS:
        raise InvalidField(field, f"the part before the @ is longer than {MAX_LOCAL_OCTETS} octets")
    return f"{local}@{domain}"
