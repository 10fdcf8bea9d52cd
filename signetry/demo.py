"""``signetry demo``: one round of the main job against the running service, told step by step.

A person is added, enrols with our own client, is looked up, and loses the certificate again; the round ends when the published
CRL says so. The person is deactivated at the end, so that nothing of the demonstration can enrol again.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlmodel import Session

from ca.authorisation import PersonId, ProfileName
from ca.capability import can_issue
from ca.limits import Limits
from ca.profiles import PERSON_PROFILES, profile_named
from ca.revocation import RevocationReason, revoke
from ca.selection import by_serial
from ca.subject import UPN
from foundation import tlv
from foundation.errors import RefusedByPolicy, Unavailable
from people.person import PersonFields, PersonRecord
from people.persons import add_person, deactivate_person
from scep import challenge
from scep.client import ScepClient, build_csr
from scep.endpoint import Endpoint
from signetry.house import House
from signetry.server import public_address

_ENDPOINT = "default"
_PROFILE = ProfileName("mail-all-in-one")
_NOBODYS_HOST = "example.com"
_PATIENCE_SECONDS = 15.0
_LOOK_EVERY_SECONDS = 0.1


class NotPublished(Unavailable):
    """The CRL did not follow the revocation; the worker seems not to run."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, what came of it, and how long it took in milliseconds."""

    done: str
    outcome: str
    milliseconds: float


def demonstrate(house: House) -> Iterator[Step]:
    """Make the round, yielding each step once it is done.

    Raises:
        ServerUnreachable: the service does not run on the public listener; nothing was recorded.
        UnknownEndpoint, RefusedByPolicy: the endpoint ``default`` is gone, or issues nothing to persons.
        NotPublished: the CRL did not follow within 15 seconds.
    """
    base = f"http://{public_address(house.settings).dialled}"
    scep = f"{base}/scep/{_ENDPOINT}"
    endpoint = house.endpoint(_ENDPOINT)
    limits = house.issuing_now(endpoint.issuing_ca).limits
    profile = _profile(house, endpoint, limits)
    with ScepClient(scep) as client:
        client.capabilities()
    stopwatch = _Stopwatch()
    address = f"demo-{secrets.token_hex(4)}@{_host(limits)}"
    person = house.transactions.write(lambda session: _add_person(house, address, session))
    yield stopwatch.step("added a person", f"{person.display_name} <{person.email}>")
    try:
        password = house.transactions.write(lambda session: _mint(house, session, person, profile))
        yield stopwatch.step("minted a one-time challenge", "for one certificate, spent when that is stored")
        certificate = _enrol(scep, password)
        serial = f"{certificate.serial_number:032x}"
        yield stopwatch.step("enrolled over SCEP", f"serial {serial}, {certificate.subject.rfc4514_string()}")
        with house.transactions.reading() as session:
            found = by_serial(session, serial, now=house.clock.now())
        yield stopwatch.step("looked it up", f"it is person {found.person_id}'s, profile {found.profile}")
        house.transactions.write(lambda session: _revoke(house, session, found.id))
        yield stopwatch.step("revoked it", f"reason {RevocationReason.CESSATION_OF_OPERATION}")
        crl = f"{base}/crl/{found.authority}.crl"
        number = _wait_for_crl(crl, certificate.serial_number)
        yield stopwatch.step("saw it on the CRL", f"number {number}, {crl}")
    finally:
        house.transactions.write(
            lambda session: deactivate_person(session, person.id, actor=house.actor, now=house.clock.now()),
        )


class _Stopwatch:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def step(self, done: str, outcome: str) -> Step:
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return Step(done, outcome, elapsed * 1000)


def _profile(house: House, endpoint: Endpoint, limits: Limits) -> ProfileName:
    """Return what to enrol for: mail and log-on in one, or what else there is for persons."""
    allowed = [
        profile
        for profile in (_PROFILE, *PERSON_PROFILES)
        if profile in endpoint.profiles and can_issue(limits, profile_named(profile), house.organisation)
    ]
    if not allowed:
        raise RefusedByPolicy(f"endpoint {endpoint.name} issues nothing to persons, which is what is demonstrated")
    return allowed[0]


def _host(limits: Limits) -> str:
    """Return a mail host that the authorities may certify addresses and UPNs at: one that is nobody's, where they let us."""
    for host in (_NOBODYS_HOST, *limits.mail_hosts):
        names = (x509.RFC822Name(f"demo@{host}"), x509.OtherName(UPN, tlv.utf8_string(f"demo@{host}")))
        if all(limits.permits(name) for name in names):
            return host
    return _NOBODYS_HOST


def _add_person(house: House, address: str, session: Session) -> PersonRecord:
    fields = PersonFields(upn=address, email=address, display_name="Demonstration")
    return add_person(session, fields, actor=house.actor, now=house.clock.now())


def _mint(house: House, session: Session, person: PersonRecord, profile: ProfileName) -> str:
    order = challenge.ChallengeOrder(_ENDPOINT, profile, PersonId(person.id), None)
    return challenge.mint(session, order, actor=house.actor, now=house.clock.now())[0]


def _enrol(url: str, password: str) -> x509.Certificate:
    key = rsa.generate_private_key(65537, 2048)
    with ScepClient(url) as client:
        return client.enrol(client.ca_certificates(), key, build_csr(key, "signetry demo", password)).certificate


def _revoke(house: House, session: Session, certificate_id: int) -> None:
    revoke(
        session,
        [certificate_id],
        RevocationReason.CESSATION_OF_OPERATION,
        actor=house.actor,
        now=house.clock.now(),
        listeners=house.revocation_listeners,
    )


def _wait_for_crl(url: str, serial_number: int) -> int:
    """Return the number of the first CRL at ``url`` that lists ``serial_number``."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with httpx2.Client(timeout=_PATIENCE_SECONDS) as http:
        while time.monotonic() < deadline:
            # No CRL, or a service that is being restarted: it may come yet.
            with suppress(httpx2.HTTPError, ValueError):
                crl = x509.load_der_x509_crl(http.get(url).raise_for_status().content)
                if crl.get_revoked_certificate_by_serial_number(serial_number) is not None:
                    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            time.sleep(_LOOK_EVERY_SECONDS)
    raise NotPublished(f"{url} does not list the certificate after {_PATIENCE_SECONDS:.0f} seconds; does the worker run?")
