"""``signetry doctor``: each thing that can be wrong, made wrong."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from signetry.doctor import installation
from signetry.doctor.examination import examine
from signetry.doctor.findings import Finding
from signetry.doctor.reachability import is_loopback
from tests.clocks import ManualClock
from tests.signetry.installation import PUBLIC_URL, Commands, clock_of_today, edit, opened


@pytest.fixture(autouse=True)
def _alone_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking through all distributions takes longer than everything else; one test looks, in the command's own process."""
    monkeypatch.setattr(
        installation, "packages_distributions", lambda: {package: ["signetry"] for package in installation.PACKAGES}
    )


def findings(clock: ManualClock | None = None) -> list[Finding]:
    with opened(clock) as house:
        return examine(house)


def about(check: str, clock: ManualClock | None = None) -> list[Finding]:
    return [finding for finding in findings(clock) if finding.check == check]


def only(check: str, clock: ManualClock | None = None) -> Finding:
    (found,) = about(check, clock)
    return found


@pytest.mark.usefixtures("installed_home")
def test_a_good_installation_has_nothing_but_a_service_that_does_not_run(commands: Commands) -> None:
    done = commands.run("doctor", "--json")
    assert done.status == 0
    assert done.stderr == ""
    assert [finding for finding in done.document if finding["severity"] != "ok"] == [
        {
            "check": "service",
            "severity": "warning",
            "finding": "nothing listens on 127.0.0.1:8080",
            "advice": "signetry serve",
        }
    ]
    assert {finding["check"] for finding in done.document} == {
        *("packages", "database", "public_url", "authority root", "authority issuing", "endpoint default"),
        *("CRL of root", "CRL of issuing", "TLS", "service", "keys", "archive"),
    }
    assert "endpoint default: issues" in commands.text("doctor")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "pki.localhost",
        "localhost.localdomain",
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",  # noqa: S104 - dialled, it is this machine
    ],
)
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["pki.example.com", "192.0.2.1", "2001:db8::1", "localhost.example.com", "notlocalhost", ""])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080"])
def test_a_loopback_url_is_complained_of(installed_home: Path, commands: Commands, url: str) -> None:
    edit(installed_home, PUBLIC_URL, url)
    finding = only("public_url")
    assert finding.severity == "warning"
    assert f"{url} is a loopback address" in finding.finding
    assert "set public_url" in finding.advice
    # Brackets are no markup.
    assert f"{url} is a loopback address" in commands.text("doctor")


def test_https_is_complained_of(installed_home: Path) -> None:
    edit(installed_home, PUBLIC_URL, "https://pki.example.com")
    finding = only("public_url")
    assert (finding.severity, "needs TLS" in finding.finding) == ("warning", True)


def test_a_certificate_with_an_earlier_url_is_complained_of_until_it_is_made_again(installed_home: Path) -> None:
    edit(installed_home, PUBLIC_URL, "http://new.example.com")
    severities = {finding.severity: finding.finding for finding in about("authority issuing")}
    assert severities["warning"] == "its certificate points at an earlier public_url"
    assert [finding.severity for finding in about("authority root")] == ["ok"]
    with opened() as house:
        house.follow_public_url()
    assert [finding.severity for finding in about("authority issuing")] == ["ok"]


@pytest.mark.parametrize(
    ("setting", "warning"),
    [
        ("museum = true", "museum accepts single DES"),
        ("legacy = true", "legacy accepts SHA-1 and triple DES"),
        ("renew_after = 0.0", "renewed at any time"),
    ],
)
def test_lenient_endpoints_are_complained_of(installed_home: Path, setting: str, warning: str) -> None:
    with (installed_home / "signetry.toml").open("a") as file:
        file.write(f"[endpoints.old]\n{setting}\n")
    first, last = about("endpoint old")
    assert (first.severity, last.severity) == ("warning", "ok")
    assert warning in first.finding
    assert first.advice
    assert [finding.severity for finding in about("endpoint default")] == ["ok"]


def test_an_endpoint_that_promises_what_its_authority_may_not_issue_is_complained_of(
    empty_home: Path, commands: Commands
) -> None:
    commands.text("init", "--ca-key", "p256", "--purpose", "emailProtection")
    assert only("endpoint default").severity == "ok"
    edit(empty_home, '"smime-signing"', '"identity", "mail-all-in-one"')
    first, last = about("endpoint default")
    assert (first.severity, last.severity) == ("warning", "ok")
    assert first.finding == "the certificate of issuing, or one above it, does not allow identity, mail-all-in-one"


def test_an_endpoint_without_authority_is_an_error_of_its_own(installed_home: Path) -> None:
    with (installed_home / "signetry.toml").open("a") as file:
        file.write('[endpoints.a-mail]\nissuing_ca = "mail"\n')
    assert only("endpoint a-mail") == Finding("endpoint a-mail", "error", "there is no authority 'mail'")
    assert only("endpoint default").severity == "ok"


