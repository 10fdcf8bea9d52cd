"""The settings: file, environment, and messages that say what to change."""

import re
from pathlib import Path

import pytest

from ca.profiles import PERSON_PROFILES
from signetry.errors import ConfigurationError
from signetry.sections import ListenAddress
from signetry.settings import configuration_file, load_first_settings, load_settings, setting_names

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SIGNETRY_CONFIG", raising=False)
    monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def write(home: Path, text: str) -> None:
    (home / "signetry.toml").write_text(text)


def test_every_setting_is_documented() -> None:
    documented = re.findall(r"^\| `([a-zA-Z0-9_.]+)` \|", DOCUMENTATION.read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(setting_names())


def test_nothing_needs_to_be_set(home: Path) -> None:
    settings = load_settings()
    assert settings.home == home
    assert settings.database.render_as_string() == f"sqlite:///{home}/signetry.db"
    assert settings.public_url == "http://127.0.0.1:8080"
    assert settings.key_passphrase_file == home / "secrets" / "key-passphrase"
    assert 1 <= settings.workers <= 8
    assert list(settings.endpoints) == ["default"]
    assert settings.endpoints["default"].profiles == PERSON_PROFILES


def test_the_state_directory_is_var_here_unless_said_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGNETRY_HOME")
    monkeypatch.chdir(tmp_path)
    assert load_settings().home == tmp_path / "var"
    assert configuration_file() == Path("var/signetry.toml")


def test_the_file_is_read(home: Path) -> None:
    write(
        home,
        """
        public_listen = "[::1]:9000"
        trusted_proxies = ["10.0.0.0/8"]
        tls_certificate = "tls/a.pem"
        tls_key = "/etc/a.key"
        [endpoints.mail]
        profiles = ["smime-dual"]
        subject_from_request = ["OU"]
        [crl]
        validity_hours = 48
        """,
    )
    settings = load_settings()
    assert settings.public_listen == ListenAddress("::1", 9000)
    assert settings.public_url == "http://[::1]:9000"
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8"]
    assert (settings.tls_certificate, settings.tls_key) == (home / "tls/a.pem", Path("/etc/a.key"))
    assert settings.endpoints["mail"].profiles == ("smime-dual",)
    assert settings.crl.validity_hours == 48


def test_the_environment_wins_over_the_file_setting_by_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, 'log_level = "warning"\n[endpoints.default]\nlegacy = true\nrenew_after = 0.5\n')
    monkeypatch.setenv("SIGNETRY_LOG_LEVEL", "debug")
    monkeypatch.setenv("SIGNETRY_ENDPOINTS__DEFAULT__RENEW_AFTER", "0")
    monkeypatch.setenv("SIGNETRY_ENDPOINTS__DEFAULT__PROFILES", "identity, device")
    monkeypatch.setenv("SIGNETRY_TRUSTED_PROXIES", "10.0.0.0/8,2001:db8::/32")
    settings = load_settings()
    assert settings.log_level == "debug"
    endpoint = settings.endpoints["default"]
    assert (endpoint.legacy, endpoint.renew_after, endpoint.profiles) == (True, 0, ("identity", "device"))
    assert len(settings.trusted_proxies) == 2


def test_an_argument_wins_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNETRY_WORKERS", "3")
    assert load_settings(workers=5).workers == 5
    assert load_settings(workers=None).workers == 3


