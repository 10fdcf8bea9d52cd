"""The object graph: what follows a changed public URL, what the worker does, what is missing is named."""

import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID
from sqlmodel import Session, col

from audit.log import Actor
from ca import hierarchy
from ca.authorisation import SubjectNames
from ca.issuance import build
from ca.profiles import IDENTITY
from ca.records import Certificate
from ca.revocation import RevocationReason, revoke
from crl import publication
from crl.records import CrlSchedule
from foundation.errors import NotFound, Unavailable
from foundation.tables import table_of
from scep.endpoint import UnknownEndpoint
from signetry.assembly import jobs, web_parts
from signetry.errors import SchemaOutdated
from signetry.house import House, NotInitialised, open_house
from signetry.jobs import JobRun, Worker
from tests.clocks import ManualClock
from tests.signetry.installation import PUBLIC_URL, Commands, clock_of_today, edit, opened

NEW_URL = "https://new.example.com/pki"


def urls(certificate: x509.Certificate) -> tuple[str, str]:
    """Return where a certificate says that its issuer's CRL and certificate are."""
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert points[0].full_name is not None
    (crl,) = points[0].full_name
    (issuers,) = [each.access_location for each in access if each.access_method == AuthorityInformationAccessOID.CA_ISSUERS]
    return str(crl.value), str(issuers.value)


def leaf(house: House, key: rsa.RSAPrivateKey) -> x509.Certificate:
    names = SubjectNames(display_name="Alice", upn="alice@example.com", emails=("alice@example.com",))
    built = build(house.authority("issuing"), IDENTITY, names, key.public_key(), now=house.clock.now())
    return x509.load_der_x509_certificate(built.der)


