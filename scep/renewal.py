"""What a certificate of ours may be renewed as: its own names, as far as today's record still vouches for them.

Source: design.md section 5 (renewal never widens names or changes the profile); RFC 8894 section 3.3.1.2 (RenewalReq).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from ca.authorisation import Authorisation, DeviceId, PersonId, ProfileName, SubjectNames
from ca.certified import names_in
from ca.names import RequestedNames, comparable_address, comparable_domain
from scep.endpoint import Endpoint
from scep.errors import RenewalRefused
from scep.subject import units_of


@dataclass(frozen=True, slots=True)
class HeldCertificate:
    """The certificate of ours that signed a request, as recorded; ``endpoint`` is where it was enrolled, None if not by SCEP."""

    id: int
    serial: str
    profile: ProfileName
    person: PersonId | None
    device: DeviceId | None
    endpoint: str | None
    not_before: datetime
    not_after: datetime
    revoked: bool
    der: bytes = field(repr=False)


def authorise(held: HeldCertificate, today: SubjectNames, *, endpoint: Endpoint, now: datetime) -> Authorisation:
    """Return what ``held`` entitles its holder to at ``endpoint``.

    Args:
        held: the certificate the request was signed with.
        today: the names the records of its person and device vouch for now.
        endpoint: where the renewal is asked for.
        now: the current time.

    Raises:
        RenewalRefused: revoked, expired, too early, another endpoint's, a profile no longer issued here, or a UPN or SID that the
            record no longer holds; the message says which.
    """
    if held.revoked:
        raise RenewalRefused("the certificate to be renewed is revoked")
    if not held.not_before <= now <= held.not_after:
        raise RenewalRefused("the certificate to be renewed has expired; enrol anew with a challenge")
    if held.endpoint != endpoint.name:
        raise RenewalRefused("the certificate to be renewed was not enrolled at this endpoint")
    if held.profile not in endpoint.profiles:
        raise RenewalRefused(f"this endpoint no longer issues {held.profile} certificates")
    opens = endpoint.renewable_from(held.not_before, held.not_after)
    if now < opens:
        raise RenewalRefused(f"the certificate may be renewed from {opens:%Y-%m-%d %H:%M} UTC on")
    certificate = x509.load_der_x509_certificate(held.der)
    return Authorisation(
        profile=held.profile,
        names=still_vouched_for(names_in(certificate), today),
        granted_by=f"renewal of {held.serial}",
        person=held.person,
        device=held.device,
        renews=held.id,
        # Those it has, not those of the request: a management system reads its own number back from there.
        organisational_units=units_of(RequestedNames(organisational_units=_units_in(certificate)), endpoint),
    )


def still_vouched_for(certified: SubjectNames, today: SubjectNames) -> SubjectNames:
    """Return those of today's names that the old certificate had, too.

    The display name is today's: people marry, and no relying party authorises by it. A UPN or a SID that changed means another
    account, which a renewal cannot reach.

    Raises:
        RenewalRefused: the UPN or the SID has changed.
    """
    if certified.upn and comparable_address(certified.upn) != comparable_address(today.upn):
        raise RenewalRefused("the person's UPN has changed since; enrol anew with a challenge")
    if certified.sid and certified.sid != today.sid:
        raise RenewalRefused("the person's SID has changed since; enrol anew with a challenge")
    emails = {comparable_address(email) for email in certified.emails}
    dns_names = {comparable_domain(name) for name in certified.dns_names}
    return replace(
        today,
        upn=today.upn if certified.upn else "",
        sid=today.sid if certified.sid else "",
        emails=tuple(email for email in today.emails if comparable_address(email) in emails),
        dns_names=tuple(name for name in today.dns_names if comparable_domain(name) in dns_names),
        uris=_common(today.uris, certified.uris),
    )


def _units_in(certificate: x509.Certificate) -> tuple[str, ...]:
    return tuple(str(unit.value) for unit in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME))


def _common(names: Iterable[str], among: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in among)
