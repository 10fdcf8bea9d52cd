"""What an entry should hold of ours, from the records: a person's certificates, an authority's certificate and CRL.

A person's *current* certificate is good (in force, neither revoked nor on hold), can be encrypted to, and has not been superseded
by another good one: one of the same profile that renews it, over however many steps, or that is newer for the same device. With
more than that in an entry, mail arrives that the person's phone cannot read, and Entra stops exporting it past 15 values.

Where what superseded it is revoked, a certificate that is still good is current again: mail can be encrypted to it. Not so where
a key was compromised: no certificate of that key is published, and what the compromised one superseded lies on the same phone.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from sqlalchemy import Select, case, null, select
from sqlmodel import Session

from ca.profiles import BUILT_IN, CertificateProfile, SubjectKind
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevocationReason
from foundation.tables import table_of
from ldap_publish.directory import Directory, Policy, SmimeAttribute
from ldap_publish.entry import Value
from ldap_publish.errors import NoPublicationKey, ValueTooLarge
from ldap_publish.foreign import ForeignCertificate, current
from ldap_publish.smime import Signer, smime_value
from ldap_publish.template import FIELDS
from people.records import Person

_CERTIFICATE = table_of(Certificate)
_AUTHORITY = table_of(CertificationAuthority)
_PERSON = table_of(Person)
_KEY_IS_LOST = (RevocationReason.KEY_COMPROMISE, RevocationReason.CA_COMPROMISE)


@dataclass(frozen=True, slots=True)
class HeldCertificate:
    """A person's certificate; ``der`` is None where it is not good, ``key`` is the SHA-256 of its public key."""

    id: int
    authority_id: int
    serial: str
    profile: str
    device_id: int | None
    renews_id: int | None
    not_before: datetime
    not_after: datetime
    key: str
    revocation_reason: str | None
    der: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an entry should hold, and until when that is so, None for until something happens.

    ``serials`` names the certificate behind each source, for reports.
    """

    values: tuple[Value, ...] = ()
    until: datetime | None = None
    serials: Mapping[str, str] = field(default_factory=dict)


# The sources of what no table here holds: an authority's newest CRL, and the key that signs for its persons.
CrlSource = Callable[[Session, int], bytes | None]
SignerSource = Callable[[Session, int, datetime], Signer | None]


def profiles_of(policy: Policy) -> frozenset[str]:
    """Return the profiles of which certificates are published."""
    of_persons = [profile for profile in BUILT_IN.values() if profile.subject is not SubjectKind.SERVICE]
    return frozenset(profile.name for profile in of_persons if policy is Policy.ALL or _may_be_encrypted_to(profile))


def chosen(certificates: Iterable[HeldCertificate], policy: Policy, now: datetime) -> list[HeldCertificate]:
    """Return those of a person's certificates that are published, the oldest first."""
    every = sorted(certificates, key=lambda each: each.id)
    compromised = [each for each in every if each.revocation_reason in _KEY_IS_LOST]
    lost = lost_keys(compromised)
    in_force = [each for each in every if each.der is not None and each.not_before <= now < each.not_after]
    good = [each for each in in_force if each.key not in lost]
    if policy is Policy.ALL:
        return good
    successors = sorted([*good, *compromised], key=lambda each: each.id)
    superseded = _superseded(successors, {each.id: each for each in every})
    return [each for each in good if each.id not in superseded and can_be_encrypted_to(each.der or b"")]


def lost_keys(certificates: Iterable[HeldCertificate]) -> set[str]:
    """Return the keys of a person that are known to be compromised."""
    return {each.key for each in certificates if each.revocation_reason in _KEY_IS_LOST}


def can_be_encrypted_to(der: bytes) -> bool:
    """Say whether a certificate is for encrypting mail to (facts/mail_profiles.md section 6)."""
    extensions = x509.load_der_x509_certificate(der).extensions
    try:
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.EMAIL_PROTECTION in purposes and (usage.key_encipherment or usage.key_agreement)


def certified_persons(profiles: Iterable[str], now: datetime) -> Select[tuple[int]]:
    """Return the query for those who have an unexpired certificate of one of ``profiles``, as ``subject_id``."""
    return (
        select(_CERTIFICATE.c.person_id.label("subject_id"))
        .where(_CERTIFICATE.c.person_id.is_not(None), _CERTIFICATE.c.not_after > now)
        .where(_CERTIFICATE.c.profile.in_(list(profiles)))
        .distinct()
    )


