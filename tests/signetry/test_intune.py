"""Microsoft Intune in the composition root: settings, the policies, the worker's job, the doctor, the command."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from sqlalchemy import insert, select
from sqlmodel import Session, col

from ca import issuance
from ca.authorisation import Authorisation, PersonId, ProfileName, SubjectNames
from ca.profiles import profile_named
from ca.records import Certificate
from intune.tenant import ClientCertificate, ClientSecret
from people.person import PersonFields
from people.persons import add_person
from scep import withheld
from scep.client import named, throwaway_signer
from scep.policies.intune import Intune
from scep.records import Enrolment
from signetry import intune, policies
from signetry.doctor import intune as doctor
from signetry.errors import ConfigurationError
from signetry.house import House
from signetry.intune_settings import IntuneSettings
from signetry.settings import load_settings
from tests.clocks import ManualClock
from tests.daemons.directories.tls import ServerTls
from tests.intune.server import CLIENT_ID, CLIENT_SECRET, TENANT, Cloud, Reply, cloud_tls, running_cloud
from tests.signetry.installation import Commands, clock_of_today, opened

MINIMAL = f"""
[intune]
tenant_id = "{TENANT}"
client_id = "{CLIENT_ID}"
client_secret_file = "secrets/intune"
"""
ENDPOINTS = """
[endpoints.phones]
challenge = "intune"
profiles = ["identity"]
[endpoints.mail]
challenge = "intune"
profiles = ["smime-signing"]
"""


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return cloud_tls(tmp_path_factory.mktemp("cloud-tls"))


@pytest.fixture
def cloud(tls: ServerTls) -> Iterator[Cloud]:
    with running_cloud(tls) as running:
        yield running
    assert running.violations == []


def write(home: Path, text: str) -> None:
    home.mkdir(exist_ok=True)
    with (home / "signetry.toml").open("a") as file:
        file.write(text)


def keep(home: Path, secret: str = CLIENT_SECRET, mode: int = 0o600) -> None:
    path = home / "secrets" / "intune"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_text(f"{secret}\n")


def at(cloud: Cloud, tls: ServerTls) -> str:
    return f'login_url = "{cloud.url}"\ngraph_url = "{cloud.url}"\nca_file = "{tls.ca}"\ncaller_info = "Signetry test"\n'


# --- settings ---


def test_the_public_cloud_is_meant_unless_another_is_named(empty_home: Path) -> None:
    write(empty_home, MINIMAL)
    settings = load_settings().intune
    tenant = intune.tenant(settings)
    assert settings.client_secret_file == empty_home / "secrets" / "intune"
    assert tenant.authority == f"https://login.microsoftonline.com/{TENANT}"
    assert tenant.graph_scope == "https://graph.microsoft.com/.default"
    assert tenant.intune_scope == "https://api.manage.microsoft.com//.default"
    assert tenant.caller_info.startswith("Signetry ")


def test_a_national_cloud_has_addresses_of_its_own(empty_home: Path) -> None:
    write(empty_home, MINIMAL)
    write(
        empty_home,
        'login_url = "https://login.microsoftonline.us/"\ngraph_url = "https://graph.microsoft.us"\n'
        'resource_url = "https://api.manage.microsoft.us/"\n',
    )
    tenant = intune.tenant(load_settings().intune)
    assert tenant.authority == f"https://login.microsoftonline.us/{TENANT}"
    assert tenant.graph_scope == "https://graph.microsoft.us/.default"
    assert tenant.intune_scope == "https://api.manage.microsoft.us//.default"


def test_without_the_section_there_is_no_tenant(empty_home: Path) -> None:
    settings = load_settings().intune
    assert empty_home
    assert not settings.is_configured
    with pytest.raises(ConfigurationError, match="intune"):
        intune.tenant(settings)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('client_certificate_file = "c"', "together"),
        ('client_certificate_file = "c"\nclient_key_file = "k"', "not both"),
        ('login_url = "http://login.example.com"', "https://host"),
        ('graph_url = "https://graph.example.com/v1.0"', "https://host"),
        ('resource_url = "https://user@api.example.com"', "https://host"),
        ('login_url = "https://host:0"', "https://host"),
        ('login_url = "https://host:x"', "https://host"),
        ('proxy = "proxy.example.com:3128"', "http://host:port"),
        ('proxy = "http://user:word@proxy.example.com:3128"', "http://host:port"),
        ('proxy_user = "u"', "together"),
        ('proxy_user = "u"\nproxy_password_file = "p"', "goes with proxy"),
        ("timeout_seconds = 0", "greater than"),
        ('tenant = "x"', "unknown setting intune.tenant"),
    ],
    ids=lambda value: value if " " not in value else value.partition(" ")[0],
)
def test_what_cannot_be_meant_is_refused(empty_home: Path, line: str, reason: str) -> None:
    write(empty_home, f"{MINIMAL}{line}\n")
    with pytest.raises(ConfigurationError, match=reason) as refused:
        load_settings()
    assert "intune" in str(refused.value)


@pytest.mark.parametrize("missing", ["tenant_id", "client_id", "client_secret_file"])
def test_a_tenant_needs_all_three(empty_home: Path, missing: str) -> None:
    write(empty_home, "\n".join(line for line in MINIMAL.splitlines() if not line.startswith(missing)))
    with pytest.raises(ConfigurationError, match="given together"):
        load_settings()


def test_a_tenant_is_no_path(empty_home: Path) -> None:
    write(empty_home, MINIMAL.replace(TENANT, "../common"))
    with pytest.raises(ConfigurationError, match="tenant_id"):
        load_settings()


def test_an_endpoint_for_intune_needs_a_tenant_and_one_profile(empty_home: Path) -> None:
    write(empty_home, '[endpoints.phones]\nchallenge = "intune"\nprofiles = ["identity"]\n')
    with pytest.raises(ConfigurationError, match=r"endpoints\.phones\.challenge"):
        load_settings()
    write(empty_home, MINIMAL)
    load_settings()
    write(empty_home, '[endpoints.both]\nchallenge = "intune"\nprofiles = ["identity", "smime-dual"]\n')
    with pytest.raises(ConfigurationError, match=r"endpoints\.both\.profiles"):
        load_settings()


# --- credentials ---


def test_the_secret_is_read_when_it_is_needed(empty_home: Path) -> None:
    write(empty_home, MINIMAL)
    tenant = intune.tenant(load_settings().intune)
    with pytest.raises(ConfigurationError, match="client_secret_file"):
        tenant.credential()
    keep(empty_home, "one")
    assert tenant.credential() == ClientSecret("one")
    keep(empty_home, "another")
    assert tenant.credential() == ClientSecret("another")
    keep(empty_home, mode=0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        tenant.credential()


def test_a_certificate_comes_with_its_key_in_the_clear(empty_home: Path, tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    certificate = throwaway_signer(rsa_key, named("signetry")).certificate.public_bytes(Encoding.PEM)
    (tmp_path / "c.pem").write_bytes(certificate)
    key = tmp_path / "k.pem"
    key.touch(mode=0o600)
    key.write_bytes(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = IntuneSettings(
        tenant_id=TENANT, client_id=CLIENT_ID, client_certificate_file=tmp_path / "c.pem", client_key_file=key
    )
    credential = intune.tenant(settings).credential()
    assert isinstance(credential, ClientCertificate)
    assert credential.certificate == certificate.decode().strip()
    key.write_bytes(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))
    with pytest.raises(ConfigurationError, match="without passphrase"):
        intune.tenant(settings).credential()
    assert empty_home


def test_a_file_of_authorities_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    settings = IntuneSettings(tenant_id="t", client_id="c", client_secret_file=tmp_path / "s", ca_file=tmp_path / "ca.pem")
    for content in (None, "no certificate"):
        if content is not None:
            (tmp_path / "ca.pem").write_text(content)
        with pytest.raises(ConfigurationError, match=r"intune\.ca_file"):
            intune.transport(settings)


# --- the policies ---


def test_the_endpoints_for_intune_get_its_policy_and_the_others_theirs(installed_home: Path) -> None:
    write(installed_home, MINIMAL + ENDPOINTS)
    with opened() as house:
        configured = policies.policies(house)
        assert {name for name, policy in configured.items() if isinstance(policy, Intune)} == {"phones", "mail"}
        assert "default" in configured
        policies.close(configured)


# --- the doctor and the command ---


def test_the_doctor_tries_what_phones_will_need(installed_home: Path, cloud: Cloud, tls: ServerTls) -> None:
    write(installed_home, MINIMAL + at(cloud, tls))
    keep(installed_home)
    with opened() as house:
        (alone,) = doctor.intune(house)
    assert (alone.severity, "no endpoint" in alone.finding) == ("warning", True)
    assert cloud.logons == []
    write(installed_home, ENDPOINTS)
    with opened() as house:
        (fine,) = doctor.intune(house)
        cloud.answer("validateRequest", Reply(403))
        (refused,) = doctor.intune(house)
        cloud.secret = "another"
        (unknown,) = doctor.intune(house)
    assert (fine.severity, fine.finding) == ("ok", f"{TENANT} can be asked, for mail, phones")
    assert (refused.severity, "HTTP 403" in refused.finding) == ("error", True)
    assert (unknown.severity, "AADSTS7000215" in unknown.finding) == ("error", True)


def test_nothing_is_said_of_intune_where_there_is_none(installed_home: Path) -> None:
    assert installed_home
    with opened() as house:
        assert list(doctor.intune(house)) == []


def test_the_command_goes_as_far_as_it_gets(installed_home: Path, cloud: Cloud, tls: ServerTls, commands: Commands) -> None:
    assert "intune" in commands.refused("intune", "check", status=2)
    write(installed_home, MINIMAL + at(cloud, tls))
    done = commands.run("intune", "check", "--json")
    assert done.status == 1
    assert [(each["step"], each["result"]) for each in done.document] == [("credentials", "failed")]
    keep(installed_home)
    assert [each["result"] for each in commands.json("intune", "check")] == ["ok", "ok", "ok"]
    cloud.endpoints = []
    done = commands.run("intune", "check")
    assert done.status == 1
    assert "discovery" in done.stdout
    assert "validation" not in done.stdout
    assert CLIENT_SECRET not in done.stdout + done.stderr


# --- what is withheld ---


def withhold(house: House, clock: ManualClock) -> int:
    """Leave a certificate behind that nobody was told of; return its number."""
    fields = PersonFields(upn="alice@example.com", email="alice@example.com", display_name="Alice")
    key = rsa.generate_private_key(65537, 2048).public_key()
    authority = house.issuing_now("issuing")
    now = clock.now()

    def act(session: Session) -> int:
        person = add_person(session, fields, actor=house.actor, now=now)
        names = SubjectNames(display_name="Alice", upn=person.upn, emails=(person.email,))
        built = issuance.build(authority, profile_named(ProfileName("identity")), names, key, now=now)
        authorisation = Authorisation(ProfileName("identity"), names, "test", PersonId(person.id))
        number = issuance.record(session, built, authority=authority, authorisation=authorisation, actor=house.actor, now=now)
        session.execute(
            insert(Enrolment).values(
                retry_key="r",
                endpoint="phones",
                transaction_id="t",
                certificate_id=number,
                created_at=now,
                withheld_until=now + timedelta(hours=24),
            )
        )
        return number

    return house.transactions.write(act)


def test_the_worker_revokes_what_nobody_came_back_for_and_owes_the_crl(installed_home: Path) -> None:
    assert installed_home
    clock = clock_of_today()
    with opened(clock) as house:
        house.publish_crls()
        number = withhold(house, clock)
        job = intune.withheld_job(house)
        assert job.next_due is not None
        with house.transactions.reading() as session:
            assert job.next_due(session) == clock.now() + timedelta(hours=24)
        assert not job.run()
        assert list(doctor.intune(house)) == []
        clock.advance(timedelta(hours=3))
        (late,) = doctor.intune(house)
        assert (late.check, late.severity, "3 hours" in late.finding) == ("withheld", "warning", True)
        clock.advance(timedelta(hours=21))
        assert job.run() == 1
        with house.transactions.reading() as session:
            assert job.next_due(session) is None
            revoked = select(col(Certificate.revocation_reason)).where(col(Certificate.id) == number)
            assert session.execute(revoked).scalar_one() == "cessationOfOperation"
        assert len(house.publish_crls()) == 1


def test_directories_are_told_of_nothing_that_is_withheld(installed_home: Path) -> None:
    assert installed_home
    clock = clock_of_today()
    with opened(clock) as house:
        number = withhold(house, clock)
        with house.transactions.reading() as session:
            assert house.directories.sources.withheld(session) == {number}
            assert withheld.certificate_ids(session) == {number}
