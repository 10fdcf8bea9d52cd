"""The sections of the settings about directories."""

from pathlib import Path

import pytest

from ldap_publish.directory import Security
from signetry.directories import directory
from signetry.errors import ConfigurationError
from signetry.settings import load_settings

MINIMAL = """
[directories.main]
kind = "openldap"
url = "ldap://ldap.example.com"
bind_dn = "cn=signetry"
password_file = "secrets/ldap"
search_base = "dc=example,dc=com"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SIGNETRY_CONFIG", raising=False)
    monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path))
    (tmp_path / "signetry.toml").write_text(MINIMAL)
    return tmp_path


def write(home: Path, *lines: str) -> None:
    given = {line.partition(" ")[0] for line in lines}
    kept = [line for line in MINIMAL.splitlines() if line.partition(" ")[0] not in given]
    (home / "signetry.toml").write_text("\n".join([*kept, *lines]))


def test_what_is_not_said_is_safe(home: Path) -> None:
    configured = load_settings().directories["main"]
    assert (configured.host, configured.port, configured.security) == ("ldap.example.com", 389, Security.START_TLS)
    assert configured.password_file == home / "secrets" / "ldap"
    made = directory("main", configured)
    assert (made.publish, made.smime_attribute, made.missing, made.authority_base) == ("encryption", "off", "wait", "")
    assert made.search_filter.text == "(mail={email})"


def test_without_a_section_there_is_none(home: Path) -> None:
    (home / "signetry.toml").write_text("")
    assert load_settings().directories == {}


def test_the_environment_reaches_a_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNETRY_DIRECTORIES__MAIN__URL", "ldaps://[::1]:1636")
    monkeypatch.setenv("SIGNETRY_DIRECTORIES__MAIN__CREATE_CLASSES", "inetOrgPerson, pkiUser")
    monkeypatch.setenv("SIGNETRY_DIRECTORIES__MAIN__CA_FILE", "/etc/ca.pem")
    configured = load_settings().directories["main"]
    assert (configured.host, configured.port, configured.security) == ("::1", 1636, Security.LDAPS)
    assert configured.classes == ("inetOrgPerson", "pkiUser")
    assert configured.ca_file == Path("/etc/ca.pem")
    assert home


def test_a_password_is_read_when_it_is_needed_and_never_shown(home: Path) -> None:
    made = directory("main", load_settings().directories["main"])
    with pytest.raises(ConfigurationError, match=r"^directories\.main\.password_file: .* cannot be read"):
        made.server.password()
    (home / "secrets").mkdir()
    (home / "secrets" / "ldap").touch(mode=0o600)
    (home / "secrets" / "ldap").write_text("canary\n")
    assert made.server.password() == "canary"
    assert "canary" not in repr(made)


def test_a_persons_entry_in_active_directory_is_found_by_upn(home: Path) -> None:
    write(home, 'kind = "ad"')
    configured = load_settings().directories["main"]
    assert configured.filter.text == "(userPrincipalName={upn})"
    assert configured.classes == ("contact",)


def test_an_unprotected_connection_stays_on_this_machine(home: Path) -> None:
    write(home, 'url = "ldap://127.0.0.1:1389"', "start_tls = false")
    assert load_settings().directories["main"].security is Security.NONE


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["start_tls = false"], "without start_tls the password would cross the network in clear"),
        (['url = "ldap://localhost"', "start_tls = false"], "only a loopback address may do so"),
        (['url = "http://ldap.example.com"'], r"url: write it as ldap://host"),
        (['url = "ldap://ldap.example.com/dc=example"'], r"url: write it as ldap://host"),
        (['url = "ldap://cn=x:y@ldap.example.com"'], r"url: write it as ldap://host"),
        (['url = "ldap://ldap.example.com:0"'], r"url: write it as ldap://host"),
        (['url = "ldap://"'], r"url: write it as ldap://host"),
        (['url = "ldap://[::1"'], r"url: write it as ldap://host"),
        (['kind = "novell"'], r"kind: Input should be 'openldap', '389ds' or 'ad'"),
        (['bind_dn = ""'], r"bind_dn: String should have at least 1 character"),
        (['search_filter = "(mail=*)"'], r"search_filter: it must name something of the person"),
        (['search_filter = "(mail={mail})"'], r"search_filter: what may stand in braces is \{upn\}"),
        (['missing = "create"'], "create_dn goes with missing"),
        (['create_dn = "cn={upn},dc=example"'], "create_dn goes with missing"),
        (['missing = "create"', 'create_dn = "cn=x,dc=example"'], r"create_dn: the first part must name something"),
        (['kind = "ad"', 'missing = "create"', 'create_dn = "cn={upn},dc=example"'], "a contact has no userPrincipalName"),
        (["timeout_seconds = 21"], r"timeout_seconds: Input should be less than or equal to 20"),
        (["base = 'x'"], r"unknown setting directories\.main\.base"),
    ],
)
def test_what_cannot_be_used_is_named(home: Path, lines: list[str], message: str) -> None:
    write(home, *lines)
    with pytest.raises(ConfigurationError, match=message):
        load_settings()
