"""What an authority's own certificate lets it issue: purposes and names.

Sources: RFC 5280 section 4.2.1.10 (name constraints); S/MIME baseline requirements 7.1.5 for extended key usage in an authority's
certificate, which verifiers read as a limit on everything below it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.errors import ProfileNotAllowed
from ca.names import comparable_domain
from ca.subject import SMTP_UTF8_MAILBOX
from foundation import tlv


@dataclass(frozen=True, slots=True)
class Constraints:
    """Limits of an authority; empty means no limit.

    Attributes:
        purposes: extended key usages it may issue for.
        mail_domains: host names of the mail addresses it may certify (``example.com``); with a leading dot, all hosts below.
        dns_domains: DNS domains it may certify names of, the domain itself included.
    """

    purposes: frozenset[x509.ObjectIdentifier] = frozenset()
    mail_domains: tuple[str, ...] = ()
    dns_domains: tuple[str, ...] = ()

    def extensions(self) -> list[tuple[x509.ExtensionType, bool]]:
        """Return the extensions that say this in an authority's certificate."""
        found: list[tuple[x509.ExtensionType, bool]] = []
        if self.purposes:
            in_order = sorted(self.purposes, key=lambda oid: oid.dotted_string)
            found.append((x509.ExtendedKeyUsage(in_order), False))
        permitted: list[x509.GeneralName] = [x509.RFC822Name(domain) for domain in self.mail_domains]
        permitted += [x509.DNSName(domain) for domain in self.dns_domains]
        if permitted:
            found.append((x509.NameConstraints(permitted, None), True))
        return found

    def check(self, purposes: x509.ExtendedKeyUsage | None, names: Iterable[x509.GeneralName]) -> None:
        """Refuse to issue what verifiers would refuse to accept from this authority.

        Raises:
            ProfileNotAllowed: a purpose or a name lies outside the limits.
        """
        if not self.permits_purposes(purposes):
            raise ProfileNotAllowed("the authority's certificate does not allow it to issue for the purposes of this profile")
        if not (self.mail_domains or self.dns_domains):
            return
        for name in names:
            if isinstance(name, x509.DNSName) and self.dns_domains and not self._permits_host(name.value):
                raise ProfileNotAllowed(f"the authority's certificate does not allow it to certify {name.value}")
            address = _mail_address(name)
            if address and self.mail_domains and not self._permits_mail(address):
                raise ProfileNotAllowed(f"the authority's certificate does not allow it to certify {address}")

    def permits_purposes(self, purposes: x509.ExtendedKeyUsage | None) -> bool:
        """Say whether the authority may issue for all of ``purposes``, those of a profile."""
        # An OCSP responder answers for its authority, it is not among the purposes that authority certifies others for.
        return not self.purposes or {*(purposes or ())} <= self.purposes | {ExtendedKeyUsageOID.OCSP_SIGNING}

    def _permits_host(self, host: str) -> bool:
        host = comparable_domain(host)
        return any(host == domain or host.endswith(f".{domain}") for domain in map(comparable_domain, self.dns_domains))

    def _permits_mail(self, address: str) -> bool:
        host = comparable_domain(address.rpartition("@")[2])
        domains = map(comparable_domain, self.mail_domains)
        return any(host.endswith(domain) if domain.startswith(".") else host == domain for domain in domains)


def constraints_of(certificate: x509.Certificate) -> Constraints:
    """Read the limits back from an authority's certificate."""
    purposes: frozenset[x509.ObjectIdentifier] = frozenset()
    permitted: list[x509.GeneralName] = []
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            purposes = frozenset(extension.value)
        elif isinstance(extension.value, x509.NameConstraints):
            permitted = extension.value.permitted_subtrees or []
    return Constraints(
        purposes=purposes,
        mail_domains=tuple(name.value for name in permitted if isinstance(name, x509.RFC822Name)),
        dns_domains=tuple(name.value for name in permitted if isinstance(name, x509.DNSName)),
    )


def _mail_address(name: x509.GeneralName) -> str:
    """Return the address in an rfc822Name or a SmtpUTF8Mailbox, whose domain RFC 9598 puts under the same constraints."""
    if isinstance(name, x509.RFC822Name):
        return name.value
    if isinstance(name, x509.OtherName) and name.type_id == SMTP_UTF8_MAILBOX:
        return name.value[tlv.read(name.value).content :].decode()
    return ""