def person_fields(session: Session, person_ids: Collection[int]) -> dict[int, dict[str, str]]:
    """Return what search filters, DNs and new entries are made of, of each person who is recorded."""
    names = (*FIELDS, "given_name", "surname")
    columns = [_PERSON.c[name] for name in names]
    query = select(_PERSON.c.id, *columns).where(_PERSON.c.id.in_(list(person_ids)))
    return {row[0]: {name: value or "" for name, value in zip(names, row[1:], strict=True)} for row in session.execute(query)}


def certificates_of(
    session: Session, person_ids: Collection[int], now: datetime, withheld: Collection[int] = ()
) -> dict[int, list[HeldCertificate]]:
    """Return every certificate of each person, those that are not good without their encoding.

    Those ``withheld`` have not been handed out: the person does not hold them yet.
    """
    good = (_CERTIFICATE.c.revoked_at.is_(None)) & (_CERTIFICATE.c.not_after > now)
    of_certificate = ("id", "authority_id", "serial", "profile", "device_id", "renews_id", "not_before", "not_after")
    names = (*of_certificate, "spki_sha256", "revocation_reason")
    der = case((good, _CERTIFICATE.c.der), else_=null())
    query = select(_CERTIFICATE.c.person_id, *(_CERTIFICATE.c[name] for name in names), der.label("der"))
    found: dict[int, list[HeldCertificate]] = defaultdict(list)
    for person_id, *values in session.execute(query.where(_CERTIFICATE.c.person_id.in_(list(person_ids)))):
        certificate = HeldCertificate(*values)
        if certificate.id not in withheld:
            found[person_id].append(certificate)
    return found


class Needs:
    """What the entries of one directory should hold, as the records of ``session`` say."""

    def __init__(self, session: Session, directory: Directory, now: datetime, crl: CrlSource, signer: SignerSource) -> None:
        self._session = session
        self._directory = directory
        self._now = now
        self._crl = crl
        self._signer = signer
        self._chains: dict[int, tuple[bytes, ...]] = {}

    def of_person(self, certificates: Iterable[HeldCertificate], foreign: Collection[ForeignCertificate] = ()) -> Wanted:
        """Return what a person's entry should hold, for their certificates of ours and of others.

        Raises:
            NoPublicationKey: a value must be signed, and nothing is there to sign with.
        """
        dialect = self._directory.dialect
        held = list(certificates)
        published = chosen(held, self._directory.publish, self._now)
        values: list[Value] = []
        serials: dict[str, str] = {}
        for each in published:
            of_certificate = [Value.of(dialect.user_certificate, each.der or b"")]
            if self._directory.smime_attribute is not SmimeAttribute.OFF and can_be_encrypted_to(each.der or b""):
                of_certificate.append(self._smime(each))
            values += of_certificate
            serials |= {value.source: each.serial for value in of_certificate}
        for other in current(foreign, self._directory.publish, self._now, lost=lost_keys(held)):
            of_certificate = [Value.of(dialect.user_certificate, other.der), *self._foreign_smime(other)]
            values += of_certificate
            serials |= {value.source: other.serial for value in of_certificate}
        return Wanted(tuple(values), self._until(held, foreign), serials)

    def of_authority(self, authority_id: int) -> Wanted:
        """Return what an authority's entry should hold: its current certificate and its newest CRL.

        Raises:
            ValueTooLarge: the CRL is more than this kind of directory takes.
        """
        if not self._directory.authority_base:
            return Wanted()
        dialect = self._directory.dialect
        current = self._current(authority_id)
        crl = self._crl(self._session, authority_id)
        values = []
        serials = {}
        if current is not None:
            values.append(Value.of(dialect.ca_certificate, current.der))
            serials[values[-1].source] = current.serial
        if crl is not None:
            if dialect.largest is not None and len(crl) > dialect.largest:
                raise ValueTooLarge(
                    f"the CRL has {len(crl):,} bytes and {self._directory.kind} takes {dialect.largest:,} at most: "
                    "relying parties must fetch it from its URL; leave authority_base empty here"
                )
            values.append(Value.of(dialect.crl, crl))
        return Wanted(tuple(values), current.not_after if current else None, serials)

    def _smime(self, certificate: HeldCertificate) -> Value:
        chain = (certificate.der or b"", *self._chain(certificate.authority_id))
        return self._smime_of(chain, certificate.authority_id)

    def _foreign_smime(self, certificate: ForeignCertificate) -> list[Value]:
        if self._directory.smime_attribute is SmimeAttribute.OFF or certificate.signed_by is None:
            # Every client reads userCertificate.
            return []
        return [self._smime_of((certificate.der, *certificate.chain), certificate.signed_by)]

    def _smime_of(self, chain: Sequence[bytes], authority_id: int) -> Value:
        if self._directory.smime_attribute is SmimeAttribute.CERTS_ONLY:
            return smime_value(self._directory.dialect.user_smime, chain, None)
        signer = self._signer(self._session, authority_id, self._now)
        if signer is None:
            raise NoPublicationKey("the issuing authority has no key to sign userSMIMECertificate with; the worker makes one")
        return smime_value(self._directory.dialect.user_smime, chain, signer)

    def _until(self, certificates: Iterable[HeldCertificate], foreign: Iterable[ForeignCertificate]) -> datetime | None:
        """Return when the first good certificate ends, or one begins: another may be current from then on."""
        good: list[HeldCertificate | ForeignCertificate] = [each for each in certificates if each.der is not None]
        times = (time for each in [*good, *foreign] for time in (each.not_before, each.not_after))
        return min((time for time in times if time > self._now), default=None)

    def _chain(self, authority_id: int) -> tuple[bytes, ...]:
        """Return the current certificates from an issuing authority up to the root, as far as they are known."""
        if authority_id not in self._chains:
            current = self._current(authority_id)
            issuer = self._session.scalar(select(_AUTHORITY.c.issuer_id).where(_AUTHORITY.c.id == authority_id))
            above = self._chain(issuer) if issuer is not None and issuer != authority_id else ()
            self._chains[authority_id] = above if current is None else (current.der, *above)
        return self._chains[authority_id]

    def _current(self, authority_id: int) -> "_AuthorityCertificate | None":
        return current_certificate(self._session, authority_id, self._now)


