"""``signetry pfx deliver``, with the real archive process, and what becomes of it on disk and in the record."""

import stat
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from starlette.applications import Starlette
from starlette.testclient import TestClient

from signetry import deliveries
from tests.signetry.archived import Identity, archive_history
from tests.signetry.installation import Commands, opened

ALICE = "alice@example.com"
DELIVER = ("pfx", "deliver")
PHONE = ("--upn", ALICE, "--device", "alice-iphone")
DESKTOP = ("--upn", ALICE, "--device", "alice-desktop")


@pytest.fixture
def history(installed_home: Path, commands: Commands, rsa_key: rsa.RSAPrivateKey) -> list[Identity]:  # noqa: ARG001 - it must be there
    """Alice with two devices, and her keys in the archive, the older first."""
    commands.json("person", "add", "--upn", ALICE, "--email", ALICE)
    commands.json("device", "add", "alice-iphone", "--owner", ALICE, "--platform", "ios")
    commands.json("device", "add", "alice-desktop", "--owner", ALICE, "--platform", "linux")
    with opened() as house:
        return archive_history(house, ALICE, [rsa_key, ec.generate_private_key(ec.SECP256R1())])


def serials(content: bytes, passphrase: str) -> list[int]:
    """Return the serial numbers of the certificates in a file, that of its key first."""
    found = pkcs12.load_pkcs12(content, passphrase.encode())
    return [each.certificate.serial_number for each in (found.cert, *found.additional_certs) if each is not None]


def newest_first(history: list[Identity]) -> list[int]:
    return [identity.certificate.serial_number for identity in reversed(history)]


def test_a_file_with_all_keys_is_written_for_its_owner_alone(history: list[Identity], commands: Commands, tmp_path: Path) -> None:
    out = tmp_path / "alice.p12"
    done = commands.json(*DELIVER, "file", *DESKTOP, "--out", out)
    assert (done["state"], done["method"], done["encoding"], done["files"]) == ("handed", "file", "aes256", [str(out)])
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert sorted(serials(out.read_bytes(), done["passphrase"])) == sorted(newest_first(history))
    assert "is there already" in commands.refused(*DELIVER, "file", *DESKTOP, "--out", out, status=2)
    assert "is no folder" in commands.refused(*DELIVER, "file", *DESKTOP, "--out", tmp_path / "nowhere" / "alice.p12", status=2)


def test_what_takes_one_key_at_a_time_gets_a_folder_of_files(history: list[Identity], commands: Commands, tmp_path: Path) -> None:
    gpgsm = (*DELIVER, "file", *DESKTOP, "--for", "gpgsm", "--out", tmp_path)
    assert "is no folder" in commands.refused(*gpgsm[:-1], tmp_path / "alice.p12", status=2)
    done = commands.json(*gpgsm)
    assert done["encoding"] == "3des"
    found = [serials(Path(name).read_bytes(), done["passphrase"]) for name in done["files"]]
    assert found == [[serial] for serial in newest_first(history)]
    # Before anything is ordered: the passphrase of files that cannot be written would be lost.
    assert "encryption-keys-1.p12 is there already" in commands.refused(*gpgsm, status=2)
    assert len(commands.json(*DELIVER, "list", "--upn", ALICE)) == 1


def test_a_link_is_shown_with_a_passphrase_and_leads_to_the_keys_once(history: list[Identity], commands: Commands) -> None:
    done = commands.json(*DELIVER, "link", *PHONE, "--ttl", "1h")
    assert (done["state"], done["mailed_to"]) == ("ready", None)
    with opened() as house:
        browser = TestClient(Starlette(routes=deliveries.routes(house)), base_url="https://pki.example.com:8444")
        content = browser.post(done["link"]).content
        assert browser.post(done["link"]).status_code == 404
    with zipfile.ZipFile(BytesIO(content)) as archive:
        found = [serials(archive.read(name), done["passphrase"]) for name in archive.namelist()]
    assert found == [[serial] for serial in newest_first(history)]
    (listed,) = commands.json(*DELIVER, "list", "--upn", ALICE)
    assert (listed["id"], listed["state"], len(listed["keys"])) == (done["id"], "fetched", 2)


