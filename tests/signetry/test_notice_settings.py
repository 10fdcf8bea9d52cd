"""The section of the settings about mails."""

from pathlib import Path

import pytest

from notices.server import MailSecurity
from signetry.errors import ConfigurationError
from signetry.settings import load_settings

MINIMAL = ('host = "mail.example.com"', 'sender = "PKI@Example.com"')


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SIGNETRY_CONFIG", raising=False)
    monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path))
    return tmp_path


def write(home: Path, *lines: str) -> None:
    (home / "signetry.toml").write_text("\n".join(["[notices]", *lines]), encoding="utf-8")


def test_without_a_section_there_are_no_mails() -> None:
    assert not load_settings().notices.is_configured


def test_what_is_not_said_is_safe(home: Path) -> None:
    write(home, *MINIMAL, 'user = "pki"', 'password_file = "secrets/mail"', 'templates = "mails"')
    configured = load_settings().notices
    assert configured.is_configured
    assert (configured.security, configured.server_port) == (MailSecurity.STARTTLS, 587)
    assert configured.sender == "pki@example.com"
    assert configured.password_file == home / "secrets" / "mail"
    assert configured.templates == home / "mails"


@pytest.mark.parametrize(("security", "port"), [("tls", 465), ("starttls", 587)])
def test_the_usual_ports(home: Path, security: str, port: int) -> None:
    write(home, *MINIMAL, f'security = "{security}"')
    assert load_settings().notices.server_port == port
    write(home, *MINIMAL, f'security = "{security}"', "port = 2525")
    assert load_settings().notices.server_port == 2525


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_on_this_machine_may_do_without_tls(home: Path, host: str) -> None:
    write(home, f'host = "{host}"', MINIMAL[1], 'security = "none"')
    assert load_settings().notices.server_port == 25


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (MINIMAL[:1], "host and sender are given together"),
        (MINIMAL[1:], "host and sender are given together"),
        ((MINIMAL[0], 'sender = "nobody"'), "is no mail address"),
        ((*MINIMAL, 'reply_to = "nobody"'), "is no mail address"),
        ((*MINIMAL, 'user = "pki"'), "user and password_file are given together"),
        ((*MINIMAL, 'password_file = "x"'), "user and password_file are given together"),
        ((*MINIMAL, 'security = "none"'), "only a loopback address"),
        ((*MINIMAL, 'sender_name = "a\\r\\nBcc: b"'), "cannot be printed"),
        ((*MINIMAL, 'time_zone = "Mars/Olympus"'), "time zone database"),
        ((*MINIMAL, 'time_zone = "../../etc/passwd"'), "time zone database"),
        (('host = "mail example"', MINIMAL[1]), "host"),
        ((*MINIMAL, "timeout_seconds = 0"), "timeout_seconds"),
        ((*MINIMAL, 'contct = "x"'), "is notices.contact meant"),
    ],
)
def test_what_cannot_be_meant_is_refused(home: Path, lines: tuple[str, ...], complaint: str) -> None:
    write(home, *lines)
    with pytest.raises(ConfigurationError, match=complaint):
        load_settings()


def test_a_time_zone_by_its_name(home: Path) -> None:
    write(home, *MINIMAL, 'time_zone = "Asia/Tokyo"')
    assert load_settings().notices.time_zone == "Asia/Tokyo"
