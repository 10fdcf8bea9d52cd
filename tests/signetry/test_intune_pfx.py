"""``signetry intune push-pfx`` over a real archive process, before a strict Microsoft Graph; the API, the doctor."""

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from intune.imported_pfx import PaddingScheme
from signetry.access.roles import Role
from signetry.doctor import intune as doctor
from signetry.errors import ConfigurationError
from signetry.intune_connector import connector_key
from signetry.intune_settings import IntuneSettings
from signetry.settings import load_settings
from tests.daemons.directories.tls import ServerTls
from tests.intune.pfx_service import KEY_NAME, PfxService, thumbprint
from tests.intune.server import CLIENT_ID, CLIENT_SECRET, TENANT, Cloud, Reply, cloud_tls, running_cloud
from tests.signetry.api.conftest import Api, opened_api
from tests.signetry.archived import ArchiveHere, Identity, archive_history
from tests.signetry.installation import Commands, clock_of_today, edit, opened

SIGNETRY = Path(sys.executable).with_name("signetry")
ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return cloud_tls(tmp_path_factory.mktemp("cloud-tls"))


@pytest.fixture
def cloud(tls: ServerTls) -> Iterator[Cloud]:
    with running_cloud(tls) as running:
        yield running
    assert running.violations == []


@pytest.fixture
def service(cloud: Cloud, rsa_key: rsa.RSAPrivateKey) -> PfxService:
    found = PfxService(cloud, rsa_key)
    for upn in (ALICE, BOB):
        found.add_user(upn)
    return found


@pytest.fixture
def home(installed_home: Path, cloud: Cloud, tls: ServerTls, rsa_key: rsa.RSAPrivateKey) -> Path:
    """An installation with a tenant and a connector."""
    secret = installed_home / "secrets" / "intune"
    secret.touch(mode=0o600)
    secret.write_text(CLIENT_SECRET)
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = rsa_key.public_key().public_bytes(serialization.Encoding.PEM, public)
    (installed_home / "connector.pem").write_bytes(pem)
    with (installed_home / "signetry.toml").open("a") as file:
        file.write(
            f'[intune]\ntenant_id = "{TENANT}"\nclient_id = "{CLIENT_ID}"\nclient_secret_file = "secrets/intune"\n'
            f'login_url = "{cloud.url}"\ngraph_url = "{cloud.url}"\nca_file = "{tls.ca}"\ncaller_info = "Signetry test"\n'
            f'connector_key_file = "connector.pem"\nconnector_key_name = "{KEY_NAME}"\n'
        )
    return installed_home


@pytest.fixture
def people(home: Path, commands: Commands, rsa_key: rsa.RSAPrivateKey) -> dict[str, list[Identity]]:  # noqa: ARG001 - there
    """Alice with three keys in the archive, Bob with one; Alice is one of the phones' group."""
    for upn in (ALICE, BOB):
        commands.text("person", "add", "--upn", upn, "--email", upn)
    commands.text("group", "add", "phones")
    commands.text("group", "add-member", "phones", ALICE)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    with opened() as house:
        return {ALICE: archive_history(house, ALICE, [*keys[:2], rsa_key]), BOB: archive_history(house, BOB, keys[2:])}


def prints(identities: list[Identity]) -> set[str]:
    return {thumbprint(each.certificate) for each in identities}


def changes(document: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(each["upn"], each["change"], each["result"]) for each in document["changes"]}


# --- the command ---


def test_a_dry_run_shows_the_difference_and_a_run_makes_it_go_away(
    people: dict[str, list[Identity]], service: PfxService, commands: Commands
) -> None:
    shown = commands.json("intune", "push-pfx", "--dry-run")
    assert changes(shown) == {(ALICE, "create", "planned"), (BOB, "create", "planned")}
    assert {each["thumbprint"] for each in shown["changes"]} == prints(people[ALICE]) | prints(people[BOB])
    assert service.files == {}
    done = commands.json("intune", "push-pfx")
    assert changes(done) == {(ALICE, "create", "done"), (BOB, "create", "done")}
    for identity in [*people[ALICE], *people[BOB]]:
        upn = ALICE if identity in people[ALICE] else BOB
        found = service.opened(service.of(upn)[thumbprint(identity.certificate)])
        assert found.key is not None
        assert found.key.private_numbers() == identity.key.private_numbers()  # type: ignore[union-attr] # of these two kinds
    assert commands.json("intune", "push-pfx") == {"dry_run": False, "unchanged": 4, "stopped": "", "changes": []}
    assert commands.text("intune", "push-pfx").strip() == "unchanged 4"


def test_whoever_is_offboarded_loses_what_is_there(
    people: dict[str, list[Identity]], service: PfxService, commands: Commands
) -> None:
    commands.text("intune", "push-pfx")
    commands.text("person", "offboard", ALICE)
    shown = commands.text("intune", "push-pfx", "--dry-run")
    assert "planned 3, unchanged 1" in shown
    assert "the person is not active" in shown
    done = commands.json("intune", "push-pfx")
    assert changes(done) == {(ALICE, "delete", "done")}
    assert {each["thumbprint"] for each in service.files.values()} == prints(people[BOB])


