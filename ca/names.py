"""Names a request asks for, held against the names its subject may have.

Nothing of a request ever becomes a name in a certificate (design.md section 5; ESC1 in facts/ca.md section 5): what is not
authorised is refused, so that a client learns early that it will not get it, and the rest is ignored.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import idna

from ca.authorisation import SubjectNames
from ca.errors import NamesNotAuthorised


@dataclass(frozen=True, slots=True)
class RequestedNames:
    """What a certificate request asks for, by kind, as it stands there: decoded to text, not normalised.

    Attributes:
        common_name: the subject's common name, the last one where there are several; empty when there is none.
        emails: addresses, from emailAddress attributes of the subject, rfc822Name and SmtpUTF8Mailbox (RFC 9598).
        upns: user principal names (otherName 1.3.6.1.4.1.311.20.2.3).
        dns_names: dNSName.
        uris: uniformResourceIdentifier.
        sids: security identifiers from the extension 1.3.6.1.4.1.311.25.2.
        other: every name of any other kind, each described for the refusal ("IP address 192.0.2.1", "otherName 1.2.3").
        wants_ca: whether basicConstraints says CA:true.
        organisational_units: OU attributes of the subject, in order.
    """

    common_name: str = ""
    emails: tuple[str, ...] = ()
    upns: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    sids: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    wants_ca: bool = False
    organisational_units: tuple[str, ...] = ()


# Where Windows and Intune put the SID when they cannot add an extension (Microsoft KB5014754).
SID_URI_PREFIX = "tag:microsoft.com,2022-09-14:sid:"

_SHOWN_LENGTH = 100
# No name of ours is longer. Bringing text into normal form takes quadratic time where it is all combining marks.
_LONGEST_NAME = 1024
# What separates an address from the rest of a common name: "Ann Lee <ann@example.com>", "ann@example.com/device 3".
_AROUND_ADDRESSES = re.compile(r"[\s<>()\[\],;:\"'/\\=|]+")


def check_request(requested: RequestedNames, names: SubjectNames) -> None:
    """Refuse a request for a name, or for CA rights, that ``names`` does not hold.

    The rest of the subject is ignored, whatever it says; its common name is looked through for addresses only.

    Raises:
        NamesNotAuthorised: the message names the first thing that is not authorised.
    """
    if requested.wants_ca:
        raise NamesNotAuthorised("the requested CA certificate (basicConstraints CA:true) is not authorised")
    emails = {comparable_address(email) for email in names.emails}
    upns = {comparable_address(names.upn)} - {""}
    _check("mail address", requested.emails, comparable_address, emails)
    _check("UPN", requested.upns, comparable_address, upns)
    _check("DNS name", requested.dns_names, comparable_domain, {comparable_domain(name) for name in names.dns_names})
    uris = {*names.uris, SID_URI_PREFIX + names.sid} if names.sid else {*names.uris}
    _check("URI", requested.uris, str, uris)
    _check("SID", requested.sids, str, {names.sid} - {""})
    if requested.other:
        raise NamesNotAuthorised(f"the requested {_shown(requested.other[0])} is not authorised")
    own_names = {name for name in (names.display_name, names.device_name) if name}
    if requested.common_name not in own_names:
        _check("common name with the address", addresses_within(requested.common_name), comparable_address, emails | upns)


def comparable_address(address: str) -> str:
    """Return what two addresses (or UPNs) that mean the same mailbox have in common.

    The domain counts in any case and as A-labels. The local part counts in any case, too: RFC 5321 would let case matter,
    no mail system this certifies for does.
    """
    local_part, separator, domain = address.rpartition("@")
    return unicodedata.normalize("NFC", local_part).casefold() + separator + comparable_domain(domain)


def comparable_domain(domain: str) -> str:
    """Return a domain name in lower case and A-labels, without a final dot; what is no domain name is only lowered."""
    domain = domain.removesuffix(".")
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return domain.casefold()


def addresses_within(text: str) -> tuple[str, ...]:
    """Return the parts of ``text`` that look like mail addresses: something on both sides of an at sign."""
    parts = _AROUND_ADDRESSES.split(text)
    return tuple(part for part in parts if "@" in part.strip("@"))


def _check(kind: str, requested: Iterable[str], comparable: Callable[[str], str], authorised: Collection[str]) -> None:
    for name in requested:
        if len(name) > _LONGEST_NAME or comparable(name) not in authorised:
            raise NamesNotAuthorised(f"the requested {kind} {_shown(name)} is not authorised")


def _shown(name: str) -> str:
    """Return a peer's text fit for a reply and a log line: printable and short."""
    printable = "".join(character if character.isprintable() else "?" for character in name)
    return printable if len(printable) <= _SHOWN_LENGTH else printable[:_SHOWN_LENGTH] + "…"
