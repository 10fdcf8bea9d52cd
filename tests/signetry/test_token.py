"""An installation whose keys are in a token: made, completed, examined; and nothing of it in files but what belongs there."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ca import hierarchy
from ca.pkcs11 import Pkcs11KeyStore
from signetry.doctor import installation
from signetry.doctor.examination import examine
from signetry.doctor.findings import Finding
from signetry.errors import ConfigurationError
from signetry.house import House
from signetry.settings import load_settings
from tests.signetry.installation import Commands, opened
from tests.softhsm import LABEL, MODULE, PIN, SoftHsm


@pytest.fixture(autouse=True)
def _alone_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        installation, "packages_distributions", lambda: {package: ["signetry"] for package in installation.PACKAGES}
    )


@pytest.fixture
def in_token(commands: Commands, empty_home: Path, softhsm: SoftHsm) -> Path:
    """An installation in a token."""
    commands.json("init", "--ca-key", "p256", *softhsm.options)
    return empty_home


def labels(softhsm: SoftHsm) -> set[str]:
    listed = softhsm.pkcs11_tool("--list-objects", "--type", "privkey")
    return {line.split()[-1] for line in listed.splitlines() if line.strip().startswith("label:")}


def about_keys(house: House) -> list[Finding]:
    return [finding for finding in examine(house) if finding.check == "keys"]


# --- init ---


def test_every_key_of_the_authorities_is_made_in_the_token_and_none_in_a_file(in_token: Path, softhsm: SoftHsm) -> None:
    assert labels(softhsm) == {"root-p384", "issuing-p256", "issuing-ra-1"}
    assert not (in_token / "keys").exists()
    # The web server's key is not an authority's.
    # The archive's key is not an authority's: web processes log in to this token, and are not to have that (docs/archive.md).
    in_files = {path.name for path in in_token.rglob("*.key")}
    assert in_files == {path.name for path in (in_token / "tls").glob("*.key")} | {"archive-1.key"}


def test_the_settings_name_the_token_and_not_its_pin(in_token: Path, softhsm: SoftHsm) -> None:
    text = (in_token / "signetry.toml").read_text()
    assert tomllib.loads(text)["pkcs11"] == {"module": str(MODULE), "token": LABEL, "pin_file": str(softhsm.pin_file)}
    assert all(PIN.encode() not in path.read_bytes() for path in in_token.rglob("*") if path.is_file())


def test_the_installation_opens_and_what_it_signs_with_is_in_the_token(in_token: Path) -> None:
    assert in_token.exists()
    with opened() as house:
        assert isinstance(house.keystore, Pkcs11KeyStore)
        issuing = house.authority("issuing")
        assert issuing.private_key.public_key() == issuing.certificate.public_key()
        (ra,) = house.authorities.endpoint_keys(hierarchy.ISSUING).ra
        assert isinstance(ra.private_key, rsa.RSAPrivateKey)


def test_initialising_again_changes_nothing(in_token: Path, commands: Commands, softhsm: SoftHsm) -> None:
    before = (in_token / "signetry.toml").read_bytes(), labels(softhsm)
    commands.json("init")
    commands.json("init", *softhsm.options)
    assert ((in_token / "signetry.toml").read_bytes(), labels(softhsm)) == before


@pytest.mark.parametrize("made", ["the root's key", "both keys"])
def test_keys_that_an_interrupted_run_left_in_the_token_are_taken(
    commands: Commands, empty_home: Path, softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    generate = Pkcs11KeyStore.generate
    limit = 1 if made == "the root's key" else 2
    count: list[int] = []

    def interrupted(keystore: Pkcs11KeyStore, *arguments: object) -> object:
        if len(count) == limit:
            raise KeyboardInterrupt
        count.append(1)
        return generate(keystore, *arguments)  # type: ignore[arg-type] # passed on

    with monkeypatch.context() as patch:
        patch.setattr(Pkcs11KeyStore, "generate", interrupted)
        commands.run("init", "--ca-key", "p256", *softhsm.options)
    left = {"root-p384"} if limit == 1 else {"root-p384", "issuing-p256"}
    assert labels(softhsm) == left
    commands.json("init", "--ca-key", "p256", *softhsm.options)
    assert labels(softhsm) == {"root-p384", "issuing-p256", "issuing-ra-1"}
    with opened() as house:
        house.authority("issuing").certificate.verify_directly_issued_by(house.authority("root").certificate)
    assert empty_home.exists()


def test_a_token_that_cannot_be_used_is_told_before_anything_is_written(
    commands: Commands, empty_home: Path, softhsm: SoftHsm
) -> None:
    wrong = [*softhsm.options]
    wrong[3] = "another"
    assert "there is no token called 'another'; there are: 'signetry'" in commands.refused("init", *wrong)
    softhsm.write_pin("wrong-pin")
    said = commands.refused("init", *softhsm.options)
    assert "CKR_PIN_INCORRECT" in said
    assert "wrong-pin" not in said
    assert "touch the file" in commands.refused("init", *softhsm.options)
    assert not (empty_home / "signetry.toml").exists()
    softhsm.write_pin(PIN)
    commands.json("init", "--ca-key", "p256", *softhsm.options)


@pytest.mark.usefixtures("empty_home")
def test_the_three_options_belong_together(commands: Commands, softhsm: SoftHsm) -> None:
    options = softhsm.options
    for given in (options[:2], options[:4], options[2:], options[4:]):
        assert "together or not at all" in commands.refused("init", *given, status=2)
    too_long = [*options]
    too_long[3] = "x" * 33
    assert "32 characters at most" in commands.refused("init", *too_long, status=2)


def test_keys_stay_where_they_were_made(installed_home: Path, commands: Commands, softhsm: SoftHsm) -> None:
    assert "they stay where they were made" in commands.refused("init", *softhsm.options)
    assert "pkcs11" not in (installed_home / "signetry.toml").read_text()


def test_the_three_settings_belong_together(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNETRY_PKCS11__MODULE", "lib/module.so")
    with pytest.raises(ConfigurationError, match="together or not at all"):
        load_settings()
    monkeypatch.setenv("SIGNETRY_PKCS11__TOKEN", "signetry")
    monkeypatch.setenv("SIGNETRY_PKCS11__PIN_FILE", "secrets/pin")
    configured = load_settings().pkcs11
    assert (configured.module, configured.pin_file) == (empty_home / "lib/module.so", empty_home / "secrets/pin")


# --- doctor ---


def test_the_doctor_says_where_keys_are(in_token: Path) -> None:
    assert in_token.exists()
    with opened() as house:
        (finding,) = about_keys(house)
        assert finding.severity == "ok"
        assert finding.finding.startswith("3 in the token 'signetry' (SoftHSM project SoftHSM v2, serial number ")
        assert finding.finding.endswith(": issuing-p256, issuing-ra-1, root-p384")


def test_the_doctor_says_where_files_are(installed_home: Path) -> None:
    with opened() as house:
        (finding,) = about_keys(house)
    assert (finding.severity, finding.finding) == (
        "ok",
        f"3 in files in {installed_home / 'keys'}: issuing-p256, issuing-ra-1, root-p384",
    )


@pytest.fixture
def examined(in_token: Path) -> Iterator[House]:
    assert in_token.exists()
    with opened() as house:
        yield house


def test_the_doctor_says_that_the_token_is_gone(examined: House, softhsm: SoftHsm) -> None:
    softhsm.take_away()
    (finding,) = about_keys(examined)
    assert (finding.severity, finding.check) == ("error", "keys")
    assert "CKR_GENERAL_ERROR" in finding.finding
    assert "once the token is back" in finding.advice


def test_the_doctor_says_that_the_pin_is_wrong(examined: House, softhsm: SoftHsm) -> None:
    softhsm.write_pin("wrong-pin")
    (finding,) = about_keys(examined)
    assert "CKR_PIN_INCORRECT" in finding.finding
    assert finding.advice.startswith("write the right PIN into pkcs11.pin_file")


def test_the_doctor_names_a_key_that_is_missing(examined: House, softhsm: SoftHsm) -> None:
    softhsm.pkcs11_tool("--delete-object", "--type", "privkey", "--label", "issuing-ra-1")
    (finding,) = about_keys(examined)
    assert (finding.severity, finding.finding) == ("error", "issuing-ra-1: there is no key 'issuing-ra-1'")
    assert finding.advice == "restore it from the backup"


def test_the_doctor_names_a_key_that_is_another(examined: House, softhsm: SoftHsm) -> None:
    softhsm.pkcs11_tool("--delete-object", "--type", "privkey", "--label", "issuing-ra-1")
    softhsm.pkcs11_tool("--delete-object", "--type", "pubkey", "--label", "issuing-ra-1")
    softhsm.pkcs11_tool("--keypairgen", "--key-type", "rsa:2048", "--label", "issuing-ra-1", "--id", "01")
    (finding,) = about_keys(examined)
    assert (finding.severity, finding.finding) == ("error", "issuing-ra-1: it is not the key of its certificate")


def test_the_doctor_says_that_keys_do_not_move_by_themselves(
    installed_home: Path, softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed_home.exists()
    for name, value in {"MODULE": MODULE, "TOKEN": LABEL, "PIN_FILE": softhsm.pin_file}.items():
        monkeypatch.setenv(f"SIGNETRY_PKCS11__{name}", str(value))
    with opened() as house:
        found = about_keys(house)
    assert [finding.finding for finding in found] == [
        f"{reference}: there is no key {reference!r}" for reference in ("issuing-p256", "issuing-ra-1", "root-p384")
    ]
    assert {finding.advice for finding in found} == {
        "there is a file of that name, made before [pkcs11] was set: keys stay where they were made"
    }


def test_the_doctor_warns_of_a_token_that_takes_paddings_off_itself(examined: House, softhsm: SoftHsm) -> None:
    # SoftHSM 2.6.1 overlooks the first of those that it is to leave out.
    softhsm.configure("slots.mechanisms = -CKM_DES_CBC,CKM_RSA_X_509")
    warning, fine = about_keys(examined)
    assert warning.severity == "warning"
    assert "CKM_RSA_X_509" in warning.finding
    assert fine.severity == "ok"
