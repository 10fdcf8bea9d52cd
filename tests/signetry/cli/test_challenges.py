"""``signetry challenge create``: for whom it mints, for how long, and what it refuses."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from audit.records import AuditEvent
from scep.challenge import digest
from scep.records import Challenge
from tests.signetry.installation import Commands, opened


@pytest.fixture
def home(installed_home: Path, commands: Commands) -> Path:
    """An installation with Alice, her phone, and an endpoint for devices alone."""
    with (installed_home / "signetry.toml").open("a") as file:
        file.write(
            '[endpoints.devices]\nprofiles = ["device"]\n[endpoints.mail]\nprofiles = ["smime-signing", "smime-encryption"]\n'
        )
    commands.json("person", "add", "--upn", "alice@example.com", "--email", "alice.smith@example.com")
    commands.json("device", "add", "phone", "--owner", "alice@example.com")
    return installed_home


def challenges() -> list[Challenge]:
    with opened() as house, house.transactions.reading() as session:
        return list(session.exec(select(Challenge)).all())


ALICE = ("--upn", "alice@example.com")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("options", "bound"),
    [
        (ALICE, ("default", "identity", 1, None)),
        (("--upn", "alice.smith@example.com", "--profile", "smime-dual"), ("default", "smime-dual", 1, None)),
        ((*ALICE, "--device", "phone"), ("default", "identity", 1, 1)),
        ((*ALICE, "--device", "1", "--profile", "mail-all-in-one"), ("default", "mail-all-in-one", 1, 1)),
        (("--device", "phone", "--profile", "device", "--endpoint", "devices"), ("devices", "device", None, 1)),
        ((*ALICE, "--device", "phone", "--profile", "device", "--endpoint", "devices"), ("devices", "device", 1, 1)),
        ((*ALICE, "--endpoint", "mail", "--profile", "smime-signing"), ("mail", "smime-signing", 1, None)),
    ],
)
def test_a_challenge_is_bound_to_what_was_asked_for(
    commands: Commands, options: tuple[str, ...], bound: tuple[object, ...]
) -> None:
    (minted,) = commands.json("challenge", "create", *options)
    (row,) = challenges()
    assert (row.endpoint, row.profile, row.person_id, row.device_id) == bound
    assert (minted["endpoint"], minted["profile"]) == bound[:2]
    assert row.digest == digest(minted["challenge"])
    assert datetime.fromisoformat(minted["expires_at"]) == row.expires_at
    assert timedelta(minutes=59) < row.expires_at - datetime.now(UTC) <= timedelta(hours=1)


@pytest.mark.usefixtures("home")
def test_many_are_printed_one_a_line_and_never_again(commands: Commands, home: Path) -> None:
    lines = commands.text("challenge", "create", *ALICE, "--count", "5").splitlines()
    assert len(set(lines)) == 5
    assert {digest(line) for line in lines} == {row.digest for row in challenges()}
    stored = b"".join(path.read_bytes() for path in home.iterdir() if path.is_file())
    assert not any(line.encode() in stored for line in lines)
    with opened() as house, house.transactions.reading() as session:
        (event,) = session.exec(select(AuditEvent).where(AuditEvent.action == "challenge.minted")).all()
        assert (event.subject, event.details["count"]) == ("person:1", 5)


REFUSED = [
    ((*ALICE, "--ttl", "soon"), 2, "'soon' is no duration"),
    ((*ALICE, "--ttl", "0s"), 2, "lives up to 90 days"),
    ((*ALICE, "--ttl", "91d"), 2, "lives up to 90 days"),
    ((*ALICE, "--count", "0"), 2, "between 1 and 10000"),
    ((*ALICE, "--count", "10001"), 2, "between 1 and 10000"),
    ((*ALICE, "--endpoint", "nowhere"), 1, "no SCEP endpoint 'nowhere'; configured are default, devices, mail"),
    ((*ALICE, "--profile", "nonsense"), 1, "endpoint default issues identity, mail-all-in-one"),
    ((*ALICE, "--endpoint", "mail"), 1, "endpoint mail issues smime-encryption, smime-signing, not identity"),
    ((*ALICE, "--profile", "device"), 1, "not device"),
    (("--upn", "bob@example.com"), 1, "nobody has the UPN or mail address bob@example.com"),
    ((*ALICE, "--device", "tablet"), 1, "no device tablet"),
    ((*ALICE, "--device", "4711"), 1, "no device 4711"),
    ((), 2, "say whose with --upn"),
    (("--device", "phone"), 2, "a certificate of profile identity is a person's: say whose with --upn"),
    ((*ALICE, "--profile", "device", "--endpoint", "devices"), 2, "say which with --device"),
]


@pytest.mark.usefixtures("home")
def test_what_could_not_be_redeemed_is_not_minted(commands: Commands) -> None:
    for options, status, reason in REFUSED:
        assert reason in commands.refused("challenge", "create", *options, status=status), options
    assert challenges() == []


@pytest.mark.usefixtures("home")
def test_for_somebody_or_something_inactive_nothing_is_minted(commands: Commands) -> None:
    commands.json("device", "deactivate", "phone")
    assert "the device is not active" in commands.refused("challenge", "create", *ALICE, "--device", "phone")
    commands.json("person", "deactivate", "alice@example.com")
    assert "the person is not active" in commands.refused("challenge", "create", *ALICE)
    assert challenges() == []


@pytest.mark.usefixtures("home")
def test_nobody_enrols_on_a_phone_that_is_somebody_elses(commands: Commands) -> None:
    commands.json("person", "add", "--upn", "bob@example.com", "--email", "bob@example.com")
    commands.json("device", "add", "bobs-phone", "--owner", "bob@example.com")
    refused = commands.refused("challenge", "create", *ALICE, "--device", "bobs-phone")
    assert "device bobs-phone belongs to bob@example.com, not to alice@example.com" in refused
    assert challenges() == []
    commands.json("challenge", "create", "--upn", "bob@example.com", "--device", "bobs-phone")
