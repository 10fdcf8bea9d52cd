"""The limits that an authority of ours is given in its own certificate: purposes and names.

Sources: RFC 5280 section 4.2.1.10 (name constraints); S/MIME baseline requirements 7.1.5 for extended key usage in an authority's
certificate, which verifiers read as a limit on everything below it. ``ca.limits`` holds what is issued to them.
"""

from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID


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


def permits_purposes(allowed: frozenset[x509.ObjectIdentifier], purposes: x509.ExtendedKeyUsage | None) -> bool:
    """Say whether an authority for ``allowed`` (empty: no limit) may issue for all of ``purposes``, those of a profile."""
    # An OCSP responder answers for its authority, it is not among the purposes that authority certifies others for.
    return not allowed or {*(purposes or ())} <= allowed | {ExtendedKeyUsageOID.OCSP_SIGNING}


def constraints_of(certificate: x509.Certificate) -> Constraints:
    """Read the limits back from an authority's certificate, those of the kinds that an authority of ours is given."""
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
