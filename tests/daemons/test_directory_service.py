"""The running service and three real directories: from an enrolment to the entries, and what an outage of one of them delays."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import col, select

from benchmarks import crowd, load
from benchmarks.scep_requests import Requests
from ca import revocation
from ca.records import Certificate
from ca.revocation import RevocationReason
from scep.client import ScepClient
from signetry.house import House
from tests.daemons.directories.directory import Site
from tests.daemons.directories.ds389 import Ds389
from tests.daemons.directories.openldap import OpenLdap
from tests.daemons.directories.samba import Samba
from tests.daemons.service import Service, eventually, serving
from tests.daemons.test_openssl import serial_of
from tests.signetry import installation

_KINDS = ("openldap", "389ds", "ad")
_PERSONS = 16
_CERTIFICATES_EACH = 4
_REVOKED = 4
# A directory that was down for some seconds is asked again within about as many.
_PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def sites(openldap: OpenLdap, ds389: Ds389, samba: Samba) -> dict[str, Site]:
    """A part of every directory, by kind."""
    return {server.kind: server.site(f"service-{uuid4().hex[:8]}") for server in (openldap, ds389, samba)}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, sites: dict[str, Site]) -> Iterator[Service]:
    """A running service that publishes to all three."""
    ways = {"openldap": "starttls", "389ds": "ldaps", "ad": "ldaps"}
    settings = "".join(site.settings(f"at-{kind}", tls=ways[kind]) for kind, site in sites.items())
    with serving(
        tmp_path_factory.mktemp("publishing") / "home", "--ca-key", "p256", configuration=_RENEWING + settings
    ) as running:
        yield running


_RENEWING = """
[endpoints.renewing]
renew_after = 0.0
"""


def test_an_enrolment_a_renewal_and_a_revocation_reach_every_directory(
    published: Service, sites: dict[str, Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in published.environment.items():
        monkeypatch.setenv(name, value)

    def signetry(*arguments: object) -> str:
        """Run a command beside the service, in this process: that saves a second each time."""
        done = installation.run_command(*arguments)
        assert done.status == 0, done
        return done.stdout

    for site in sites.values():
        site.add_person("alice")
    address = "alice@example.com"
    signetry("person", "add", "--upn", address, "--email", address, "--name", "Alice")
    (tmp_path / "challenge").touch(mode=0o600)
    challenge = signetry("challenge", "create", "--upn", address, "--profile", "smime-dual", "--endpoint", "renewing")
    (tmp_path / "challenge").write_text(challenge.strip())
    url = f"{published.url}/scep/renewing"
    signetry("enrol", url, "--challenge-file", str(tmp_path / "challenge"), "--out", str(tmp_path / "alice"))

    def enrolled() -> bytes:
        pem = (tmp_path / "alice" / "certificate.pem").read_bytes()
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)

    def everywhere(*certificates: bytes) -> bool:
        return all(site.certificates("alice") == list(certificates) for site in sites.values())

    first = enrolled()
    eventually(lambda: everywhere(first), message="the certificate did not arrive")
    signetry("enrol", url, "--renew", "--out", str(tmp_path / "alice"))
    second = enrolled()
    assert second != first
    eventually(lambda: everywhere(second), message="the renewed certificate did not take the other's place")
    signetry("cert", "hold", serial_of(tmp_path / "alice"))
    # The first is still good, and the current one while the second is not.
    eventually(lambda: everywhere(first), message="the certificate on hold stayed")
    signetry("cert", "release", serial_of(tmp_path / "alice"))
    eventually(lambda: everywhere(second), message="the released certificate did not come back")
    signetry("cert", "revoke", serial_of(tmp_path / "alice"), "--reason", "keyCompromise")
    signetry("cert", "revoke", "--upn", address, "--reason", "superseded")
    eventually(everywhere, message="the revoked certificates stayed")
    eventually(lambda: installation.run_command("ldap", "check", "--json").document == [], message="something differs")
    assert [each["state"] for each in json.loads(signetry("ldap", "status", "--json"))] == ["ok"] * len(sites)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of enrolments and revocations: whose, how many enrolments a second, and when each revocation stood in a CRL."""

    persons: Mapping[str, int]
    rate: float
    crl_seconds: float
    revoked_before: frozenset[bytes]


