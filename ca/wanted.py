"""The names and rights that the extensions of a certificate request ask for, collected by kind (RFC 5280 section 4.2.1.6)."""

import ipaddress
from typing import Final

from foundation import tlv
from foundation.tlv import MalformedTlv

MAX_NAMES: Final = 128
"""How many names a request may hold, in its subject and in each extension."""

_BASIC_CONSTRAINTS: Final = "2.5.29.19"
_SUBJECT_ALTERNATIVE_NAME: Final = "2.5.29.17"
_SECURITY_IDENTIFIER: Final = "1.3.6.1.4.1.311.25.2"
_SECURITY_IDENTIFIER_NAME: Final = "1.3.6.1.4.1.311.25.2.1"
_UPN: Final = "1.3.6.1.4.1.311.20.2.3"
_SMTP_UTF8_MAILBOX: Final = "1.3.6.1.5.5.7.8.9"
_OTHER_NAME, _RFC822_NAME, _DNS_NAME, _URI, _IP_ADDRESS, _REGISTERED_ID = 0xA0, 0x81, 0x82, 0x86, 0x87, 0x88
_UNSUPPORTED_NAMES: Final = {0xA3: "X.400 address", 0xA4: "directory name", 0xA5: "EDI party name"}


class WantedNames:
    """What the extensions of a request ask for, collected; other extensions than these change nothing and are passed over."""

    def __init__(self) -> None:
        self.emails: list[str] = []
        self.upns: list[str] = []
        self.dns_names: list[str] = []
        self.uris: list[str] = []
        self.sids: list[str] = []
        self.other: list[str] = []
        self.wants_ca = False

    def add_extension(self, oid: str, value: bytes) -> None:
        """Collect from one extension."""
        if oid == _SUBJECT_ALTERNATIVE_NAME:
            names = _members(value)
            if len(names) > MAX_NAMES:
                raise MalformedTlv("too many names")
            for tag, content in names:
                self._add_name(tag, content)
        elif oid == _BASIC_CONSTRAINTS:
            self.wants_ca |= any(tag == tlv.BOOLEAN and any(content) for tag, content in _members(value))
        elif oid == _SECURITY_IDENTIFIER:
            for tag, content in _members(value):
                kind, _, text = _other_name(content) if tag == _OTHER_NAME else ("", 0, b"")
                if kind != _SECURITY_IDENTIFIER_NAME:
                    raise MalformedTlv("a security identifier extension without a security identifier")
                self.sids.append(raw_text(text))

    def _add_name(self, tag: int, content: bytes) -> None:
        if tag == _RFC822_NAME:
            self.emails.append(raw_text(content))
        elif tag == _DNS_NAME:
            self.dns_names.append(raw_text(content))
        elif tag == _URI:
            self.uris.append(raw_text(content))
        elif tag == _OTHER_NAME:
            oid, value_tag, value = _other_name(content)
            if oid == _UPN:
                self.upns.append(tlv.text(value_tag, value))
            elif oid == _SMTP_UTF8_MAILBOX:
                self.emails.append(tlv.text(value_tag, value))
            else:
                self.other.append(f"otherName {oid}")
        elif tag == _IP_ADDRESS:
            self.other.append(f"IP address {_ip_address(content)}")
        elif tag == _REGISTERED_ID:
            self.other.append(f"registered ID {tlv.dotted(tlv.tlv(tlv.OBJECT_IDENTIFIER, content))}")
        else:
            self.other.append(_UNSUPPORTED_NAMES.get(tag, "name of an unknown kind"))


def _members(value: bytes) -> list[tuple[int, bytes]]:
    """Return tag and content of the members of the SEQUENCE that an extension holds."""
    outer = tlv.read(value)
    if outer.tag != tlv.SEQUENCE or outer.end != len(value):
        raise MalformedTlv("an extension of unknown form")
    return [(child.tag, value[child.content : child.end]) for child in tlv.children(value, outer)]


def _other_name(content: bytes) -> tuple[str, int, bytes]:
    """Return the type of an otherName, and the tag and content of its value."""
    kind = tlv.read(content)
    explicit = tlv.read(content, kind.end)
    if explicit.tag != 0xA0:  # noqa: PLR2004 - [0] EXPLICIT, RFC 5280 section 4.2.1.6
        raise MalformedTlv("an otherName without a value")
    value = tlv.read(content, explicit.content, explicit.end)
    return tlv.dotted(content[: kind.end]), value.tag, content[value.content : value.end]


def raw_text(content: bytes) -> str:
    """Return an IA5String's text; what is not ASCII is read as somebody meant it, and matches an authorised name or does not."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _ip_address(content: bytes) -> str:
    try:
        return str(ipaddress.ip_address(content))
    except ValueError:
        return "of unknown form"