def test_variables_that_are_no_settings_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets SIGNETRY_PORT and the like for a service called signetry."""
    monkeypatch.setenv("SIGNETRY_PORT", "tcp://10.0.0.1:80")
    load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("public_lisen = 'x'", r"unknown setting public_lisen \(is public_listen meant\?\)"),
        ("[endpoints.mail]\nlegasy = true", r"unknown setting endpoints\.mail\.legasy"),
        ("[crl]\nhours = 1", r"unknown setting crl\.hours"),
        ("[endpoints.'Mail']\n", r"endpoints\.Mail: names consist of a-z"),
        ("[endpoints.mail]\nissuing_ca = '../root'", r"endpoints\.mail\.issuing_ca: names consist of a-z"),
        ("public_listen = '8080'", r"public_listen: write it as host:port"),
        ("public_listen = 'host:65536'", r"public_listen: write it as host:port"),
        ("public_listen = '::1:80'", r"public_listen: an IPv6 address stands in brackets"),
        ("[endpoints.mail]\nissuing_ca = 'root'", r"endpoints\.mail\.issuing_ca: the root certifies authorities"),
        ("[organisation]\nidentifier = '123456789'", r"organisation\.identifier: write scheme, country and number"),
        ("public_url = 'ca.example.com'", r"public_url: write it as http://host"),
        ("public_url = 'http://u@ca.example.com'", r"public_url: write it as http://host"),
        ("public_url = 'http://ca.example.com:99999'", r"public_url: write it as http://host"),
        ("public_url = 'http://[::1'", r"public_url: write it as http://host"),
        ("[endpoints.a]\nprofiles = ['identity', 'tls-server']", r"endpoints\.a\.profiles: the profiles are identity, .*device$"),
        ("public_url = 'http://bücher.example'", r"public_url: it goes into certificates: ASCII"),
        ("database_url = 'mysql://h/d'", r"database_url: the databases are"),
        ("database_url = 'nonsense'", r"database_url: write it as"),
        ("database_url = 'sqlite://'", r"database_url: several processes share the database"),
        ("tls_key = 'a'", r"tls_certificate and tls_key are given together"),
        ("trusted_proxies = ['10.0.0.1/8']", r"trusted_proxies"),
        ("[crl]\ninterval_minutes = 1000", r"crl: interval_minutes must leave time"),
        ("[crl]\nvalidity_hours = 'a day'", r"crl\.validity_hours: Input should be a valid integer"),
        ("[endpoints.a]\nrenew_after = 1.5", r"endpoints\.a\.renew_after: Input should be less than or equal to 1"),
        ("log_format = 'xml'", r"log_format: Input should be 'json' or 'console'"),
        ("workers = 0", r"workers: Input should be greater than or equal to 1"),
        ("organisation.country = 'Germany'", r"organisation\.country: write two capital letters"),
    ],
)
def test_what_cannot_be_used_is_named(home: Path, text: str, message: str) -> None:
    write(home, text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{home}/signetry.toml: ")
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_the_variable_is_named_when_it_is_the_culprit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNETRY_CRL__VALIDITY_HOURS", "a day")
    with pytest.raises(ConfigurationError, match=r"^SIGNETRY_CRL__VALIDITY_HOURS: crl\.validity_hours: "):
        load_settings()


def test_so_it_is_when_it_holds_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNETRY_TRUSTED_PROXIES", "10.0.0.0/8,nowhere")
    with pytest.raises(
        ConfigurationError, match=r"^SIGNETRY_TRUSTED_PROXIES: trusted_proxies: Input is not a valid IPv4 network; "
    ):
        load_settings()


def test_a_section_in_a_variable_that_is_not_json_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNETRY_CRL", "soon")
    with pytest.raises(ConfigurationError, match="is not JSON"):
        load_settings()


def test_a_password_in_the_database_url_is_refused_and_not_repeated(home: Path) -> None:
    write(home, "database_url = 'postgresql://user:sesame@host/db'")
    with pytest.raises(ConfigurationError, match="database_password_file") as caught:
        load_settings()
    assert "sesame" not in str(caught.value)


def test_a_file_that_is_no_toml_is_an_error(home: Path) -> None:
    write(home, "public_listen = :80")
    with pytest.raises(ConfigurationError, match=r"signetry\.toml is not TOML: .*line 1"):
        load_settings()


def test_a_file_that_is_named_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNETRY_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(ConfigurationError, match=r"SIGNETRY_CONFIG names .*missing\.toml, which does not exist"):
        load_settings()
    assert load_first_settings().log_level == "info"


def test_a_file_elsewhere_may_name_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc.toml").write_text(f"home = '{tmp_path}/lib'\ndatabase_url = 'sqlite:///own.db'")
    monkeypatch.delenv("SIGNETRY_HOME")
    monkeypatch.setenv("SIGNETRY_CONFIG", str(tmp_path / "etc.toml"))
    settings = load_settings()
    assert settings.home == tmp_path / "lib"
    assert settings.database.database == f"{tmp_path}/lib/own.db"


@pytest.mark.parametrize("identifier", ["", "VATDE-123456789", "NTRUS+CA-C0806592", "LEIXG-549300A", "GOVJP-x y"])
def test_an_organisation_is_identified_as_the_baseline_requirements_write_it(home: Path, identifier: str) -> None:
    write(home, f"[organisation]\nidentifier = '{identifier}'")
    assert load_settings().organisation.identifier == identifier


def test_a_wildcard_address_is_not_what_clients_dial() -> None:
    assert load_settings(public_listen="0.0.0.0:80").public_url == "http://localhost:80"
