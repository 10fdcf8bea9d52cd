"""Issuing: from an Authorisation's names and a public key to a certificate, and from that to its record.

``build`` signs and belongs outside a transaction; ``record`` writes and belongs inside the one that also redeems whatever allowed
the request. A certificate leaves the process only after that transaction has been committed (design.md section 2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID
from sqlalchemy import insert
from sqlmodel import Session, col, select

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import Authorisation, CaName, DeviceId, PersonId, ProfileName, SubjectNames
from ca.certificate import BuiltCertificate, key_identifier, sign, validity_period
from ca.errors import IssuerNotValid, ProfileNotAllowed, WeakKey
from ca.key_policy import check_public_key
from ca.keys import PrivateKey, PublicKey
from ca.limits import Limits, limits_of, names_held
from ca.profiles import CertificateProfile, key_family
from ca.records import Certificate, CertificationAuthority
from ca.subject import Organisation, alternative_names, security_identifier, subject_name
from ca.tbs import Intent
from foundation.statements import Prepared
from foundation.tables import table_of


@dataclass(frozen=True, slots=True)
class IssuingAuthority:
    """A certification authority that can sign: its current certificate, its key and where relying parties find its files.

    ``chain`` holds the certificates above it in DER, its issuer first and the root last; a root's is empty. The URLs are empty
    for an authority that publishes nothing, such as the root of the web server's own certificate.
    """

    id: int
    name: CaName
    certificate: x509.Certificate
    certificate_der: bytes
    private_key: PrivateKey = field(repr=False)
    crl_url: str = ""
    ca_issuers_url: str = ""
    chain: tuple[bytes, ...] = ()
    # What the authority writes into every certificate alike, made once.
    pointers: tuple[tuple[x509.ExtensionType, bool], ...] = field(init=False, repr=False)
    public_key: PublicKey = field(init=False, repr=False)
    # The name that the certificates it issues carry as their issuer.
    subject_der: bytes = field(init=False, repr=False)
    # What its own certificate and all those above it let it issue.
    limits: Limits = field(init=False, repr=False)

    def __post_init__(self) -> None:
        public_key = self.private_key.public_key()
        if public_key != self.certificate.public_key():
            raise ValueError(f"the key of authority {self.name} does not belong to its certificate")
        object.__setattr__(self, "pointers", pointers(self.certificate, self.crl_url, self.ca_issuers_url))
        object.__setattr__(self, "public_key", public_key)
        object.__setattr__(self, "subject_der", self.certificate.subject.public_bytes())
        above = map(x509.load_der_x509_certificate, self.chain)
        object.__setattr__(self, "limits", limits_of([self.certificate, *above]))


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate that has just been recorded, as listeners see it: inside the transaction, before the commit."""

    id: int
    authority_id: int
    authority: CaName
    certificate: BuiltCertificate
    person: PersonId | None
    device: DeviceId | None
    # The authority of ours whose key the certificate is over, and the certificate that it takes the place of, where it does.
    certifies: int | None = None
    renews: int | None = None


IssuanceListener = Callable[[Session, IssuedCertificate], None]