class Traffic:
    """Makes runs against a running service."""

    def __init__(self, service: Service, house: House, sites: dict[str, Site]) -> None:
        self._service = service
        self._house = house
        self._sites = sites
        self._requests = Requests()
        with ScepClient(service.scep) as client:
            self._ra = client.ca_certificates().ra

    def run(self, prefix: str) -> Run:
        """Enrol new persons, several times each, and revoke some of what they got, while the clock runs."""
        names = [f"{prefix}-{number}" for number in range(_PERSONS)]
        persons = crowd.add_persons(self._house, names)
        challenges = crowd.challenges(self._house, list(persons.values()) * _CERTIFICATES_EACH)
        outcome = load.run(self._service.scep, self._requests.make(self._ra, challenges), 4)
        assert outcome.failed == 0
        revoked = [next(iter(self.certificates(number))) for number in list(persons.values())[:_REVOKED]]
        latencies = sorted(self._revoke(certificate) for certificate in revoked)
        return Run(persons, outcome.rate, latencies[len(latencies) // 2], frozenset(each.der for each in revoked))

    def add_entries(self, prefix: str, *, kinds: tuple[str, ...] = _KINDS) -> None:
        """Add the entries of those whom ``run`` will enrol."""
        for kind in kinds:
            self._sites[kind].add_people(f"{prefix}-{number}" for number in range(_PERSONS))

    def certificates(self, person: int) -> list[Certificate]:
        """Return a person's good certificates."""
        with self._house.transactions.reading() as session:
            query = select(Certificate).where(col(Certificate.person_id) == person, col(Certificate.revoked_at).is_(None))
            return list(session.exec(query.order_by(col(Certificate.id))))

    def _revoke(self, certificate: Certificate) -> float:
        house, serial = self._house, int(certificate.serial, 16)
        began = time.monotonic()
        self._house.transactions.write(
            lambda session: revocation.revoke(
                session,
                [certificate.id or 0],
                RevocationReason.SUPERSEDED,
                actor=house.actor,
                now=house.clock.now(),
                listeners=house.revocation_listeners,
            ),
        )

        def listed() -> bool:
            crl = x509.load_der_x509_crl(httpx2.get(f"{self._service.url}/crl/issuing.crl").content)
            return crl.get_revoked_certificate_by_serial_number(serial) is not None

        eventually(listed, message="the revocation did not reach the CRL")
        return time.monotonic() - began

    def has_arrived(self, kind: str, run: Run) -> bool:
        """Say whether a directory holds exactly the good certificates of everybody in ``run``."""
        site = self._sites[kind]
        held = site.everybodys_certificates()
        return all(
            sorted(held[site.dn(name).lower()]) == sorted(each.der for each in self.certificates(number))
            for name, number in run.persons.items()
        )

    def assert_once_and_in_order(self, kind: str, run: Run) -> None:
        """Fail unless every value came at most once, and went at most once and after it had come."""
        entries = {self._sites[kind].dn(name).lower() for name in run.persons}
        seen: dict[tuple[str, bytes], list[str]] = {}
        for change in self._sites[kind].changes():
            if change.dn.lower() in entries and change.attribute.lower() == "usercertificate":
                seen.setdefault((change.dn.lower(), change.value), []).append(change.action)
        assert seen
        assert all(actions in (["add"], ["add", "delete"]) for actions in seen.values()), seen.values()


@pytest.fixture(scope="module")
def traffic(published: Service, sites: dict[str, Site]) -> Iterator[Traffic]:
    """Persons of the service who enrol and are revoked."""
    with crowd.opened_house(published.home) as house:
        yield Traffic(published, house, sites)


@pytest.fixture(scope="module")
def usual(traffic: Traffic) -> Run:
    """A run while all directories are there."""
    traffic.add_entries("usual")
    run = traffic.run("usual")
    for kind in _KINDS:
        eventually(
            lambda kind=kind: traffic.has_arrived(kind, run), seconds=_PATIENCE_SECONDS, message=f"{kind} is not up to date"
        )
        traffic.assert_once_and_in_order(kind, run)
    return run


@contextmanager
def stopped(site: Site) -> Iterator[None]:
    """Keep a directory down while the block runs."""
    site.directory.stop()
    try:
        yield
    finally:
        site.directory.start()


@pytest.mark.parametrize("kind", _KINDS)
def test_a_directory_that_is_down_delays_nothing_else_and_is_owed_nothing_afterwards(
    kind: str, published: Service, traffic: Traffic, usual: Run, sites: dict[str, Site]
) -> None:
    prefix = f"without-{kind}"
    others = [each for each in _KINDS if each != kind]
    traffic.add_entries(prefix)
    with stopped(sites[kind]):
        run = traffic.run(prefix)
        for other in others:
            eventually(lambda other=other: traffic.has_arrived(other, run), message=f"{other} waited for {kind}")
        states = {each["directory"]: each for each in published.json("ldap", "status")}
        assert states[f"at-{kind}"]["state"] == "unreachable"
        assert states[f"at-{kind}"]["pending"] >= _PERSONS
        assert all(states[f"at-{other}"]["state"] == "ok" for other in others)
    eventually(lambda: traffic.has_arrived(kind, run), seconds=_PATIENCE_SECONDS, message=f"{kind} did not get what it is owed")
    for each in _KINDS:
        traffic.assert_once_and_in_order(each, run)
    # What was revoked during the outage never entered the directory.
    values = {change.value for change in sites[kind].changes() if change.attribute.lower() == "usercertificate"}
    assert not any(der.startswith(value[:1000]) for der in run.revoked_before for value in values if value)
    print(  # noqa: T201 - pytest -s shows the figures
        f"\n{kind} down: {run.rate:.0f} enrolments/s ({run.rate / usual.rate:.2f} of usual), "
        f"a revocation in the CRL after {run.crl_seconds:.2f} s ({run.crl_seconds / usual.crl_seconds:.2f} of usual)",
    )
    # Generous: both are short, and the machine may have other things to do.
    assert run.rate > usual.rate / 3
    assert run.crl_seconds < usual.crl_seconds * 3 + 1
    eventually(
        lambda: all(each["state"] == "ok" and not each["pending"] for each in published.json("ldap", "status")),
        message="something is still pending",
    )
    assert published.json("ldap", "check") == []
