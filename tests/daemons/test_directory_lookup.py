"""A mail program finds what is published: gpgsm, which asks dirmngr."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.daemons.directories.office import Office
from tests.daemons.directories.openldap import SUFFIX, OpenLdap


@pytest.fixture
def gnupg_home(tmp_path_factory: pytest.TempPathFactory, openldap: OpenLdap) -> Iterator[Path]:
    """A home of GnuPG's whose dirmngr looks up in the directory."""
    # Its sockets' paths must be short.
    home = tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    (home / "dirmngr_ldapservers.conf").write_text(f"127.0.0.1:{openldap.port}:::{SUFFIX}\n")
    yield home
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True, capture_output=True)


def test_gpgsm_finds_the_current_certificate_and_no_revoked_one(
    open_office: Callable[..., Office], openldap: OpenLdap, gnupg_home: Path
) -> None:
    """It searches without logging on and reads ``userCertificate`` alone (facts/ldap.md)."""
    name = f"u{uuid4().hex[:12]}"
    site = openldap.site(name)
    office = open_office(site.settings())
    site.add_person(name)

    def found() -> str:
        command = ["gpgsm", "--homedir", str(gnupg_home), "--with-colons", "--list-external-keys", f"{name}@example.com"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "LC_ALL": "C"})
        return done.stdout

    first = office.issue(name)
    second = office.issue(name, renews=first)
    office.work()
    listed = found()
    assert second.serial.upper() in listed, listed
    assert first.serial.upper() not in listed
    office.revoke(first, second)
    office.work()
    assert second.serial.upper() not in found()