@dataclass(frozen=True, slots=True)
class _AuthorityCertificate:
    serial: str
    not_after: datetime
    der: bytes = field(repr=False)


def current_certificate(session: Session, authority_id: int, now: datetime) -> _AuthorityCertificate | None:
    """Return an authority's newest certificate that is in force, None where its key is reported compromised."""
    columns = (_CERTIFICATE.c.revocation_reason, _CERTIFICATE.c.revoked_at, _CERTIFICATE.c.serial, _CERTIFICATE.c.not_after)
    query = select(*columns, _CERTIFICATE.c.der).where(_CERTIFICATE.c.certifies_id == authority_id)
    rows = session.execute(query.order_by(_CERTIFICATE.c.id.desc())).all()
    if any(row.revocation_reason in _KEY_IS_LOST for row in rows):
        return None
    good = (row for row in rows if row.revoked_at is None and row.not_after > now)
    return next((_AuthorityCertificate(row.serial, row.not_after, row.der) for row in good), None)


def authority_names(session: Session, authority_ids: Collection[int]) -> dict[int, str]:
    """Return the names of authorities."""
    query = select(_AUTHORITY.c.id, _AUTHORITY.c.name).where(_AUTHORITY.c.id.in_(list(authority_ids)))
    return {row.id: row.name for row in session.execute(query)}


def _superseded(successors: Sequence[HeldCertificate], every: Mapping[int, HeldCertificate]) -> set[int]:
    """Return the numbers of what ``successors``, the oldest first, take the place of."""
    superseded: set[int] = set()
    newest: dict[tuple[str, int], int] = {}
    for each in successors:
        # What it renews, and what that renewed, whatever became of those between.
        later, before = each, every.get(each.renews_id or 0)
        # Numbers only fall on this way, so it ends whatever the records say.
        while before is not None and before.profile == each.profile and before.id < later.id:
            superseded.add(before.id)
            later, before = before, every.get(before.renews_id or 0)
        if each.device_id is not None:
            earlier = newest.get((each.profile, each.device_id))
            if earlier is not None:
                superseded.add(earlier)
            newest[each.profile, each.device_id] = each.id
    return superseded


def _may_be_encrypted_to(profile: CertificateProfile) -> bool:
    purposes = profile.extended_key_usage or ()
    usages = profile.key_usage.values()
    return ExtendedKeyUsageOID.EMAIL_PROTECTION in purposes and any(
        each.key_encipherment or each.key_agreement for each in usages
    )
