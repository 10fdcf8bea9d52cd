"""``signetry ldap`` against a real slapd."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ca import profiles
from ca.authorisation import Authorisation, PersonId, SubjectNames
from ca.issuance import build, record
from ca.keys import KeyAlgorithm
from signetry.assembly import jobs
from signetry.house import House
from signetry.jobs import Job
from tests.ca.keystores import shared_key
from tests.daemons.directories.directory import Site
from tests.daemons.directories.openldap import OpenLdap, running_openldap
from tests.daemons.directories.tls import TestAuthority
from tests.signetry.installation import Commands, opened


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenLdap]:
    authority = TestAuthority(tmp_path_factory.mktemp("ldap-tls"))
    with running_openldap(tmp_path_factory.mktemp("slapd"), authority.issue("slapd", "127.0.0.1")) as server:
        yield server


@pytest.fixture
def site(slapd: OpenLdap, installed_home: Path, request: pytest.FixtureRequest) -> Site:
    """A part of the directory, and an installation that publishes there."""
    made = slapd.site(request.node.name.replace("_", "-"))
    configure(installed_home, made.settings())
    return made


def configure(home: Path, section: str) -> None:
    with (home / "signetry.toml").open("a") as file:
        file.write(section)


def issue(house: House, name: str) -> int:
    """Issue a certificate to the person called ``name``, who is recorded."""
    names = SubjectNames(display_name=name, upn=f"{name}@example.com", emails=(f"{name}@example.com",))
    authority, now = house.authority("issuing"), house.clock.now()
    built = build(authority, profiles.SMIME_DUAL, names, shared_key(KeyAlgorithm.P256, 200).public_key(), now=now)
    authorisation = Authorisation(profiles.SMIME_DUAL.name, names, "test", PersonId(1))
    return house.transactions.write(
        lambda session: record(
            session,
            built,
            authority=authority,
            authorisation=authorisation,
            actor=house.actor,
            now=now,
            listeners=house.issuance_listeners,
        )
    )


def add(commands: Commands, name: str = "alice") -> None:
    commands.json("person", "add", "--upn", f"{name}@example.com", "--email", f"{name}@example.com")


def test_a_persons_certificate_is_published_checked_and_taken_back(site: Site, commands: Commands) -> None:
    site.add_person("alice")
    add(commands)
    with opened() as house:
        issue(house, "alice")
    would = commands.json("ldap", "publish", "--all", "--dry-run")
    # A new directory is owed everything.
    assert commands.json("ldap", "publish", "--dry-run") == would
    assert [row["change"] for row in would if row["subject"] == "alice@example.com"] == ["add"]
    assert site.certificates() == []
    assert [row["state"] for row in commands.json("ldap", "status")] == ["new"]
    (done,) = commands.json("ldap", "publish")
    assert done == {"directory": "main", "published": 3, "failed": 0, "waiting": 0, "left": 0, "error": ""}
    assert len(site.certificates()) == 1
    assert commands.json("ldap", "check") == []
    assert commands.text("ldap", "check").strip().endswith("no differences")
    (status,) = commands.json("ldap", "status")
    assert (status["state"], status["pending"], status["oldest_pending_seconds"]) == ("ok", 0, None)
    commands.json("cert", "revoke", "--upn", "alice@example.com")
    (status,) = commands.json("ldap", "status")
    assert status["pending"] == 1
    found = commands.run("ldap", "check", "--json")
    assert (found.status, [row["difference"] for row in found.document]) == (1, ["unexpected"])
    commands.json("ldap", "publish", "--directory", "main")
    assert site.certificates() == []
    assert commands.json("ldap", "check") == []


def test_authorities_stand_there_with_certificate_and_crl(site: Site, commands: Commands) -> None:
    commands.json("crl", "issue")
    commands.json("ldap", "publish")
    with opened() as house:
        certificate = house.authority("issuing").certificate_der
    dn = f"cn=issuing,{site.authorities}"
    assert site.directory.values(dn, "cACertificate") == [certificate]
    (before,) = site.directory.values(dn, "certificateRevocationList")
    commands.json("crl", "issue", "issuing")
    commands.json("ldap", "publish")
    (after,) = site.directory.values(dn, "certificateRevocationList")
    assert before != after
    commands.json("ca", "reissue")
    commands.json("ldap", "publish")
    assert site.directory.values(dn, "cACertificate") not in ([], [certificate])


def test_who_has_no_entry_is_waited_for_and_that_is_no_failure(site: Site, commands: Commands) -> None:
    add(commands)
    with opened() as house:
        issue(house, "alice")
    (done,) = commands.json("ldap", "publish")
    assert (done["waiting"], done["failed"]) == (1, 0)
    (status,) = commands.json("ldap", "status")
    assert (status["state"], status["waiting"]) == ("ok", 1)
    text = commands.text("ldap", "status")
    assert "alice@example.com: no entry matches (mail=alice@example.com)" in text
    site.add_person("alice")
    assert commands.json("ldap", "publish")[0]["published"] == 1
    # The entry of another address is another entry.
    site.add_person("alicia")
    commands.json("person", "change", "alice@example.com", "--email", "alicia@example.com")
    commands.json("ldap", "publish")
    assert (len(site.certificates("alice")), len(site.certificates("alicia"))) == (0, 1)


def test_a_log_on_without_rights_is_told_what_to_grant(slapd: OpenLdap, installed_home: Path, commands: Commands) -> None:
    site = slapd.site("rights")
    configure(installed_home, site.settings(bind_dn=slapd.reader.dn, authority_base=""))
    site.add_person("alice")
    add(commands)
    with opened() as house:
        issue(house, "alice")
    done = commands.run("ldap", "publish", "--json")
    assert (done.status, done.document[0]["failed"]) == (1, 1)
    (status,) = commands.json("ldap", "status")
    assert status["state"] == "failing"
    (failure,) = status["failures"]
    assert failure["entry"] == site.dn("alice")
    assert "insufficientAccessRights, code 50" in failure["error"]
    assert "grant it by olcAccess (docs/directories.md)" in failure["error"]


def test_a_directory_that_is_not_there_is_unreachable_and_blocks_no_other(
    site: Site, installed_home: Path, commands: Commands
) -> None:
    configure(installed_home, site.settings("away", url="ldap://127.0.0.1:9"))
    site.add_person("alice")
    add(commands)
    with opened() as house:
        issue(house, "alice")
    done = commands.run("ldap", "publish", "--json")
    assert done.status == 1
    away, main = done.document
    assert "Connection refused" in away["error"]
    assert (main["directory"], main["error"]) == ("main", "")
    assert len(site.certificates()) == 1
    assert [row["state"] for row in commands.json("ldap", "status")] == ["unreachable", "ok"]
    assert commands.run("ldap", "publish", "--dry-run").status == 1
    found = commands.run("ldap", "check", "--directory", "away", "--json")
    assert [row["difference"] for row in found.document] == ["unreachable"]


def test_a_directory_that_nobody_configured_is_named_with_those_there_are(site: Site, commands: Commands) -> None:
    assert site.people
    for command in ("publish", "status", "check"):
        assert commands.refused("ldap", command, "--directory", "other") == (
            "signetry: there is no directory 'other'; configured are main"
        )


def test_one_that_has_left_the_settings_is_still_reported(site: Site, installed_home: Path, commands: Commands) -> None:
    commands.json("ldap", "publish")
    settings = installed_home / "signetry.toml"
    settings.write_text(settings.read_text().replace(site.settings(), ""))
    (status,) = commands.json("ldap", "status", "--directory", "main")
    assert (status["state"], status["kind"]) == ("not-configured", None)
    assert "configured are none" in commands.refused("ldap", "check", "--directory", "main")


def test_one_that_has_left_the_settings_can_be_forgotten(site: Site, installed_home: Path, commands: Commands) -> None:
    commands.json("ldap", "publish")
    assert "the settings name the directory 'main'" in commands.refused("ldap", "forget", "main")
    settings = installed_home / "signetry.toml"
    settings.write_text(settings.read_text().replace(site.settings(), ""))
    rehearsed = commands.json("ldap", "forget", "main", "--dry-run")
    forgotten = commands.json("ldap", "forget", "main")
    assert rehearsed == forgotten | {"dry_run": True}
    assert forgotten["directory"] == "main"
    assert forgotten["values_left"] >= 2
    assert commands.json("ldap", "status") == []
    assert commands.refused("ldap", "forget", "main") == "signetry: nothing is recorded of a directory 'main'"
    # Configured again, it is a new one, and what stands there already is recognised.
    configure(installed_home, site.settings())
    commands.json("ldap", "publish")
    assert commands.json("ldap", "check") == []
    assert [row["state"] for row in commands.json("ldap", "status")] == ["ok"]


def test_the_worker_publishes_what_is_owed(site: Site, installed_home: Path, commands: Commands) -> None:
    settings = installed_home / "signetry.toml"
    settings.write_text(settings.read_text().replace(site.settings(), site.settings(smime_attribute="signed")))
    dn = site.add_person("alice")
    add(commands)
    with opened() as house:
        assert house.directories.take_note() == ["main"]
        found = {job.name: job for job in jobs(house)}
        assert {"ldap:main", "ldap-publication-keys"} <= set(found)
        issue(house, "alice")
        assert due(house, found["ldap-publication-keys"])
        assert found["ldap-publication-keys"].run() == 1
        assert not due(house, found["ldap-publication-keys"])
        assert due(house, found["ldap:main"])
        while found["ldap:main"].run():
            pass
        assert not due(house, found["ldap:main"])
    assert len(site.certificates()) == 1
    assert len(site.directory.values(dn, "userSMIMECertificate")) == 1
    assert commands.json("ldap", "check") == []


def due(house: House, job: Job) -> bool:
    assert job.next_due is not None
    with house.transactions.reading() as session:
        when = job.next_due(session)
    return when is not None and when <= house.clock.now()