def test_a_changed_public_url_is_followed_at_the_next_start(
    installed_home: Path, commands: Commands, rsa_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    with opened() as house:
        before = house.authority("issuing").certificate
        early = leaf(house, rsa_key)
        assert house.follow_public_url() == []
    assert urls(before) == (f"{PUBLIC_URL}/crl/root.crl", f"{PUBLIC_URL}/aia/root.cer")
    edit(installed_home, PUBLIC_URL, NEW_URL)
    assert commands.json("ca", "reissue", "--dry-run") == {"authority": "issuing", "public_url": NEW_URL, "due": True}
    with opened() as house:
        assert house.authority("issuing").certificate == before
        assert house.follow_public_url() == ["issuing"]
    with opened() as house:
        after = house.authority("issuing").certificate
        late = leaf(house, rsa_key)
        assert house.follow_public_url() == []
    assert commands.json("ca", "reissue", "--dry-run")["due"] is False
    assert after.serial_number != before.serial_number
    assert (after.subject, after.public_key(), after.not_valid_after_utc) == (
        before.subject,
        before.public_key(),
        before.not_valid_after_utc,
    )
    for kind in (x509.SubjectKeyIdentifier, x509.BasicConstraints, x509.KeyUsage):
        assert after.extensions.get_extension_for_class(kind) == before.extensions.get_extension_for_class(kind)
    assert urls(after) == (f"{NEW_URL}/crl/root.crl", f"{NEW_URL}/aia/root.cer")
    assert urls(late) == (f"{NEW_URL}/crl/issuing.crl", f"{NEW_URL}/aia/issuing.cer")
    assert urls(early) == (f"{PUBLIC_URL}/crl/issuing.crl", f"{PUBLIC_URL}/aia/issuing.cer")
    with opened() as house:
        root = house.authority("root").certificate
    # What was issued before verifies under the new certificate, and what is issued now under the old one.
    files = {"root": root, "before": before, "after": after, "early": early, "late": late}
    for name, certificate in files.items():
        (tmp_path / name).write_bytes(certificate.public_bytes(Encoding.PEM))
    for subject, issuer in (("early", "after"), ("late", "after"), ("late", "before")):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", "root", "-untrusted", issuer, subject]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_a_command_issues_the_authority_again_whether_that_is_due_or_not(installed_home: Path, commands: Commands) -> None:
    (before,) = [row for row in commands.json("ca", "list") if row["name"] == "issuing"]
    made = commands.json("ca", "reissue")
    (after,) = [row for row in commands.json("ca", "list") if row["name"] == "issuing"]
    assert before["serial"] != after["serial"] == made["serial"]
    assert after["not_after"] == before["not_after"]
    assert "root is a root" in commands.refused("ca", "reissue", "root")
    assert "no authority 'nobody'" in commands.refused("ca", "reissue", "nobody")
    edit(installed_home, PUBLIC_URL, NEW_URL)
    assert "no authority 'nobody'" in commands.refused("ca", "reissue", "nobody", "--dry-run")


@pytest.mark.usefixtures("installed_home")
def test_a_revoked_authority_keeps_nobody_from_starting() -> None:
    with opened() as house:
        revoke_certificate_of(house, "issuing")
        assert house.follow_public_url() == []
        house.require_complete()


def revoke_certificate_of(house: House, name: str) -> None:
    with house.transactions.reading() as session:
        serial = next(record.serial for record in hierarchy.authorities(session) if record.name == name)
        number = session.execute(table_of(Certificate).select().where(col(Certificate.serial) == serial)).one().id

    def act(session: Session) -> None:
        reason, now = RevocationReason.CA_COMPROMISE, house.clock.now()
        revoke(session, [number], reason, actor=house.actor, now=now, listeners=house.revocation_listeners)

    house.transactions.write(act)


def test_ra_keys_are_renewed_when_they_are_due_and_not_before(installed_home: Path) -> None:
    clock = clock_of_today()
    with opened(clock) as house:
        assert house.renew_ra_keys() == 0
        clock.advance(days=59)
        assert house.renew_ra_keys() == 0
        clock.advance(days=2)
        assert house.renew_ra_keys() == 1
        assert house.renew_ra_keys() == 0
    assert sorted(path.name for path in (installed_home / "keys").glob("*-ra-*")) == ["issuing-ra-1.key", "issuing-ra-2.key"]


@contextmanager
def working(house: House, clock: ManualClock) -> Iterator[Callable[[], None]]:
    """Yield what has the worker do all that is due."""
    runs: list[JobRun] = []
    worker = Worker(jobs(house), house.database, clock, observer=runs.append)

    def work() -> None:
        # What one job has done may be another's occasion: it is done when a step begins nothing.
        for _ in range(20):
            before = len(runs)
            worker.step()
            deadline = time.monotonic() + 30
            while not worker.is_idle:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            if len(runs) == before:
                return
        raise AssertionError("the worker comes to no end")

    try:
        yield work
    finally:
        worker.stop()


def test_the_worker_renews_ra_keys_and_publishes_crls(installed_home: Path) -> None:
    clock = clock_of_today()
    with opened(clock) as house:
        assert {"crl", "ra-keys", "tls"} <= {job.name for job in jobs(house)}
        with working(house, clock) as work:
            work()
            clock.advance(days=61)
            # Nothing is committed meanwhile: the time alone brings it about.
            work()
        assert (installed_home / "keys" / "issuing-ra-2.key").exists()
        with house.transactions.reading() as session:
            heads = [publication.current(session, house.authority(name).id) for name in ("root", "issuing")]
        assert all(head is not None and head.next_update > clock.now() for head in heads)


def test_an_ra_key_that_was_revoked_is_replaced_at_once(installed_home: Path, commands: Commands) -> None:
    clock = clock_of_today()
    with opened(clock) as house, working(house, clock) as work:
        work()
        (ra,) = commands.json("cert", "list", "--profile", "scep-ra")
        commands.json("cert", "revoke", ra["serial"], "--reason", "keyCompromise")
        work()
    assert (installed_home / "keys" / "issuing-ra-2.key").exists()


@pytest.mark.usefixtures("installed_home")
def test_a_missing_endpoint_is_named_with_those_there_are() -> None:
    with opened() as house, pytest.raises(UnknownEndpoint, match=r"no SCEP endpoint 'mail'; configured are default"):
        house.endpoint("mail")


@pytest.mark.usefixtures("empty_home")
def test_without_an_installation_nothing_opens() -> None:
    with pytest.raises(NotInitialised, match=r"run signetry init") as caught:
        open_house()
    assert isinstance(caught.value, NotFound)


def test_an_installation_that_is_not_complete_does_not_serve(installed_home: Path, commands: Commands) -> None:
    (installed_home / "signetry.db").unlink()
    with opened() as house, pytest.raises(SchemaOutdated, match=r"holds no schema yet"):
        house.require_complete()
    assert "run signetry init, it goes on where it stopped" in commands.refused("serve")


def test_configured_times_and_listeners_reach_the_crl(installed_home: Path) -> None:
    with (installed_home / "signetry.toml").open("a") as file:
        file.write("[crl]\nvalidity_hours = 48\ninterval_minutes = 30\nroot_validity_days = 30\n")
    with opened() as house:
        settings = house.publication_settings
        assert (settings.issuing.validity, settings.issuing.interval) == (timedelta(days=2), timedelta(minutes=30))
        assert (settings.root.validity, settings.root.interval) == (timedelta(days=30), timedelta(days=10))
        # A revocation owes the CRL in its own transaction: nothing else is told.
        due = table_of(CrlSchedule).select().where(col(CrlSchedule.authority_id) == house.authority("root").id)
        with house.transactions.reading() as session:
            assert session.execute(due).one().due_at > house.clock.now()
        revoke_certificate_of(house, "issuing")
        with house.transactions.reading() as session:
            assert session.execute(due).one().due_at <= house.clock.now()


def drop_the_schema(home: Path) -> None:
    with closing(sqlite3.connect(home / "signetry.db")) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.commit()


def lose_a_key(home: Path) -> None:
    (home / "keys" / "issuing-ra-1.key").unlink()


def test_a_service_is_ready_until_its_crl_expires(installed_home: Path) -> None:
    assert installed_home.exists()
    clock = clock_of_today()
    with opened(clock) as house:
        parts = web_parts(house)
        for item in parts.readiness:
            item.check()
        clock.advance(hours=25)
        (crl,) = [item for item in parts.readiness if item.name == "crl"]
        with pytest.raises(Unavailable, match=r"the CRL of authority issuing has expired"):
            crl.check()
        parts.stop()


@pytest.mark.parametrize(
    ("name", "breaks", "reason"),
    [("database", drop_the_schema, "holds no schema yet"), ("keys", lose_a_key, "there is no key 'issuing-ra-1'")],
)
def test_a_service_is_not_ready_without_what_it_needs(
    installed_home: Path, name: str, breaks: Callable[[Path], None], reason: str
) -> None:
    breaks(installed_home)
    with opened() as house:
        parts = web_parts(house)
        (failing,) = [item for item in parts.readiness if item.name == name]
        with pytest.raises(Unavailable, match=re.escape(reason)):
            failing.check()
        parts.stop()


@pytest.mark.usefixtures("installed_home")
def test_another_actor_works_with_the_same_open_keys() -> None:
    with opened() as house:
        other = house.acting_as(Actor("token:7:jamf", origin="192.0.2.7"))
        assert other.actor == Actor("token:7:jamf", origin="192.0.2.7")
        assert other.authorities is house.authorities
        assert other.directories is house.directories
        assert house.actor.name.startswith("cli:")
