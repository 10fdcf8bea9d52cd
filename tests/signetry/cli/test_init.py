"""What ``signetry init`` and ``signetry ca`` print; what they do is tested beside ``signetry.setup``."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from signetry.house import open_house
from signetry.settings import load_settings
from tests.signetry.installation import PUBLIC_URL, Commands


def test_init_says_what_there_is_and_what_comes_next(commands: Commands, installed_home: Path) -> None:
    text = commands.text("init")
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert lines["state"] == str(installed_home)
    assert lines["configuration"] == str(installed_home / "signetry.toml")
    assert lines["public_url"] == PUBLIC_URL
    assert lines["issuing_ca"] == "CN=Signetry Issuing CA"
    assert lines["next"] == "signetry serve"


def test_the_first_settings_file_names_the_default_endpoint(installed_home: Path) -> None:
    written = (installed_home / "signetry.toml").read_text()
    assert "[endpoints.default]" in written
    assert "docs/settings.md" in written
    endpoint = load_settings().endpoints["default"]
    assert endpoint.issuing_ca == "issuing"
    assert set(endpoint.profiles) == {"identity", "smime-signing", "smime-encryption", "smime-dual", "mail-all-in-one"}
    assert (endpoint.renew_after, endpoint.legacy, endpoint.museum) == (0.66, False, False)


def test_without_a_public_url_the_file_shows_where_to_write_it(commands: Commands, empty_home: Path) -> None:
    made = commands.json("init", "--ca-key", "p256")
    assert made["public_url"] == "http://127.0.0.1:8080"
    assert '# public_url = "http://127.0.0.1:8080"' in (empty_home / "signetry.toml").read_text()


@pytest.mark.usefixtures("empty_home")
def test_the_settings_file_is_written_where_the_environment_wants_it(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "etc" / "own.toml"
    monkeypatch.setenv("SIGNETRY_CONFIG", str(elsewhere))
    assert commands.json("init", "--ca-key", "p256")["configuration"] == str(elsewhere)
    assert "[endpoints.default]" in elsewhere.read_text()


@pytest.mark.parametrize(
    ("purpose", "profiles"),
    [("clientAuth", {"identity"}), ("emailProtection", {"smime-signing", "smime-encryption", "smime-dual"})],
)
@pytest.mark.usefixtures("empty_home")
def test_the_default_endpoint_offers_what_the_constrained_ca_may_issue(
    commands: Commands, purpose: str, profiles: set[str]
) -> None:
    commands.text("init", "--ca-key", "p256", "--purpose", purpose)
    assert set(load_settings().endpoints["default"].profiles) == profiles


def test_authorities_are_listed_with_their_newest_certificates(commands: Commands, installed_home: Path) -> None:
    assert installed_home.exists()
    root, issuing = commands.json("ca", "list")
    assert (root["name"], root["issuer"], root["key"]) == ("root", "(self)", "p384")
    assert (issuing["name"], issuing["issuer"], issuing["key"]) == ("issuing", "root", "p256")
    assert issuing["subject"] == "CN=Signetry Issuing CA"
    assert issuing["revoked_at"] is None
    assert issuing["serial"] in commands.text("ca", "list")


def test_the_issuing_ca_can_be_constrained_and_stays_so(commands: Commands, empty_home: Path) -> None:
    limits = (
        "--purpose",
        "emailProtection",
        "--mail-domain",
        "Example.com",
        "--mail-domain",
        ".例え.jp",
        "--dns-domain",
        "example.com",
    )
    commands.json("init", "--ca-key", "p256", *limits)
    assert empty_home.exists()
    house = open_house()
    extensions = house.authority("issuing").certificate.extensions
    names = extensions.get_extension_for_class(x509.NameConstraints)
    assert names.critical
    assert names.value.permitted_subtrees == [
        x509.RFC822Name("example.com"),
        x509.RFC822Name(".xn--r8jz45g.jp"),
        x509.DNSName("example.com"),
    ]
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    house.close()
    # The same again, or nothing said: nothing to do. Something else: too late.
    commands.json("init", *limits)
    commands.json("init")
    assert "leave --purpose and the domains out" in commands.refused("init", "--purpose", "clientAuth")


@pytest.mark.parametrize(
    "option",
    [("--purpose", "serverAuth"), ("--mail-domain", "not a domain"), ("--dns-domain", "-")],
    ids=["purpose", "mail", "DNS"],
)
def test_a_constraint_that_says_nothing_is_bad_usage(commands: Commands, empty_home: Path, option: tuple[str, str]) -> None:
    assert option[0] in commands.refused("init", *option, status=2)
    assert not (empty_home / "keys").exists()
