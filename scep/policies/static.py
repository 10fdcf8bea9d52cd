"""``static``: one secret that all devices of an endpoint share, for profile ``device`` alone.

Whoever has the secret names themselves: common name and DNS names come from the request, within what the endpoint allows. So
nothing that is a person's is ever granted here (mail address, UPN, SID, URI), and no name under which a device is on record: that
one enrols with a challenge of its own (CERT VU#971035).
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID
from sqlmodel import Session

from ca.authorisation import Authorisation, SubjectNames
from ca.certified import names_in
from ca.errors import NamesNotAuthorised, ProfileNotAllowed
from ca.profiles import DEVICE
from people.devices import find_device_by_dns_name, is_called
from scep.errors import ChallengeRefused, RenewalRefused
from scep.policies.constraints import Pattern, allowed_common_name, allowed_dns_names, is_below
from scep.policy import Grant, LocalPolicy
from scep.renewal import HeldCertificate
from scep.request import PresentedRequest
from scep.subject import units_of


@dataclass(frozen=True, slots=True)
class StaticRules:
    """What a request may be called: ``dns_suffixes`` are the domains below which its DNS names lie."""

    subject_pattern: Pattern
    dns_suffixes: tuple[str, ...] = ()


class Static(LocalPolicy):
    """Names come from the request, within the endpoint's rules.

    Args:
        digests: gives the SHA-256 (hex) of each secret that is good now; two while one takes the other's place.
        rules: what a request may be called.
    """

    def __init__(self, digests: Callable[[], Sequence[str]], rules: StaticRules) -> None:
        self._digests = digests
        self._rules = rules

    def authorise(self, session: Session, presented: PresentedRequest, *, now: datetime) -> Grant:
        """Return what the secret is good for; see ``LocalPolicy.authorise``.

        Raises:
            ChallengeRefused: it is another one.
            NamesNotAuthorised: the names in the request are not this endpoint's to give.
            ProfileNotAllowed: the endpoint does not issue to devices.
            Unavailable: the secret cannot be read.
        """
        del now
        request, endpoint = presented.request, presented.endpoint
        # All of them, whichever it is: the time tells nothing.
        matches = [hmac.compare_digest(request.challenge_digest, digest) for digest in self._digests()]
        if not request.challenge_digest or not any(matches):
            raise ChallengeRefused
        if DEVICE.name not in endpoint.profiles:
            raise ProfileNotAllowed(f"this endpoint does not issue {DEVICE.name} certificates")
        name = allowed_common_name(request.csr.requested.common_name, self._rules.subject_pattern)
        dns_names = allowed_dns_names(request.csr.requested.dns_names, self._rules.dns_suffixes)
        if _is_on_record(session, name, dns_names):
            raise NamesNotAuthorised("a device on record has the requested name: it enrols with a challenge of its own")
        authorisation = Authorisation(
            profile=DEVICE.name,
            names=SubjectNames(device_name=name, dns_names=dns_names),
            granted_by="the endpoint's static secret",
            organisational_units=units_of(request.csr.requested, endpoint),
        )
        return Grant(authorisation)

    def vouched_names(self, session: Session, held: HeldCertificate) -> SubjectNames:
        """Return those names of ``held`` that the endpoint would still give.

        A certificate from before, when the endpoint had another policy, may have somebody on record behind it: they decide.

        Raises:
            RenewalRefused: the common name is one that the endpoint no longer gives.
            Inactive: one of them is not active.
        """
        if held.person is not None or held.device is not None or held.profile != DEVICE.name:
            return super().vouched_names(session, held)
        certificate = x509.load_der_x509_certificate(held.der)
        (common_name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = str(common_name.value)
        dns_names = tuple(dns for dns in names_in(certificate).dns_names if is_below(dns, self._rules.dns_suffixes))
        if not self._rules.subject_pattern.matches(name) or _is_on_record(session, name, dns_names):
            raise RenewalRefused("this endpoint no longer gives the name in the certificate to be renewed")
        return SubjectNames(device_name=name, dns_names=dns_names)


def _is_on_record(session: Session, name: str, dns_names: Sequence[str]) -> bool:
    return is_called(session, name) or any(find_device_by_dns_name(session, host) for host in dns_names)
