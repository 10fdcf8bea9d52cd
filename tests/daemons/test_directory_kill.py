"""Kill -9 of the worker between any two LDAP operations: afterwards the directory holds what the records say."""

import random
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from foundation.due import LEASE
from tests.daemons.directories.directory import Directory, Site
from tests.daemons.directories.killed_worker import work_until_killed
from tests.daemons.directories.office import Issued, Office, made, opened_office
from tests.daemons.directories.tls import TestAuthority

KILLS = 30
_PERSONS = [f"person{number}" for number in range(6)]


class Staff:
    """Persons whose certificates come, are renewed and are revoked, and what their entries should hold by now."""

    def __init__(self, office: Office, site: Site, foreign: dict[str, list[bytes]]) -> None:
        self._office = office
        self._site = site
        self._foreign = foreign
        # The good certificates of each person, the current one last.
        self._held: dict[str, list[Issued]] = {name: [] for name in _PERSONS}
        self._choice = random.Random(3)

    def change(self) -> None:
        """Change something for some persons."""
        for name in self._choice.sample(_PERSONS, 3):
            held = self._held[name]
            if held and self._choice.random() < 0.4:
                self._office.revoke(*held)
                held.clear()
            else:
                held.append(self._office.issue(name, renews=held[-1] if held else None))

    def assert_published(self) -> None:
        """Fail unless every entry holds the person's certificate and all that is somebody else's, once each."""
        for name, held in self._held.items():
            own = [each.der for each in held[-1:]]
            assert sorted(self._site.certificates(name)) == sorted([*self._foreign["userCertificate"], *own]), name
            bags = self._site.directory.values(self._site.dn(name), "userSMIMECertificate")
            theirs = self._foreign["userSMIMECertificate"]
            assert [value for value in bags if value in theirs] == theirs, name
            ours = [pkcs7.load_der_pkcs7_certificates(value) for value in bags if value not in theirs]
            assert len(ours) == len(own), name
            assert all(own[0] in [each.public_bytes(Encoding.DER) for each in bag] for bag in ours), name


@pytest.fixture
def foreign(tmp_path: Path) -> dict[str, list[bytes]]:
    """Values of somebody else's, by attribute."""
    certificate = x509.load_pem_x509_certificate(TestAuthority(tmp_path / "foreign").file.read_bytes())
    return {
        "userCertificate": [certificate.public_bytes(Encoding.DER)],
        "userSMIMECertificate": [pkcs7.serialize_certificates([certificate], Encoding.DER)],
    }


def test_a_worker_killed_between_any_two_operations_leaves_nothing_that_the_next_does_not_mend(
    directory: Directory, tmp_path: Path, foreign: dict[str, list[bytes]]
) -> None:
    site = directory.site(f"t{uuid4().hex[:12]}")
    certificate = "userCertificate" if directory.kind == "ad" else "userCertificate;binary"
    smime = "userSMIMECertificate;binary" if directory.kind == "389ds" else "userSMIMECertificate"
    for name in _PERSONS:
        dn = site.add_person(name)
        site.add_values(dn, certificate, foreign["userCertificate"])
        site.add_values(dn, smime, foreign["userSMIMECertificate"])
    # A lease that nobody settled lapses after 30 seconds: instead of waiting for that, the office began so much earlier.
    age = timedelta(hours=1)
    home = made(tmp_path / "home", age=age)
    with opened_office(home, site.settings(smime_attribute="certs-only"), age=age) as office:
        staff = Staff(office, site, foreign)
        killed, operation = 0, 0
        while killed < KILLS:
            staff.change()
            operation += 1
            if work_until_killed(home, office.clock.now(), operation, after=operation % 2 == 0):
                killed += 1
            else:
                # It had no more to do than that: count from the first operation again.
                operation = 0
            office.clock.advance(LEASE + timedelta(seconds=1))
        office.work()
        staff.assert_published()
        assert office.json("ldap", "check") == []
