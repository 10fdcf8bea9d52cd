"""A certificate's subject and subjectAltName, made from a subject's names the way its profile says.

Sources: RFC 5280 sections 4.1.2.6 and 4.2.1.6; RFC 9598 (SmtpUTF8Mailbox); S/MIME baseline requirements 7.1.4.2; Microsoft
KB5014754 (the security identifier extension).
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from ca.authorisation import SubjectNames
from ca.errors import NamesMissing
from ca.profiles import AlternativeName, CertificateProfile, SubjectKind
from foundation import tlv

UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
SMTP_UTF8_MAILBOX = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")
SECURITY_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2")
_OBJECT_SID = x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2.1")
# Upper bounds of RFC 5280 appendix A, in characters; counted in bytes here, as cryptography and several clients do.
COMMON_NAME_BYTES = 64
_ORGANISATION_BYTES = 64


@dataclass(frozen=True, slots=True)
class Organisation:
    """Who runs the authority.

    ``identifier`` is its registered number in the form of ETSI EN 319 412-1 section 5.1.4 (``NTRJP-0100-01-008846``,
    ``VATDE-123456789``, ``LEIXG-…``). With it S/MIME certificates take the sponsor shape; without it the mailbox shape.
    """

    name: str
    identifier: str = ""
    country: str = ""


def subject_name(
    profile: CertificateProfile,
    names: SubjectNames,
    organisation: Organisation | None = None,
    organisational_units: tuple[str, ...] = (),
) -> x509.Name:
    """Build the subject. It may be empty: where an address is too long for any attribute, the SAN alone carries it.

    Raises:
        NamesMissing: the subject has no name of the kind the profile wants.
    """
    attributes: list[x509.NameAttribute[str]] = []
    if profile.subject is SubjectKind.MAILBOX:
        attributes += _sponsor(names, organisation)
    attributes += [_attribute(NameOID.ORGANIZATIONAL_UNIT_NAME, _cut(unit)) for unit in organisational_units if unit]
    attributes += _mailbox(names) if profile.subject is SubjectKind.MAILBOX else [_common_name(profile, names)]
    return x509.Name(attributes)


def alternative_names(profile: CertificateProfile, names: SubjectNames) -> list[x509.GeneralName]:
    """Build the entries of subjectAltName, none where the profile or the subject has none.

    Raises:
        NamesMissing: the subject lacks a name that the profile requires.
    """
    entries: list[x509.GeneralName] = []
    for kind in profile.alternative_names:
        found = list(_entries(kind, names))
        if not found and kind in profile.required_names:
            raise NamesMissing(f"a certificate of profile {profile.name} needs {_WANTED[kind]}, and the record has none")
        entries += found
    return entries


def security_identifier(sid: str) -> x509.UnrecognizedExtension:
    """Build the Microsoft extension that ties a log-on certificate to one account of Active Directory."""
    value = tlv.octet_string(sid.encode("ascii"))
    other_name = x509.OtherName(_OBJECT_SID, value)
    # GeneralNames holding one otherName: the same encoding as a subjectAltName of that one name.
    return x509.UnrecognizedExtension(SECURITY_IDENTIFIER, x509.SubjectAlternativeName([other_name]).public_bytes())


_WANTED = {
    AlternativeName.UPN: "a user principal name",
    AlternativeName.PRIMARY_EMAIL: "a mail address",
    AlternativeName.ALL_EMAILS: "a mail address",
    AlternativeName.DNS: "a DNS name",
    AlternativeName.DNS_OR_IP: "a DNS name or an IP address",
    AlternativeName.URI: "a URI",
}


def _entries(kind: AlternativeName, names: SubjectNames) -> Iterator[x509.GeneralName]:
    match kind:
        case AlternativeName.UPN:
            if names.upn:
                yield x509.OtherName(UPN, tlv.utf8_string(names.upn))
        case AlternativeName.PRIMARY_EMAIL:
            yield from map(_mail_name, names.emails[:1])
        case AlternativeName.ALL_EMAILS:
            yield from map(_mail_name, names.emails)
        case AlternativeName.DNS:
            yield from map(x509.DNSName, names.dns_names)
        case AlternativeName.DNS_OR_IP:
            yield from map(_host_name, names.dns_names)
        case AlternativeName.URI:
            yield from map(x509.UniformResourceIdentifier, names.uris)


def _mail_name(address: str) -> x509.GeneralName:
    # rfc822Name is ASCII; RFC 9598 forbids SmtpUTF8Mailbox where rfc822Name can say it. The domain is in A-labels in both.
    if address.isascii():
        return x509.RFC822Name(address)
    return x509.OtherName(SMTP_UTF8_MAILBOX, tlv.utf8_string(address))


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _sponsor(names: SubjectNames, organisation: Organisation | None) -> list[x509.NameAttribute[str]]:
    """Return what the sponsor shape puts before the common name, or nothing where a part of it is not known."""
    if organisation is None or not (organisation.identifier and names.given_name and names.surname):
        return []
    country = [_attribute(NameOID.COUNTRY_NAME, organisation.country.upper())] if organisation.country else []
    return [
        *country,
        _attribute(NameOID.ORGANIZATION_NAME, _cut(organisation.name)),
        _attribute(NameOID.ORGANIZATION_IDENTIFIER, organisation.identifier),
        _attribute(NameOID.GIVEN_NAME, _cut(names.given_name)),
        _attribute(NameOID.SURNAME, _cut(names.surname)),
    ]


def _mailbox(names: SubjectNames) -> list[x509.NameAttribute[str]]:
    """Return the primary address as a common name; one too long for that as emailAddress, if it is ASCII."""
    address = names.emails[0] if names.emails else ""
    if not address:
        raise NamesMissing("a certificate for S/MIME needs a mail address, and the record has none")
    if len(address.encode()) <= COMMON_NAME_BYTES:
        return [_attribute(NameOID.COMMON_NAME, address)]
    return [_attribute(NameOID.EMAIL_ADDRESS, address)] if address.isascii() else []


def _common_name(profile: CertificateProfile, names: SubjectNames) -> x509.NameAttribute[str]:
    name = names.device_name if profile.subject is SubjectKind.DEVICE else names.display_name
    if not name and profile.subject is SubjectKind.PERSON:
        name = names.upn
    if not name:
        raise NamesMissing(f"a certificate of profile {profile.name} needs a name for its subject, and the record has none")
    return _attribute(NameOID.COMMON_NAME, _cut(name, COMMON_NAME_BYTES))


def _attribute(oid: x509.ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid, value)


def _cut(text: str, limit: int = _ORGANISATION_BYTES) -> str:
    """Shorten ``text`` to ``limit`` bytes of UTF-8 without cutting a character in two."""
    return text.encode()[:limit].decode(errors="ignore")
