"""What a chain of authorities' certificates, all of them together, lets the lowest of them issue.

Sources: RFC 5280 sections 4.2.1.10 and 6.1.4 (name constraints bind everything below, subject and subjectAltName alike), 4.2.1.12
and S/MIME baseline requirements 7.1.5 (an extended key usage in an authority's certificate limits what is below it, too);
RFC 9598 section 6 (a SmtpUTF8Mailbox is held to the rfc822Name constraints). What cannot be compared counts as not permitted,
and as excluded: verifiers would refuse it.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.constraints import permits_purposes
from ca.errors import ProfileNotAllowed
from ca.names import comparable_address, comparable_domain
from ca.subject import SMTP_UTF8_MAILBOX, UPN
from foundation import tlv
from foundation.tlv import MalformedTlv

_MAIL = "mail"
# What OpenSSL takes for a host name in a common name: labels with a dot between them, such as ann.lee.
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)+")
_GeneralNames = tuple[x509.GeneralName, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a chain; a certificate must respect each of them.

    Attributes:
        purposes: the extended key usages of each authority that names any.
        permitted: the permitted subtrees of each authority that has some; they bind the kinds of names that they mention.
        excluded: the excluded subtrees of all of them.
    """

    purposes: tuple[frozenset[x509.ObjectIdentifier], ...] = ()
    permitted: tuple[_GeneralNames, ...] = ()
    excluded: _GeneralNames = ()

    def check(self, purposes: x509.ExtendedKeyUsage | None, names: Iterable[x509.GeneralName]) -> None:
        """Refuse to issue what verifiers would refuse to accept.

        Raises:
            ProfileNotAllowed: a purpose or a name lies outside the limits.
        """
        if not self.permits_purposes(purposes):
            raise ProfileNotAllowed("the authority's certificate does not allow it to issue for the purposes of this profile")
        if not (self.permitted or self.excluded):
            return
        for name in names:
            if not self.permits(name):
                raise ProfileNotAllowed(f"the authority's certificate does not allow it to certify {shown(name)}")

    def permits_purposes(self, purposes: x509.ExtendedKeyUsage | None) -> bool:
        """Say whether the authority may issue for all of ``purposes``, those of a profile."""
        return all(permits_purposes(each, purposes) for each in self.purposes)

    def permits(self, name: x509.GeneralName) -> bool:
        """Say whether the authority may certify ``name``."""
        kind = _kind(name)
        if any(_lies_within(name, base) is not False for base in self.excluded if _kind(base) == kind):
            return False
        of_kind = ([base for base in subtrees if _kind(base) == kind] for subtrees in self.permitted)
        return all(any(_lies_within(name, base) for base in bases) for bases in of_kind if bases)

    def completed(self, subject: x509.Name) -> x509.Name:
        """Return ``subject`` as this authority can certify it: below a permitted directory name, where it must be below one.

        The attributes of that name come first and take the place of those of the same types. A subject that no permitted
        name helps is returned as it is, for ``check`` to refuse.
        """
        if not self.permitted or not subject.rdns or self.permits(x509.DirectoryName(subject)):
            return subject
        for base in self._directory_names():
            said = {attribute.oid for attribute in base}
            own = [rdn for rdn in subject.rdns if not said & {attribute.oid for attribute in rdn}]
            candidate = x509.Name([*base.rdns, *own])
            if own and self.permits(x509.DirectoryName(candidate)):
                return candidate
        return subject

    @property
    def mail_hosts(self) -> tuple[str, ...]:
        """Hosts that constraints on mail addresses and UPNs name as permitted, for whoever needs one that may do."""
        bases = (_text(base) for subtrees in self.permitted for base in subtrees if _kind(base) in (_MAIL, UPN))
        return tuple(f"mail{base}" if base.startswith(".") else base.rpartition("@")[2] for base in bases if base)

    def _directory_names(self) -> Iterator[x509.Name]:
        return (base.value for subtrees in self.permitted for base in subtrees if isinstance(base, x509.DirectoryName))


def limits_of(chain: Iterable[x509.Certificate]) -> Limits:
    """Read the limits from an authority's certificate and those above it."""
    purposes: list[frozenset[x509.ObjectIdentifier]] = []
    permitted: list[_GeneralNames] = []
    excluded: list[x509.GeneralName] = []
    for certificate in chain:
        for extension in certificate.extensions:
            value = extension.value
            if isinstance(value, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in value:
                purposes.append(frozenset(value))
            elif isinstance(value, x509.NameConstraints):
                permitted += [tuple(value.permitted_subtrees)] if value.permitted_subtrees else []
                excluded += value.excluded_subtrees or []
    return Limits(tuple(purposes), tuple(permitted), tuple(excluded))


def names_held(subject: x509.Name, entries: Iterable[x509.GeneralName]) -> Iterator[x509.GeneralName]:
    """Yield the names of an end entity that name constraints are held against: its subject and its subjectAltName's ``entries``.

    OpenSSL adds a common name that reads like a host where no entry names one, and refuses it outside of the DNS constraints.
    """
    if subject.rdns:
        yield x509.DirectoryName(subject)
    names_host = False
    for entry in entries:
        names_host |= isinstance(entry, x509.DNSName)
        yield entry
    if not names_host:
        common_names = (str(each.value) for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME))
        yield from (x509.DNSName(each) for each in common_names if _HOST.fullmatch(each))


