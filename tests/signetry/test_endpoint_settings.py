"""The sections of endpoints: what goes together, what does not, and the environment beside the file."""

from pathlib import Path

import pytest

from scep.endpoint import ChallengeKind
from signetry.errors import ConfigurationError
from signetry.settings import load_settings

STATIC = "[endpoints.r.static]\nsecret_file = 's'\nsubject_pattern = 'router-*'\n"
WEBHOOK = "[endpoints.r.webhook]\nurl = 'https://mdm.example.com/x'\nsecret_file = 's'\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SIGNETRY_CONFIG", raising=False)
    monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path))
    return tmp_path


def write(home: Path, text: str) -> None:
    (home / "signetry.toml").write_text(text)


@pytest.mark.parametrize("kind", ["one-time", "ndes", "approval"])
def test_policies_without_a_table_need_none(home: Path, kind: str) -> None:
    write(home, f"[endpoints.r]\nchallenge = '{kind}'")
    assert load_settings().endpoints["r"].challenge == kind


def test_one_time_is_the_default(home: Path) -> None:
    write(home, "[endpoints.r]")
    assert load_settings().endpoints["r"].challenge is ChallengeKind.ONE_TIME


def test_the_tables_of_policies_are_read_and_their_paths_made_absolute(home: Path) -> None:
    write(
        home,
        f"[endpoints.r]\nchallenge = 'static'\nprofiles = ['device']\n{STATIC}dns_suffixes = ['NET.example.com']\n"
        "[endpoints.w]\nchallenge = 'webhook'\n"
        + WEBHOOK.replace("endpoints.r", "endpoints.w")
        + "ca_file = '/etc/ca.pem'\ndomains = ['bücher.example']\nuri_prefixes = ['urn:uuid:']\n",
    )
    endpoints = load_settings().endpoints
    static, webhook = endpoints["r"].static, endpoints["w"].webhook
    assert static is not None
    assert webhook is not None
    assert (static.secret_file, static.dns_suffixes) == (home / "s", ("net.example.com",))
    assert (webhook.secret_file, webhook.ca_file) == (home / "s", Path("/etc/ca.pem"))
    assert (webhook.domains, webhook.uri_prefixes, webhook.timeout_seconds) == (("xn--bcher-kva.example",), ("urn:uuid:",), 10)


def test_they_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CHALLENGE": "static",
        "PROFILES": "device",
        "STATIC__SECRET_FILE": "/run/secret",
        "STATIC__SUBJECT_PATTERN": "router-*",
        "STATIC__DNS_SUFFIXES": "net.example.com, lab.example.com",
    }.items():
        monkeypatch.setenv(f"SIGNETRY_ENDPOINTS__R__{name}", value)
    endpoint = load_settings().endpoints["r"]
    assert endpoint.challenge is ChallengeKind.STATIC
    assert endpoint.static is not None
    assert endpoint.static.secret_file == Path("/run/secret")
    assert endpoint.static.dns_suffixes == ("net.example.com", "lab.example.com")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("challenge = 'magic'", r"endpoints\.r\.challenge: Input should be 'one-time', 'static', 'webhook', 'intune', 'ndes' or"),
        ("challenge = 'static'\nprofiles = ['device']", 'challenge = "static" needs a table static'),
        ("challenge = 'webhook'", 'challenge = "webhook" needs a table webhook'),
        (STATIC, 'its table static goes with challenge = "static", which is "one-time" here'),
        ("challenge = 'ndes'\n" + WEBHOOK, 'its table webhook goes with challenge = "webhook", which is "ndes" here'),
        ("[endpoints.r.ndes]\npassword_minutes = 5", 'its table ndes goes with challenge = "ndes"'),
        ("challenge = 'static'\n" + STATIC, r'static goes with profiles = \["device"\] only'),
        ("challenge = 'static'\nprofiles = ['device', 'identity']\n" + STATIC, r'static goes with profiles = \["device"\] only'),
        ("[endpoints.r.static]\nsecret_file = 's'", r"endpoints\.r\.static\.subject_pattern: Field required"),
        (STATIC + "dns_suffixes = ['*.example.com']", r"endpoints\.r\.static\.dns_suffixes: write domains as"),
        (STATIC + "dns_suffixes = ['.example.com']", "write domains as"),
        (STATIC + "secret = 'x'", r"unknown setting endpoints\.r\.static\.secret"),
        (WEBHOOK.replace("https", "http"), "challenges would cross the network in clear"),
        (WEBHOOK.replace("https://mdm.example.com", "http://localhost"), "challenges would cross the network in clear"),
        (WEBHOOK.replace("https://", "https://user:password@"), r"write it as https://host/path"),
        (WEBHOOK.replace("https://mdm.example.com/x", "ftp://mdm.example.com"), r"write it as https://host/path"),
        (WEBHOOK + "timeout_seconds = 60", r"timeout_seconds: Input should be less than or equal to 30"),
        (WEBHOOK + "uri_prefixes = ['https://mdm.example.com']", "up to a slash or a colon"),
        ("[endpoints.r.ndes]\npasswords_at_most = 0", r"passwords_at_most: Input should be greater"),
    ],
)
def test_what_does_not_go_together_is_named(home: Path, text: str, message: str) -> None:
    write(home, f"[endpoints.r]\n{text}")
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_settings()
    assert "password@" not in str(caught.value)


def test_plain_http_goes_to_this_machine(home: Path) -> None:
    write(home, "[endpoints.r]\nchallenge = 'webhook'\n" + WEBHOOK.replace("https://mdm.example.com", "http://127.0.0.1:8500"))
    webhook = load_settings().endpoints["r"].webhook
    assert webhook is not None
    assert not webhook.is_encrypted


def test_the_paths_of_ndes_mean_the_one_endpoint_with_its_passwords(home: Path) -> None:
    assert load_settings().certsrv_endpoint == "default"
    write(home, "[endpoints.default]\n[endpoints.phones]\nchallenge = 'ndes'")
    assert load_settings().certsrv_endpoint == "phones"
    write(home, "certsrv_endpoint = 'default'\n[endpoints.default]\n[endpoints.phones]\nchallenge = 'ndes'")
    assert load_settings().certsrv_endpoint == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[endpoints.a]\nchallenge = 'ndes'\n[endpoints.b]\nchallenge = 'ndes'",
            "say which of a, b the paths",
        ),
        ("certsrv_endpoint = 'c'\n[endpoints.a]\nchallenge = 'ndes'", "there is no endpoint c"),
    ],
)
def test_where_they_could_mean_several_one_is_named(home: Path, text: str, message: str) -> None:
    write(home, text)
    with pytest.raises(ConfigurationError, match=message):
        load_settings()