@pytest.mark.parametrize(
    ("check", "quiet", "later", "severity", "words"),
    [
        ("CRL of issuing", timedelta(hours=17), timedelta(hours=19), "warning", "expires at"),
        ("CRL of issuing", timedelta(hours=23), timedelta(hours=24), "error", "expired on"),
        ("CRL of root", timedelta(days=89), timedelta(days=90), "error", "expired on"),
        ("worker", timedelta(minutes=30), timedelta(minutes=90), "warning", "a CRL has been due for"),
        ("endpoint default", timedelta(days=69), timedelta(days=71), "warning", "its RA certificate expires in"),
        ("endpoint default", timedelta(days=89), timedelta(days=90), "error", "no RA key in force"),
        ("TLS", timedelta(days=382), timedelta(days=384), "warning", "expires in 12 days"),
        ("TLS", timedelta(days=396), timedelta(days=398), "error", "which is not now"),
        ("authority issuing", timedelta(days=3550), timedelta(days=3565), "warning", "its certificate expires in"),
        ("authority root", timedelta(days=7200), timedelta(days=7215), "warning", "its certificate expires in"),
    ],
)
@pytest.mark.usefixtures("installed_home")
def test_what_time_brings_is_seen_in_time(check: str, quiet: timedelta, later: timedelta, severity: str, words: str) -> None:
    clock = clock_of_today()
    clock.advance(quiet)
    assert severity not in {finding.severity for finding in about(check, clock)}
    clock.advance(later - quiet)
    assert [words in finding.finding for finding in about(check, clock) if finding.severity == severity] == [True]


def remove(relative: str) -> Callable[[Path], None]:
    return lambda home: (home / relative).unlink()


def open_up(relative: str, mode: int) -> Callable[[Path], None]:
    return lambda home: (home / relative).chmod(mode)


def write(relative: str, content: str) -> Callable[[Path], None]:
    def overwrite(home: Path) -> None:
        (home / relative).write_text(content)

    return overwrite


def sql(statement: str) -> Callable[[Path], None]:
    def execute(home: Path) -> None:
        with closing(sqlite3.connect(home / "signetry.db")) as connection:
            connection.execute(statement)
            connection.commit()

    return execute


BROKEN = {
    "no schema": (remove("signetry.db"), "database", "does not exist"),
    "newer schema": (sql("UPDATE alembic_version SET version_num = '9999'"), "database", "it belongs to a newer release"),
    "no key": (remove("keys/issuing-p256.key"), "authority issuing", "there is no key 'issuing-p256'"),
    "a damaged key": (write("keys/root-p384.key", "no key"), "authority root", "cannot be opened with the configured passphrase"),
    "a readable key": (open_up("keys/issuing-p256.key", 0o640), "authority issuing", "has mode 0640: it must be 0600"),
    "an open key directory": (open_up("keys", 0o755), "installation", "must have mode 0700"),
    "no RA key": (remove("keys/issuing-ra-1.key"), "endpoint default", "there is no key 'issuing-ra-1'"),
    "no passphrase": (remove("secrets/key-passphrase"), "installation", "run signetry init"),
    "an open passphrase": (open_up("secrets/key-passphrase", 0o644), "installation", "open to every user"),
    "no TLS": (remove("tls/server.pem"), "TLS", "cannot be read"),
    "damaged TLS": (write("tls/server.pem", "no certificate"), "TLS", "holds no certificate"),
    "no CRL": (sql("DELETE FROM published_crl"), "CRL of root", "none has been published yet"),
    "a misspelt setting": (write("signetry.toml", "public_ulr = 'x'"), "installation", "unknown setting public_ulr"),
    "not a database": (write("signetry.db", "not a database, whatever it is called"), "database", "the check failed"),
}


@pytest.mark.parametrize(("breaks", "check", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_an_error_in_clear_words_and_an_exit_code(
    installed_home: Path, commands: Commands, breaks: Callable[[Path], None], check: str, words: str
) -> None:
    breaks(installed_home)
    done = commands.run("doctor", "--json")
    assert done.status == 1
    errors = {finding["check"]: finding["finding"] for finding in done.document if finding["severity"] == "error"}
    assert words in errors[check]
    assert "Traceback" not in done.stdout
    assert commands.run("doctor").status == 1


def test_a_distribution_that_overwrites_our_packages_is_named(installed_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_home.exists()
    providers = {"ca": ["signetry", "ca-tools"], "people": ["Signetry"], "scep": ["signetry", "pyscep", "pyscep"], "os": ["x"]}
    monkeypatch.setattr(installation, "packages_distributions", lambda: providers)
    found = about("packages")
    assert [(finding.severity, finding.finding) for finding in found] == [
        ("error", "the package ca is also installed by ca-tools"),
        ("error", "the package scep is also installed by pyscep"),
    ]


@pytest.mark.usefixtures("installed_home")
def test_a_check_that_fails_unexpectedly_is_a_finding_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("the secret is swordfish")

    monkeypatch.setattr(installation, "packages_distributions", fail)
    found = findings()
    assert found[0].severity == "error"
    assert "log reference" in found[0].finding
    assert "swordfish" not in str(found)
    assert len(found) == 12


def test_a_database_that_is_not_there_is_missed_and_not_made(commands: Commands, installed_home: Path) -> None:
    (installed_home / "signetry.toml").write_text('database_url = "sqlite:///elsewhere/typo.db"\n')
    (finding,) = commands.run("doctor", "--json").document
    assert (finding["check"], finding["severity"]) == ("database", "error")
    assert "elsewhere/typo.db does not exist" in finding["finding"]
    assert not (installed_home / "elsewhere").exists()