def test_one_person_or_a_group_can_be_meant(people: dict[str, list[Identity]], service: PfxService, commands: Commands) -> None:
    commands.text("intune", "push-pfx", "--group", "phones")
    assert {each["thumbprint"] for each in service.files.values()} == prints(people[ALICE])
    commands.text("intune", "push-pfx", "--upn", BOB, "--upn", BOB)
    assert prints(people[BOB]) == set(service.of(BOB))
    assert "nobody" in commands.run("intune", "push-pfx", "--upn", "carol@example.com").stderr
    assert "not both" in commands.run("intune", "push-pfx", "--upn", BOB, "--group", "phones").stderr


@pytest.mark.parametrize("scheme", list(PaddingScheme))
def test_a_key_as_windows_exports_it_and_every_padding_do(
    home: Path,
    people: dict[str, list[Identity]],
    service: PfxService,
    commands: Commands,
    rsa_key: rsa.RSAPrivateKey,
    scheme: PaddingScheme,
) -> None:
    numbers = rsa_key.public_key().public_numbers()
    sizes = b"".join(size.to_bytes(4, "little") for size in (2048, 3, 256, 0, 0))
    (home / "connector.pem").write_bytes(b"RSA1" + sizes + numbers.e.to_bytes(3, "big") + numbers.n.to_bytes(256, "big"))
    edit(home, 'connector_key_file = "connector.pem"', f'connector_key_file = "connector.pem"\nconnector_padding = "{scheme}"')
    commands.text("intune", "push-pfx", "--upn", BOB)
    (document,) = service.of(BOB).values()
    assert document["paddingScheme"] == scheme
    assert prints(people[BOB]) == set(service.of(BOB))


def test_the_passphrase_is_known_to_the_connector_alone(
    home: Path, people: dict[str, list[Identity]], service: PfxService, commands: Commands
) -> None:
    done = commands.run("intune", "push-pfx", "--upn", ALICE)
    assert done.status == 0
    passwords = {_passphrase(service, document) for document in service.of(ALICE).values()}
    assert len(passwords) == len(people[ALICE])
    # 112 bits take that many letters and digits at least.
    assert all(len(each.replace(b"-", b"")) >= 22 for each in passwords)
    secrets = [*passwords, people[ALICE][0].key.private_numbers().private_value.to_bytes(32, "big")]  # type: ignore[union-attr] # EC
    written = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert written
    for secret in secrets:
        assert not any(secret in each for each in [*written, done.stdout.encode(), done.stderr.encode()])


def _passphrase(service: PfxService, document: dict[str, Any]) -> bytes:
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA512()), algorithm=hashes.SHA512(), label=None)
    return service.connector.decrypt(base64.b64decode(document["encryptedPfxPassword"]), oaep)


def test_what_microsoft_refuses_for_good_stops_the_run_and_what_was_done_is_told(
    people: dict[str, list[Identity]], service: PfxService, cloud: Cloud, commands: Commands
) -> None:
    # The second of Alice's files: permissions have been withdrawn.
    cloud.answer("pfx-create", Reply(201, b'{"id": "a-1"}', after_effect=True), Reply(403))
    done = commands.run("intune", "push-pfx", "--json", "--upn", ALICE)
    assert done.status == 1
    assert [each["result"] for each in done.document["changes"]] == ["done"]
    assert "HTTP 403" in done.document["stopped"]
    again = commands.run("intune", "push-pfx", "--upn", ALICE)
    assert again.status == 0, again
    assert len(service.of(ALICE)) == len(people[ALICE])


def test_one_whom_intune_does_not_know_is_told_and_stops_nobody(
    people: dict[str, list[Identity]], service: PfxService, commands: Commands
) -> None:
    del service.users[ALICE]
    done = commands.run("intune", "push-pfx")
    assert done.status == 1
    assert "HTTP 400 (BadRequest)" in done.stdout
    assert "done 1, failed 3, unchanged 0" in done.stdout
    assert set(service.of(BOB)) == prints(people[BOB])


def test_a_run_that_is_killed_goes_on_where_it_ended(
    people: dict[str, list[Identity]], service: PfxService, cloud: Cloud, commands: Commands
) -> None:
    with cloud.holding("pfx-create") as hold:
        running = subprocess.Popen([SIGNETRY, "intune", "push-pfx"], stdout=subprocess.DEVNULL)
        assert hold.arrived.wait(60)
        # What it sent has taken effect; the answer is still to come.
        os.kill(running.pid, signal.SIGKILL)
        running.wait(10)
    assert len(service.acts) == 1
    with opened() as house:
        (found,) = [each for each in doctor.intune(house) if each.severity == "warning"]
        assert "1 uploads" in found.finding
    done = commands.json("intune", "push-pfx")
    assert sorted(each["change"] for each in done["changes"]) == ["create", "create", "create", "update"]
    assert {each["thumbprint"] for each in service.files.values()} == prints(people[ALICE]) | prints(people[BOB])
    assert commands.json("intune", "push-pfx")["changes"] == []


