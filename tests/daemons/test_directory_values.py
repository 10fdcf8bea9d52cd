"""Values that are hard to write: those of which a server deletes none alone, that are signed, or that are too large for it."""

import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ldap_publish.client import LdapClient
from ldap_publish.directory import Assertion, Change
from ldap_publish.publishing import Publisher
from tests.daemons.directories.directory import Site
from tests.daemons.directories.office import Office
from tests.daemons.directories.openldap import running_openldap
from tests.daemons.directories.tls import TestAuthority

OpenOffice = Callable[..., Office]


def test_what_others_write_between_our_reading_and_our_writing_is_kept(
    open_office: OpenOffice, site: Site, foreign: bytes
) -> None:
    office = open_office(site.settings(smime_attribute="certs-only"))
    dn = site.add_person()
    first = office.issue()
    office.work()
    theirs = pkcs7.serialize_certificates([x509.load_der_x509_certificate(foreign)], Encoding.DER)
    # OpenLDAP takes it without the option only, and lets nobody add a value to one that is there.
    option = ";binary" if site.directory.kind == "389ds" else ""
    interfered: list[str] = []

    class Overtaken(LdapClient):
        """A connection that somebody else is quicker than, once."""

        def modify(self, dn: str, changes: Sequence[Change], assertion: Assertion | None = None) -> None:
            """Change an entry that was changed just now."""
            if not interfered:
                interfered.append(dn)
                kept = site.directory.values(dn, "userSMIMECertificate")
                site.replace_values(dn, f"userSMIMECertificate{option}", [theirs, *kept])
            super().modify(dn, changes, assertion)

    second = office.issue(renews=first)
    directories, house = office.house.directories, office.house
    publisher = Publisher(directories.named("main"), Overtaken, house.transactions, house.clock, directories.sources)
    with closing(publisher):
        assert publisher.run().done == 1
    assert [each.lower() for each in interfered] == [dn.lower()]
    values = site.directory.values(dn, "userSMIMECertificate")
    assert theirs in values
    (ours,) = [pkcs7.load_der_pkcs7_certificates(value) for value in values if value != theirs]
    assert second.der in [each.public_bytes(Encoding.DER) for each in ours]
    assert site.certificates() == [second.der]


def test_a_signed_smime_value_is_made_once_and_verifies(open_office: OpenOffice, site: Site, tmp_path: Path) -> None:
    office = open_office(site.settings(smime_attribute="signed"))
    site.add_person()
    assert office.house.directories.renew_publication_keys() == 1
    issued = office.issue()
    office.work()

    def published() -> bytes:
        (value,) = site.directory.values(site.dn("alice"), "userSMIMECertificate")
        return value

    first = published()
    (tmp_path / "signed").write_bytes(first)
    (tmp_path / "nothing").touch()
    office.json("ca", "export", "issuing", "--out", str(tmp_path / "root.pem"))
    command = ["openssl", "cms", "-verify", "-inform", "DER", "-in", "signed", "-content", "nothing", "-CAfile", "root.pem"]
    verified = subprocess.run([*command, "-purpose", "any"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    assert issued.der in [each.public_bytes(Encoding.DER) for each in pkcs7.load_der_pkcs7_certificates(first)]
    # Every signature is another one: what is there is left there.
    office.json("ldap", "publish", "--all")
    assert published() == first
    assert office.json("ldap", "check") == []
    office.revoke(issued)
    office.work()
    assert site.directory.values(site.dn("alice"), "userSMIMECertificate") == []


def test_a_crl_that_is_too_large_holds_up_nothing_else(office: Office, site: Site) -> None:
    site.add_person()
    issued = office.issue()
    house, directories = office.house, office.house.directories
    # Above what 389 DS reads by default, and above what is sent to the others at all.
    size = 2_200_000 if site.directory.kind == "389ds" else 16_000_001
    sources = replace(directories.sources, crl=lambda *_: bytes(size))
    publisher = Publisher(directories.named("main"), LdapClient, house.transactions, house.clock, sources)
    with closing(publisher):
        while publisher.run().settled:
            pass
    assert site.certificates() == [issued.der]
    status = office.status()
    assert status["state"] == "failing"
    assert all(f"{size:,} bytes" in failure["error"] for failure in status["failures"]), status


def test_a_server_is_reached_by_its_ipv6_address(
    open_office: OpenOffice, tmp_path: Path, directory_authority: TestAuthority
) -> None:
    tls = directory_authority.issue("ipv6", "::1")
    with running_openldap(tmp_path / "ipv6", tls, host="::1") as server:
        site = server.site("ipv6")
        assert "//[::1]:" in site.settings()
        office = open_office(site.settings(), site.settings("tls", tls="ldaps", authority_base=""))
        site.add_person()
        issued = office.issue()
        office.work()
        assert site.certificates() == [issued.der]
        assert [each["state"] for each in office.json("ldap", "status")] == ["ok", "ok"]
