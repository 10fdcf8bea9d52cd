"""The rights that docs/directories.md grants, granted as printed there, suffice; and less than all of them does not."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons.directories.directory import PASSWORD, Directory
from tests.daemons.directories.ds389 import SUFFIX, Ds389
from tests.daemons.directories.office import Office
from tests.daemons.directories.openldap import OpenLdap
from tests.daemons.directories.tls import ServerTls, TestAuthority

_PAGE = Path(__file__).parents[2] / "docs" / "directories.md"


def printed(heading: str) -> list[str]:
    """Return the LDIF blocks of a section of the page."""
    (section,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    blocks: list[str] = re.findall(r"```ldif\n(.*?)```", section, re.DOTALL)
    return blocks


class PlainOpenLdap(OpenLdap):
    """A slapd whose accounts may read, and whose configuration can be changed over LDAP."""

    def __init__(self, folder: Path, tls: ServerTls) -> None:
        super().__init__(folder, tls)
        file = folder / "slapd.conf"
        lines = [line for line in file.read_text().splitlines() if not line.startswith("access to dn.subtree")]
        configured = f"database config\nrootdn cn=config\nrootpw {PASSWORD}\n\ndatabase mdb"
        file.write_text("\n".join(lines).replace("database mdb", configured))

    def grant(self, ldif: str) -> None:
        """Apply LDIF as the configuration's administrator."""
        done = self.tool("ldapmodify", text=ldif, dn="cn=config")
        assert done.returncode == 0, done.stderr


class Plain389(Ds389):
    """A 389 DS in which nobody may do anything."""

    def furnish(self) -> None:
        """Add the suffix, its folders and the account."""
        folders = "".join(
            f"dn: ou={name},{SUFFIX}\nobjectClass: organizationalUnit\n\n" for name in ("people", "authorities", "services")
        )
        account = f"objectClass: organizationalRole\nobjectClass: simpleSecurityObject\nuserPassword: {PASSWORD}\n"
        self.modify(f"dn: {SUFFIX}\nobjectClass: domain\n\n{folders}dn: {self.writer.dn}\n{account}")

    def grant(self, ldif: str) -> None:
        """Apply LDIF as administrator."""
        self.modify(ldif)


@pytest.fixture(params=[(PlainOpenLdap, "OpenLDAP"), (Plain389, "389 Directory Server")], ids=["openldap", "ds389"])
def plain(
    request: pytest.FixtureRequest, tmp_path: Path, directory_authority: TestAuthority
) -> Iterator[tuple[PlainOpenLdap | Plain389, list[str]]]:
    """A directory that grants nothing yet, and what the page says to grant."""
    make, heading = request.param
    server = make(tmp_path / "plain", directory_authority.issue("plain", "127.0.0.1"))
    server.start()
    try:
        server.furnish()
        yield server, printed(heading)
    finally:
        server.kill()


def test_the_rights_that_are_documented_suffice(
    plain: tuple[PlainOpenLdap | Plain389, list[str]], open_office: Callable[..., Office]
) -> None:
    server, (to_publish, to_create) = plain
    site = server.site("documented")
    site.add_person("alice")
    creating = {"missing": "create", "create_dn": f"cn={{display_name}},{site.people}"}
    office = open_office(site.settings(smime_attribute="certs-only", **creating))
    alice, bob = office.issue("alice"), office.issue("bob")
    office.work()
    assert _published(server, site.dn("alice")) == []
    server.grant(to_publish)
    office.clock.advance(minutes=10)
    office.work()
    assert _published(server, site.dn("alice")) == [alice.der]
    assert server.entries(site.people, "(cn=bob)") == []
    assert len(server.entries(site.authorities, "(cn=issuing)")) == 1
    (failure,) = office.status()["failures"]
    assert failure["subject"] == "bob@example.com"
    assert "insufficientAccessRights" in failure["error"]
    server.grant(to_create)
    office.clock.advance(minutes=10)
    office.work()
    assert _published(server, site.dn("bob")) == [bob.der]
    renewed = office.issue("alice", renews=alice)
    office.work()
    assert _published(server, site.dn("alice")) == [renewed.der]
    assert len(server.values(site.dn("alice"), "userSMIMECertificate")) == 1
    assert office.status()["state"] == "ok"


def _published(server: Directory, dn: str) -> list[bytes]:
    return server.values(dn, "userCertificate")