def test_graph_throttles_and_the_command_waits(
    people: dict[str, list[Identity]], service: PfxService, cloud: Cloud, commands: Commands
) -> None:
    cloud.answer("pfx-list", Reply(429, headers={"retry-after": "1"}))
    cloud.answer("pfx-create", Reply(429, headers={"x-ms-retry-after-ms": "300"}))
    commands.text("intune", "push-pfx", "--upn", BOB)
    assert set(service.of(BOB)) == prints(people[BOB])


# --- settings ---


def test_without_a_connector_nothing_is_pushed(home: Path, commands: Commands) -> None:
    edit(home, 'connector_key_file = "connector.pem"\nconnector_key_name = "PFXEncryptionKey"\n', "")
    assert "connector_key_file" in commands.refused("intune", "push-pfx", status=2)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('connector_key_file = "k"', "together"),
        ('connector_key_name = "k"', "together"),
        ('connector_padding = "oaepSha1"', "connector_padding"),
        ('connector_key_file = "k"\nconnector_key_name = "k"', "tenant_id"),
    ],
)
def test_half_a_connector_is_refused(empty_home: Path, lines: str, reason: str) -> None:
    empty_home.mkdir()
    (empty_home / "signetry.toml").write_text(f"[intune]\n{lines}\n")
    with pytest.raises(ConfigurationError, match=reason):
        load_settings()


def test_a_connectors_key_that_cannot_be_used_is_said_to_be_so(home: Path) -> None:
    path = home / "connector.pem"
    settings = load_settings().intune
    assert connector_key(settings) is not None
    assert connector_key(IntuneSettings()) is None
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match="written by every user"):
        connector_key(settings)
    path.chmod(0o644)
    for content, reason in ((b"no key", "neither"), (b"x" * 20000, "at most")):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=reason):
            connector_key(settings)
    path.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        connector_key(settings)


# --- what tries it out ---


def test_the_check_tries_connector_and_permission(home: Path, service: PfxService, cloud: Cloud, commands: Commands) -> None:
    assert service.files == {}
    steps = commands.json("intune", "check")
    assert [(each["step"], each["result"]) for each in steps] == [
        ("credentials", "ok"),
        ("connector", "ok"),
        ("imported certificates", "ok"),
    ]
    cloud.answer("pfx-list", Reply(403))
    assert [each["result"] for each in commands.run("intune", "check", "--json").document] == ["ok", "ok", "failed"]
    (home / "connector.pem").unlink()
    assert [each["result"] for each in commands.run("intune", "check", "--json").document] == ["ok", "failed"]


def test_the_doctor_tries_it_too(home: Path, service: PfxService) -> None:
    assert home
    assert service.files == {}
    with opened() as house:
        (fine,) = doctor.intune(house)
    assert (fine.severity, fine.finding) == ("ok", f"{TENANT} can be asked, for imported certificates")


# --- the API ---


@pytest.fixture
def api(home: Path) -> Iterator[Api]:  # noqa: ARG001 - it sets the environment
    clock = clock_of_today()
    with opened(clock) as house:
        house.__dict__["archive"] = ArchiveHere(house)
        yield opened_api(house, clock)


def test_an_officer_pushes_a_persons_keys_by_the_api(api: Api, service: PfxService) -> None:
    kept = archive_history(api.house, ALICE, [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)])
    asked = {"person": ALICE}
    shown = api.call("POST", "/intune/push-pfx?dry_run=true", Role.OFFICER, json=asked)
    assert shown.status_code == 200, shown.text
    assert [each["result"] for each in shown.json()["changes"]] == ["planned", "planned"]
    assert service.files == {}
    done = api.call("POST", "/intune/push-pfx", Role.OFFICER, json=asked).json()
    assert {(each["change"], each["result"]) for each in done["changes"]} == {("create", "done")}
    assert set(service.of(ALICE)) == prints(kept)
    assert api.call("POST", "/intune/push-pfx", Role.OFFICER, json=asked).json() == {"changes": [], "unchanged": 2, "stopped": ""}
    assert api.call("POST", "/intune/push-pfx", Role.OFFICER, json={"person": "carol@example.com"}).status_code == 404
    # Who may change where a person's keys go does not send them there.
    assert api.call("POST", "/intune/push-pfx", Role.ADMIN, json=asked).status_code == 403


def test_the_api_waits_for_no_pause(api: Api, service: PfxService, cloud: Cloud) -> None:
    archive_history(api.house, ALICE, [ec.generate_private_key(ec.SECP256R1())])
    cloud.answer("pfx-list", Reply(429, headers={"retry-after": "300"}))
    done = api.call("POST", "/intune/push-pfx", Role.OFFICER, json={"person": ALICE}).json()
    assert "300 seconds" in done["stopped"]
    assert service.files == {}


def test_what_is_wrong_with_the_settings_is_not_told_to_callers(home: Path, api: Api) -> None:
    (home / "connector.pem").unlink()
    answer = api.call("POST", "/intune/push-pfx", Role.OFFICER, json={"person": ALICE})
    assert answer.status_code == 422
    assert str(home) not in answer.text
