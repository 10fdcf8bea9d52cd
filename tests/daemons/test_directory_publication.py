"""What stands in a real directory after each thing that can happen to a certificate, an entry, a right or a schema."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ca.revocation import RevocationReason
from crl import publication
from tests.daemons.directories.directory import Directory, Site
from tests.daemons.directories.office import Office
from tests.daemons.directories.openldap import running_openldap
from tests.daemons.directories.samba import Samba
from tests.daemons.directories.tls import TestAuthority

OpenOffice = Callable[..., Office]
# More than the longest wait after a few failures.
_LATER = timedelta(minutes=10)


def binary(site: Site, attribute: str) -> str:
    """Return an attribute as the kind wants it written."""
    return attribute if site.directory.kind == "ad" else f"{attribute};binary"


def test_the_current_certificate_is_published_and_its_predecessor_leaves(office: Office, site: Site) -> None:
    site.add_person()
    first = office.issue()
    office.work()
    assert site.certificates() == [first.der]
    second = office.issue(renews=first)
    office.work()
    assert site.certificates() == [second.der]


def test_a_certificate_on_hold_leaves_and_returns_and_a_revoked_one_leaves(office: Office, site: Site) -> None:
    site.add_person()
    issued = office.issue()
    office.work()
    office.revoke(issued, reason=RevocationReason.CERTIFICATE_HOLD)
    office.work()
    assert site.certificates() == []
    office.release(issued)
    office.work()
    assert site.certificates() == [issued.der]
    office.revoke(issued, reason=RevocationReason.KEY_COMPROMISE)
    office.work()
    assert site.certificates() == []


def test_an_expired_certificate_leaves_by_itself(office: Office, site: Site) -> None:
    site.add_person()
    short = office.issue(validity=timedelta(days=2))
    long = office.issue(validity=timedelta(days=9))
    office.work()
    assert sorted(site.certificates()) == sorted([short.der, long.der])
    office.clock.advance(days=3)
    office.work()
    assert site.certificates() == [long.der]
    office.clock.advance(days=7)
    office.work()
    assert site.certificates() == []


def test_values_of_others_are_kept(office: Office, site: Site, foreign: bytes) -> None:
    dn = site.add_person()
    site.add_values(dn, binary(site, "userCertificate"), [foreign])
    first = office.issue()
    office.work()
    assert sorted(site.certificates()) == sorted([foreign, first.der])
    second = office.issue(renews=first)
    office.work()
    assert sorted(site.certificates()) == sorted([foreign, second.der])
    # Both of them: with the second gone, the first, if good, would be the current one again.
    office.revoke(first, second)
    office.work()
    assert site.certificates() == [foreign]


def test_values_of_others_in_the_smime_attribute_are_kept(open_office: OpenOffice, site: Site, foreign: bytes) -> None:
    office = open_office(site.settings(smime_attribute="certs-only"))
    dn = site.add_person()
    theirs = pkcs7.serialize_certificates([x509.load_der_x509_certificate(foreign)], Encoding.DER)
    # OpenLDAP takes it without the option only.
    option = "" if site.directory.kind != "389ds" else ";binary"
    site.add_values(dn, f"userSMIMECertificate{option}", [theirs])

    def held() -> list[list[bytes]]:
        values = site.directory.values(dn, "userSMIMECertificate")
        certificates = [pkcs7.load_der_pkcs7_certificates(value) for value in values if value != theirs]
        assert theirs in values
        return [[each.public_bytes(Encoding.DER) for each in bag] for bag in certificates]

    first = office.issue()
    office.work()
    (bag,) = held()
    assert first.der in bag
    second = office.issue(renews=first)
    office.work()
    (bag,) = held()
    assert second.der in bag
    assert first.der not in bag
    office.revoke(first, second)
    office.work()
    assert held() == []


def test_a_missing_entry_is_waited_for(office: Office, site: Site) -> None:
    site.add_person("bob")
    alice, bob = office.issue("alice"), office.issue("bob")
    office.work()
    assert site.certificates("bob") == [bob.der]
    status = office.status()
    assert (status["state"], status["waiting"], status["failed"]) == ("ok", 1, 0)
    site.add_person("alice")
    office.clock.advance(_LATER)
    office.work()
    assert site.certificates("alice") == [alice.der]
    assert office.status()["waiting"] == 0


def test_a_missing_entry_is_made_where_that_is_configured(open_office: OpenOffice, site: Site) -> None:
    create_dn = f"cn={{display_name}},{site.people}"
    office = open_office(site.settings(missing="create", create_dn=create_dn))
    first = office.issue()
    office.work()
    assert site.certificates() == [first.der]
    assert len(site.directory.entries(site.people, "(mail=alice@example.com)")) == 1
    second = office.issue(renews=first)
    office.work()
    assert site.certificates() == [second.der]
    assert len(site.directory.entries(site.people, "(mail=alice@example.com)")) == 1


def test_a_user_of_active_directory_is_found_by_the_upn(open_office: OpenOffice, samba: Samba) -> None:
    name = f"u{uuid4().hex[:12]}"
    site = samba.site(name)
    office = open_office(site.settings().replace('search_filter = "(mail={email})"\n', ""))
    user = site.add_person(name, mail="another@example.com")
    samba.modify(f"dn: {user}\nchangetype: modify\nadd: userPrincipalName\nuserPrincipalName: {name}@example.com\n")
    issued = office.issue(name)
    office.work()
    assert site.certificates(name) == [issued.der]


def test_missing_rights_are_reported_once_in_the_servers_own_words(open_office: OpenOffice, site: Site) -> None:
    office = open_office(site.settings(bind_dn=site.directory.reader.dn, authority_base=""))
    names = ["alice", "bob", "carol", "dave", "erin"]
    for name in names:
        site.add_person(name)
        office.issue(name)
    with structlog.testing.capture_logs() as logged:
        office.work()
    assert [site.certificates(name) for name in names] == [[]] * len(names)
    assert len([line for line in logged if line["log_level"] in {"warning", "error"}]) == 1, logged
    status = office.status()
    assert status["failed"] == len(names)
    reasons = {failure["error"] for failure in status["failures"]}
    # 389 DS and AD name the entry in their answer; what they say besides is the same.
    assert all("insufficientAccessRights" in reason or "access" in reason.lower() for reason in reasons), reasons
    # With the rights, all arrives.
    home = office.house.settings.home
    settings = (home / "signetry.toml").read_text()
    (home / "signetry.toml").write_text(settings.replace(site.directory.reader.dn, site.directory.writer.dn))
    office.json("ldap", "publish", "--all")
    assert all(len(site.certificates(name)) == 1 for name in names)


def test_an_entry_whose_class_holds_no_certificates_fails_alone(open_office: OpenOffice, site: Site) -> None:
    office = open_office(site.settings(search_filter="(|(mail={email})(description={email}))"))
    role = site.dn("helpdesk")
    site.directory.modify(f"dn: {role}\nobjectClass: organizationalRole\ndescription: helpdesk@example.com\n")
    site.add_person("alice")
    office.issue("helpdesk")
    alice = office.issue("alice")
    office.work()
    assert site.certificates("alice") == [alice.der]
    status = office.status()
    assert (status["state"], status["failed"]) == ("failing", 1)
    (failure,) = status["failures"]
    assert "userCertificate" in failure["error"]
    assert failure["subject"] == "helpdesk@example.com"


def test_a_server_without_the_schema_is_reported_and_the_rest_arrives(
    open_office: OpenOffice, tmp_path: Path, directory_authority: TestAuthority
) -> None:
    tls = directory_authority.issue("bare", "127.0.0.1")
    with running_openldap(tmp_path / "bare", tls, schemas=("core",)) as bare:
        site = bare.site("bare")
        dn = site.add_person()
        office = open_office(site.settings(smime_attribute="certs-only"))
        issued = office.issue()
        with structlog.testing.capture_logs() as logged:
            office.work()
        status = office.status()
        assert status["failed"] == 1
        (failure,) = status["failures"]
        assert "userSMIMECertificate: attribute type undefined" in failure["error"]
        assert len([line for line in logged if line["log_level"] in {"warning", "error"}]) == 1, logged
        assert bare.values(dn, "userSMIMECertificate") == []
        assert bare.values(dn, "userCertificate") in ([], [issued.der])


def test_authorities_and_their_crls_are_published(office: Office, site: Site, foreign: bytes) -> None:
    site.add_person()
    issued = office.issue()
    office.work()
    entries = [dn for dn in site.directory.entries(site.authorities) if dn.lower().startswith("cn=issuing,")]
    assert len(entries) == 1
    (dn,) = entries

    def expected() -> list[bytes]:
        with office.house.transactions.reading() as session:
            head = publication.current_by_name(session, "issuing")
            assert head is not None
            crl = publication.encoded(session, head.id)
        assert crl is not None
        return [crl]

    assert site.directory.values(dn, "cACertificate") == [office.house.authority("issuing").certificate_der]
    assert site.directory.values(dn, "certificateRevocationList") == expected()
    before = expected()
    site.add_values(dn, binary(site, "cACertificate"), [foreign])
    office.revoke(issued)
    office.work()
    assert expected() != before
    assert site.directory.values(dn, "certificateRevocationList") == expected()
    assert foreign in site.directory.values(dn, "cACertificate")


@pytest.mark.parametrize("tls", ["starttls", "ldaps"])
def test_both_ways_of_tls_work(open_office: OpenOffice, site: Site, tls: str) -> None:
    office = open_office(site.settings(tls=tls))
    site.add_person()
    issued = office.issue()
    office.work()
    assert site.certificates() == [issued.der]
    assert office.json("ldap", "check") == []


@pytest.mark.parametrize("tls", ["starttls", "ldaps"])
def test_a_server_that_another_authority_vouches_for_is_refused(
    open_office: OpenOffice, site: Site, tls: str, tmp_path: Path
) -> None:
    other = TestAuthority(tmp_path / "other")
    assert_unreachable(open_office(site.settings(tls=tls, ca_file=str(other.file))), site, "certificate verify failed")


@pytest.mark.parametrize("tls", ["starttls", "ldaps"])
def test_a_server_of_another_name_is_refused(open_office: OpenOffice, openldap: Directory, tls: str) -> None:
    site = openldap.site(f"t{uuid4().hex[:12]}")
    # Its certificate is for 127.0.0.1 and nothing else.
    url = f"ldaps://localhost:{openldap.tls_port}" if tls == "ldaps" else f"ldap://localhost:{openldap.port}"
    assert_unreachable(open_office(site.settings(tls=tls, url=url)), site, "localhost")


def test_a_server_without_starttls_never_sees_the_password(
    open_office: OpenOffice, tmp_path: Path, directory_authority: TestAuthority
) -> None:
    tls = directory_authority.issue("plain", "127.0.0.1")
    with running_openldap(tmp_path / "plain", tls, start_tls=False) as plain:
        site = plain.site("plain")
        assert_unreachable(open_office(site.settings()), site, "")


def assert_unreachable(office: Office, site: Site, reason: str) -> None:
    for name in ("alice", "bob"):
        site.add_person(name)
        office.issue(name)
    with structlog.testing.capture_logs() as logged:
        office.work()
    assert site.certificates() == []
    status = office.status()
    assert status["state"] == "unreachable"
    assert status["pending"] >= 2
    assert status["failed"] == 0
    assert reason in status["error"]
    assert len([line for line in logged if line["log_level"] in {"warning", "error"}]) == 1, logged
