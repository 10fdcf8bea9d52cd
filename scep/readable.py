"""What a stranger's request says, made fit to be read: for a terminal, a page and the audit record."""

from collections.abc import Iterable
from typing import Final

_LONGEST_TEXT: Final = 200
_LONGEST_SUBJECT: Final = 1000
# RFC 4514 section 3, and what devices put beside it.
_ATTRIBUTES: Final = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.42": "GN",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.8": "unstructuredAddress",
}


def printable(text: str) -> str:
    """Return ``text`` short, and without what moves a terminal's cursor or turns the direction of writing."""
    return _short("".join(character if character.isprintable() else "?" for character in text), _LONGEST_TEXT)


def readable_subject(subject: Iterable[tuple[str, str]]) -> str:
    """Return a subject, given as (dotted OID, text), as ``CN=…, O=…`` in the order of the request."""
    return _short(
        ", ".join(f"{_ATTRIBUTES.get(oid, oid)}={_escaped(printable(text))}" for oid, text in subject), _LONGEST_SUBJECT
    )


def _escaped(text: str) -> str:
    # A value must not look like further attributes.
    return text.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