def shown(name: x509.GeneralName) -> str:
    """Return a name for a message."""
    if isinstance(name, x509.DirectoryName):
        return name.value.rfc4514_string() or "an empty name"
    if isinstance(name, x509.OtherName):
        return _text(name) or f"a name of type {name.type_id.dotted_string}"
    return str(name.value)


def _kind(name: x509.GeneralName) -> object:
    if isinstance(name, x509.OtherName):
        return _MAIL if name.type_id == SMTP_UTF8_MAILBOX else name.type_id
    return _MAIL if isinstance(name, x509.RFC822Name) else type(name)


def _lies_within(name: x509.GeneralName, base: x509.GeneralName) -> bool | None:
    """Say whether ``name`` lies within the subtree ``base`` of the same kind; None where that cannot be told."""
    if isinstance(base, x509.DirectoryName) and isinstance(name, x509.DirectoryName):
        return _is_below(name.value, base.value)
    if isinstance(base, x509.DNSName) and isinstance(name, x509.DNSName):
        return _is_host_within(name.value, base.value)
    if isinstance(base, x509.IPAddress) and isinstance(name, x509.IPAddress):
        return _is_address_within(name.value, base.value)
    if isinstance(base, x509.UniformResourceIdentifier) and isinstance(name, x509.UniformResourceIdentifier):
        return _is_uri_within(name.value, base.value)
    # Microsoft's constraint on UPNs is written like one on mail addresses (CAPolicy.inf: UPN = @example.com, or .example.com for
    # all below).
    if isinstance(base, x509.RFC822Name) or (isinstance(base, x509.OtherName) and base.type_id == UPN):
        return _is_mail_within(_text(name), _text(base))
    return None


def _is_below(name: x509.Name, base: x509.Name) -> bool:
    if len(base.rdns) > len(name.rdns):
        return False
    return all(_comparable(mine) == _comparable(its) for mine, its in zip(name.rdns, base.rdns, strict=False))


def _comparable(rdn: x509.RelativeDistinguishedName) -> set[tuple[str, str]]:
    """Return what two equal RDNs have in common (RFC 5280 section 7.1: case and runs of spaces do not count)."""
    return {(attribute.oid.dotted_string, " ".join(str(attribute.value).casefold().split())) for attribute in rdn}


def _is_host_within(host: str, base: str) -> bool:
    host, base = comparable_domain(host), comparable_domain(base)
    # A leading dot, which RFC 5280 gives to URIs and mail only, is read by OpenSSL as it is there: what is below.
    return not base or (host.endswith(base) if base.startswith(".") else host == base or host.endswith(f".{base}"))


def _is_uri_within(uri: str, base: str) -> bool | None:
    host = urlsplit(uri).hostname
    # RFC 5280: a URI without a host, or with an address for one, cannot be held against a constraint.
    return None if host is None or host.replace(".", "").isdigit() or ":" in host else _is_mail_host(host, base)


def _is_mail_within(address: str, base: str) -> bool | None:
    if not address:
        return None
    # A host written with a leading at sign is Microsoft's way, and OpenSSL takes it.
    if "@" in base.removeprefix("@"):
        return comparable_address(address) == comparable_address(base)
    return _is_mail_host(address.rpartition("@")[2], base.removeprefix("@"))


def _is_mail_host(host: str, base: str) -> bool:
    host, base = comparable_domain(host), comparable_domain(base)
    return not base or (host.endswith(base) if base.startswith(".") else host == base)


def _is_address_within(address: object, base: object) -> bool | None:
    if isinstance(base, (ipaddress.IPv4Network, ipaddress.IPv6Network)) and isinstance(
        address, (ipaddress.IPv4Address, ipaddress.IPv6Address)
    ):
        return address in base
    return None


def _text(name: x509.GeneralName) -> str:
    """Return the text of an rfc822Name, or of an otherName that holds a string; empty where it holds none."""
    if not isinstance(name, x509.OtherName):
        return str(name.value)
    try:
        element = tlv.read(name.value)
        return tlv.text(element.tag, name.value[element.content : element.end])
    except MalformedTlv:
        return ""