@pytest.mark.usefixtures("history")
def test_what_is_shown_once_is_shown_never_again(commands: Commands, installed_home: Path) -> None:
    done = commands.json(*DELIVER, "link", *PHONE)
    token = done["link"].partition("token=")[2]
    for path in installed_home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert done["passphrase"].encode() not in content
            assert token.encode() not in content
    shown = commands.run(*DELIVER, "show", done["id"], "--json").stdout
    assert "passphrase" not in shown
    assert "link" not in commands.json(*DELIVER, "list")[0]


@pytest.mark.usefixtures("history")
def test_a_dry_run_says_which_keys_and_changes_nothing(commands: Commands, tmp_path: Path) -> None:
    for method, more in (("link", ()), ("mail", ()), ("file", ("--out", tmp_path / "x"))):
        done = commands.run(*DELIVER, method, *PHONE, *more, "--dry-run", "--json")
        assert done.status == 0, done
        planned = done.document
        assert (planned["method"], planned["encoding"], planned["separate"], len(planned["keys"])) == (method, "3des", True, 2)
        assert done.stderr == "dry run: nothing was changed\n"
    assert "serial" in commands.text(*DELIVER, "link", *PHONE, "--dry-run")
    assert commands.json(*DELIVER, "list") == []
    assert not (tmp_path / "x").exists()


@pytest.mark.usefixtures("history")
def test_a_delivery_is_stopped_before_it_is_fetched_and_not_after(commands: Commands) -> None:
    number = commands.json(*DELIVER, "link", *PHONE)["id"]
    assert commands.json(*DELIVER, "stop", number, "--dry-run")["state"] == "stopped"
    assert [row["id"] for row in commands.json(*DELIVER, "list", "--state", "ready")] == [number]
    assert commands.json(*DELIVER, "stop", number)["state"] == "stopped"
    assert "could still be stopped" in commands.refused(*DELIVER, "stop", number)
    assert str(number) in commands.text(*DELIVER, "list", "--device", "alice-iphone")


@pytest.mark.usefixtures("history")
def test_refusals_name_their_reason(commands: Commands) -> None:
    assert "no mail server is configured" in commands.refused(*DELIVER, "mail", *PHONE)
    assert "no mail server is configured" in commands.refused(*DELIVER, "link", *PHONE, "--mail")
    assert "there is no device" in commands.refused(*DELIVER, "link", "--upn", ALICE, "--device", "pager")
    assert "nobody has the UPN" in commands.refused(*DELIVER, "link", "--upn", "bob@example.com", "--device", "alice-iphone")
    assert "up to 30 days" in commands.refused(*DELIVER, "link", *PHONE, "--ttl", "40d", status=2)
    commands.json("device", "deactivate", "alice-iphone")
    assert "the device is not active" in commands.refused(*DELIVER, "link", *PHONE)


@pytest.mark.usefixtures("history")
def test_who_leaves_is_shown_what_that_means_before_it_is_done(commands: Commands) -> None:
    number = commands.json(*DELIVER, "link", *PHONE)["id"]
    for arguments, state in ((("--dry-run",), "ready"), ((), "stopped")):
        gone = commands.json("person", "offboard", ALICE, *arguments)
        assert (gone["stopped_deliveries"], gone["archived_keys"], gone["devices"]) == (
            [number],
            2,
            ["alice-desktop", "alice-iphone"],
        )
        assert len(gone["withdrawn"]) == 1
        assert commands.json(*DELIVER, "show", number)["state"] == state
    assert "the person is not active" in commands.refused(*DELIVER, "link", *PHONE)