def pointers(issuer: x509.Certificate, crl_url: str, ca_issuers_url: str) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Build the extensions by which a certificate points at its issuer: AKI (keyid only), CDP and AIA caIssuers.

    There is no OCSP URL: it comes with the responder.
    """
    subject_key_identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key_identifier), False),
    ]
    if crl_url:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
        found.append((x509.CRLDistributionPoints([point]), False))
    if ca_issuers_url:
        location = x509.UniformResourceIdentifier(ca_issuers_url)
        description = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location)
        found.append((x509.AuthorityInformationAccess([description]), False))
    return tuple(found)


def build(
    authority: IssuingAuthority,
    profile: CertificateProfile,
    names: SubjectNames,
    public_key: PublicKey,
    *,
    now: datetime,
    organisation: Organisation | None = None,
    validity: timedelta | None = None,
    organisational_units: tuple[str, ...] = (),
) -> BuiltCertificate:
    """Sign a certificate for ``names`` over ``public_key``. Nothing is recorded: call ``record`` before letting it out.

    ``validity`` takes the place of the profile's; the issuer's own end caps it either way. The caller has checked proof of
    possession (``ca.csr``) and what the request asked for (``names.check_request``).

    Raises:
        WeakKey: the key may not be certified under this profile.
        NamesMissing: the subject lacks a name that the profile needs.
        IssuerNotValid: the authority's certificate has expired or is not in force yet.
        ProfileNotAllowed: the profile is one of an authority, which only ``ca.hierarchy`` makes, or the authority's own
            certificate does not let it issue for these purposes or names.
    """
    if profile.is_authority:
        raise ProfileNotAllowed(f"profile {profile.name} is for authorities, not for what they issue")
    check_public_key(public_key, profile.key_usage)
    if public_key == authority.public_key:
        raise WeakKey("the public key is the authority's own")
    issuer = authority.certificate
    if not issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc:
        raise IssuerNotValid(f"the certificate of authority {authority.name} is not valid now")
    not_before, not_after = validity_period(now, validity or profile.validity, issuer=issuer)
    subject = authority.limits.completed(subject_name(profile, names, organisation, organisational_units))
    entries = alternative_names(profile, names)
    authority.limits.check(profile.extended_key_usage, names_held(subject, entries))
    intent = Intent(
        profile=profile.name,
        issuer=issuer.subject,
        subject=subject,
        public_key=public_key,
        not_before=not_before,
        not_after=not_after,
        extensions=_extensions(authority, profile, names.sid, public_key, entries, has_subject=bool(list(subject))),
    )
    return sign(intent, authority.private_key, authority.public_key)


def record(
    session: Session,
    built: BuiltCertificate,
    *,
    authority: IssuingAuthority,
    authorisation: Authorisation | None,
    actor: Actor,
    now: datetime,
    listeners: Sequence[IssuanceListener] = (),
    certifies: int | None = None,
) -> int:
    """Write a certificate's row and its audit event, call the listeners, and return the row's id.

    All in the caller's transaction; nothing may be released before its commit. ``authorisation`` is None for certificates of the
    service itself; ``certifies`` is the id of the authority whose key the certificate is over, if it is one of ours.
    """
    person = authorisation.person if authorisation else None
    device = authorisation.device if authorisation else None
    renews = authorisation.renews if authorisation else None
    row = {
        "authority_id": authority.id,
        "serial": built.serial,
        "profile": built.profile,
        "subject": built.subject,
        "person_id": person,
        "device_id": device,
        "certifies_id": certifies,
        "renews_id": renews,
        "spki_sha256": built.spki_sha256,
        "not_before": built.not_before,
        "not_after": built.not_after,
        "issued_at": now,
        "der": built.der,
    }
    certificate_id: int = _INSERT.value(session, row)
    details = {
        "authority": authority.name,
        "profile": built.profile,
        "subject": built.subject,
        "person": person,
        "device": device,
        "granted_by": authorisation.granted_by if authorisation else "the authority itself",
        "not_after": built.not_after.isoformat(),
    }
    record_event(session, Event(actor, "certificate.issued", f"certificate:{built.serial}", details=details), now=now)
    issued = IssuedCertificate(
        id=certificate_id,
        authority_id=authority.id,
        authority=authority.name,
        certificate=built,
        person=person,
        device=device,
        certifies=certifies,
        renews=renews,
    )
    for listener in listeners:
        listener(session, issued)
    return certificate_id


def announce(session: Session, certificate_id: int, listeners: Sequence[IssuanceListener]) -> None:
    """Call the listeners for a certificate that was recorded without them, because it was not to be released then."""
    row = session.exec(select(Certificate).where(col(Certificate.id) == certificate_id)).one()
    issued = IssuedCertificate(
        id=certificate_id,
        authority_id=row.authority_id,
        authority=CaName(
            session.exec(select(CertificationAuthority.name).where(col(CertificationAuthority.id) == row.authority_id)).one()
        ),
        certificate=BuiltCertificate(
            profile=ProfileName(row.profile),
            serial=row.serial,
            der=row.der,
            subject=row.subject,
            not_before=row.not_before,
            not_after=row.not_after,
            spki_sha256=row.spki_sha256,
        ),
        person=None if row.person_id is None else PersonId(row.person_id),
        device=None if row.device_id is None else DeviceId(row.device_id),
        certifies=row.certifies_id,
        renews=row.renews_id,
    )
    for listener in listeners:
        listener(session, issued)


_CERTIFICATE = table_of(Certificate)
_INSERT = Prepared(
    insert(_CERTIFICATE).returning(_CERTIFICATE.c.id),
    "authority_id",
    "serial",
    "profile",
    "subject",
    "person_id",
    "device_id",
    "certifies_id",
    "renews_id",
    "spki_sha256",
    "not_before",
    "not_after",
    "issued_at",
    "der",
)


def _extensions(
    authority: IssuingAuthority,
    profile: CertificateProfile,
    sid: str,
    public_key: PublicKey,
    entries: list[x509.GeneralName],
    *,
    has_subject: bool,
) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    family = key_family(public_key)
    if family is None:
        raise WeakKey("the public key is of no known family")
    extensions: list[tuple[x509.ExtensionType, bool]] = [(profile.key_usage[family], True)]
    if profile.extended_key_usage:
        extensions.append((profile.extended_key_usage, False))
    if entries:
        # Critical when there is no subject to name the holder (RFC 5280 section 4.2.1.6).
        extensions.append((x509.SubjectAlternativeName(entries), not has_subject))
    extensions.append((x509.SubjectKeyIdentifier(key_identifier(public_key)), False))
    if profile.security_identifier and sid:
        extensions.append((security_identifier(sid), False))
    if profile.ocsp_no_check:
        extensions.append((x509.OCSPNoCheck(), False))
    return (*extensions, *authority.pointers)
