"""``signetry doctor`` on endpoints: each weak choice, made."""

import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from ca.profiles import PERSON_PROFILES
from people import groups
from signetry.access.roles import Role
from signetry.administration.tokens import TokenRequest, make
from signetry.doctor.findings import Finding
from signetry.doctor.weak_choices import weak_choices
from tests.signetry.installation import clock_of_today, opened

GOOD_SECRET = "kZ3v9QpLm2Xw8RtY5NbC"
STATIC = """
profiles = ["device"]
challenge = "static"
requests_per_minute = 60
[endpoints.weak.static]
secret_file = "secrets/weak"
subject_pattern = "router-*"
dns_suffixes = ["net.example.com"]
"""
WEBHOOK = """
profiles = ["identity"]
challenge = "webhook"
requests_per_minute = 60
[endpoints.weak.webhook]
url = "https://mdm.example.com/"
secret_file = "secrets/weak"
domains = ["example.com"]
"""
NDES = 'challenge = "ndes"\n'


def findings(home: Path, text: str, secret: str = GOOD_SECRET, later: timedelta = timedelta()) -> list[Finding]:
    """Return what is said of an endpoint ``weak`` that is configured so."""
    with (home / "signetry.toml").open("a") as file:
        file.write(f"[endpoints.weak]\n{text}\n")
    path = home / "secrets" / "weak"
    path.write_text(secret + "\n")
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    clock = clock_of_today()
    clock.advance(later)
    with opened(clock) as house:
        return list(weak_choices(house, house.endpoint("weak")))


@pytest.mark.parametrize("text", ["", STATIC, WEBHOOK, 'challenge = "approval"\nrequests_per_minute = 10'])
def test_what_is_configured_well_is_not_complained_of(installed_home: Path, text: str) -> None:
    assert findings(installed_home, text) == []


WEAK = {
    "legacy": ("legacy = true", "legacy accepts SHA-1 and triple DES"),
    "museum": ("museum = true", "museum accepts single DES"),
    "no window": ("renew_after = 0.0", "renewed at any time"),
    "a chain in replies": ("reply_chain = true", "iPhones take the wrong one"),
    "unchecked units": ('subject_from_request = ["OU"]', "anybody may claim any"),
    "no limit for guesses": (STATIC.replace("requests_per_minute = 60", ""), "none is too many"),
    "no limit for strangers": ('challenge = "approval"', "none is too many"),
    "any name": (STATIC.replace("router-*", "*"), "lets a device call itself nearly anything"),
    "nearly any name": (STATIC.replace("router-*", "??*-"), "lets a device call itself nearly anything"),
    "a wide suffix": (STATIC.replace("net.example.com", "com"), "com is a top-level domain"),
    "a wide domain": (WEBHOOK.replace('"example.com"', '"local"'), "local is a top-level domain"),
    "no TLS": (WEBHOOK.replace("https://mdm.example.com/", "http://127.0.0.1:8500/"), "without TLS"),
    "log-on and mail": (WEBHOOK.replace('"identity"', '"identity", "smime-dual"'), "may grant either"),
    "long-lived passwords": (NDES + "[endpoints.weak.ndes]\npassword_minutes = 600", "good for 600 minutes"),
    "nobody to ask for passwords": (NDES, "no token of role mdm reaches it"),
}


@pytest.mark.parametrize(("text", "words"), WEAK.values(), ids=WEAK)
def test_each_weak_choice_is_a_warning_with_advice(installed_home: Path, text: str, words: str) -> None:
    found = [finding for finding in findings(installed_home, text) if words in finding.finding]
    assert [(finding.check, finding.severity) for finding in found] == [("endpoint weak", "warning")]
    assert found[0].advice


@pytest.mark.parametrize("secret", ["short", f"{GOOD_SECRET}\nshort"])
def test_a_short_secret_is_complained_of_and_not_repeated(installed_home: Path, secret: str) -> None:
    (finding,) = findings(installed_home, STATIC, secret)
    assert "fewer than 20 characters" in finding.finding
    assert GOOD_SECRET not in str(finding)


def test_an_old_secret_is_complained_of(installed_home: Path) -> None:
    (finding,) = findings(installed_home, STATIC, later=timedelta(days=400))
    assert "the same for 400 days" in finding.finding


@pytest.mark.parametrize(
    ("text", "secret", "mode", "words"),
    [
        (STATIC, GOOD_SECRET, 0o644, "open to every user"),
        (STATIC, "a\nb\nc", 0o600, "two at most"),
        (WEBHOOK, "too short", 0o600, "16 bytes at least"),
        (WEBHOOK, "whsec_????", 0o600, "not base64"),
    ],
)
def test_a_secret_that_cannot_be_used_is_an_error(installed_home: Path, text: str, secret: str, mode: int, words: str) -> None:
    findings(installed_home, text, secret)
    os.chmod(installed_home / "secrets" / "weak", mode)  # noqa: PTH101 - a number
    with opened() as house:
        (finding,) = weak_choices(house, house.endpoint("weak"))
    assert (finding.severity, words in finding.finding) == ("error", True), finding
    assert secret not in finding.finding


def test_a_token_that_reaches_the_page_is_seen(installed_home: Path) -> None:
    assert findings(installed_home, NDES)
    with opened() as house:
        now = house.clock.now()
        house.transactions.write(lambda session: groups.add_group(session, "phones", actor=house.actor, now=now))
        request = TokenRequest("jamf", Role.MDM, timedelta(days=1), "", ("weak",), (PERSON_PROFILES[0],), "phones")
        house.transactions.write(lambda session: make(session, house, request, administrator="cli:test"))
        assert list(weak_choices(house, house.endpoint("weak"))) == []
