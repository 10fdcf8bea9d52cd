"""``signetry request``: what waits, what it asks for beside the record, and deciding on it."""

from pathlib import Path

import pytest
from cryptography import x509
from sqlmodel import col, select

from audit.records import AuditEvent
from scep.errors import RequestRejected
from scep.request import EnrolmentRequest
from tests.signetry.installation import Commands, opened
from tests.signetry.waiting import ROUTERS, come_back, request, wait, with_approval

ALICE = ("--upn", "alice@example.com")
PLAIN = request()
HONEST = request("Alice's phone", (x509.RFC822Name("a.smith@example.com"),))
GREEDY = request("boss", (x509.RFC822Name("boss@example.com"),))
ROUTER = request("router-7.example.com", (x509.DNSName("router-7.example.com"),))


@pytest.fixture
def home(installed_home: Path, commands: Commands) -> Path:
    """An installation with Alice, her phone and a router, and nothing that waits."""
    with_approval(installed_home)
    commands.json(
        "person", "add", *ALICE, "--email", "alice@example.com", "--alias", "a.smith@example.com", "--name", "Alice Smith"
    )
    commands.json("device", "add", "phone", "--owner", "alice@example.com")
    commands.json("device", "add", "router-7", "--dns-name", "router-7.example.com")
    return installed_home


@pytest.fixture
def waiting(home: Path) -> Path:
    """The same with four requests that wait, numbers 1 to 4."""
    with opened() as house:
        for asked in (PLAIN, HONEST, GREEDY):
            wait(house, asked)
        wait(house, ROUTER, ROUTERS)
    return home


def granted(asked: EnrolmentRequest, endpoint: str = "held") -> x509.Certificate:
    with opened() as house:
        found = come_back(house, asked, endpoint)
    assert found is not None
    return x509.load_der_x509_certificate(found.der)


def actions() -> list[tuple[str, str]]:
    with opened() as house, house.transactions.reading() as session:
        query = select(AuditEvent).where(col(AuditEvent.subject).startswith("request:")).order_by(col(AuditEvent.id))
        return [(event.action, event.subject) for event in session.exec(query)]


@pytest.mark.usefixtures("waiting")
def test_what_waits_is_listed_the_newest_first(commands: Commands) -> None:
    found = commands.json("request", "list")
    assert [row["id"] for row in found] == [4, 3, 2, 1]
    assert (found[0]["state"], found[0]["endpoint"], found[0]["subject"]) == ("waiting", "routers", "CN=router-7.example.com")
    assert (found[0]["origin"], found[0]["names"]) == ("192.0.2.7", ["router-7.example.com"])
    assert [row["id"] for row in commands.json("request", "list", "--endpoint", "routers")] == [4]
    assert [row["id"] for row in commands.json("request", "list", "--limit", "2")] == [4, 3]
    assert commands.json("request", "list", "--state", "approved") == []
    assert "CN=Alice's phone" in commands.text("request", "list")
    assert "no SCEP endpoint" in commands.refused("request", "list", "--endpoint", "nowhere")


@pytest.mark.usefixtures("home")
def test_where_nothing_waits_the_list_is_empty(commands: Commands) -> None:
    assert commands.json("request", "list", "--state", "all") == []


@pytest.mark.usefixtures("waiting")
def test_a_request_is_shown_beside_a_record(commands: Commands) -> None:
    alone = commands.json("request", "show", "2")
    assert alone["asked_for"]["emails"] == ["a.smith@example.com"]
    assert (alone["key"], alone["comparison"], alone["person"]) == ("EC secp256r1", [], None)
    lines = {line["kind"]: line for line in commands.json("request", "show", "3", *ALICE)["comparison"]}
    assert lines["mail addresses"] == {
        "kind": "mail addresses",
        "requested": ["boss@example.com"],
        "recorded": ["alice@example.com", "a.smith@example.com"],
        "agrees": False,
    }
    assert lines["UPN"]["agrees"]
    text = commands.text("request", "show", "3", *ALICE)
    assert "asks for emails" in text
    assert "boss@example.com" in text
    assert "there is no request 4711" in commands.refused("request", "show", "4711")
    assert "nobody has" in commands.refused("request", "show", "3", "--upn", "nobody@example.com")


@pytest.mark.usefixtures("waiting")
def test_an_approved_request_gets_its_certificate(commands: Commands) -> None:
    (row,) = commands.json("request", "approve", "2", *ALICE, "--device", "phone", "--profile", "identity")
    assert (row["outcome"], row["state"], row["person"], row["device"]) == ("approved", "approved", "alice@example.com", "phone")
    assert row["decided_by"].startswith("cli:")
    assert granted(HONEST).subject.rfc4514_string() == "CN=Alice Smith"
    shown = commands.json("request", "show", "2")
    assert (shown["state"], shown["serial"]) == ("granted", commands.json("cert", "list")[0]["serial"])
    assert "request 2, approved by cli:" in commands.json("cert", "show", shown["serial"])["granted_by"]


@pytest.mark.usefixtures("waiting")
def test_the_profile_is_the_endpoints_where_it_has_one(commands: Commands) -> None:
    assert commands.json("request", "approve", "4", "--device", "router-7")[0]["profile"] == "device"
    assert granted(ROUTER, ROUTERS).subject.rfc4514_string() == "CN=router-7"
    refusal = commands.refused("request", "approve", "1", *ALICE, status=2)
    assert "issues identity, mail-all-in-one" in refusal
    assert refusal.endswith("with --profile")


@pytest.mark.usefixtures("waiting")
def test_what_is_not_on_record_is_not_approved_until_it_is(commands: Commands) -> None:
    approving = ("request", "approve", "3", *ALICE, "--profile", "identity")
    refusal = commands.refused(*approving)
    assert "the requested mail address boss@example.com is not authorised" in refusal
    assert "the record of alice@example.com" in refusal
    assert commands.json("request", "show", "3")["state"] == "waiting"
    commands.text("person", "change", "alice@example.com", "--add-alias", "boss@example.com")
    assert commands.json(*approving)[0]["outcome"] == "approved"


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize(
    ("options", "reason", "status"),
    [
        (("1", *ALICE, "--profile", "device"), "endpoint held issues", 1),
        (("4",), "a certificate of profile device is a device's: say which with --device", 2),
        (("1", "--profile", "identity"), "say whose with --upn", 2),
        (("1", "--upn", "nobody@example.com", "--profile", "identity"), "nobody has", 1),
        (("4", "--device", "phone"), "phone", 1),
        (("4711", *ALICE, "--profile", "identity"), "there is no request 4711", 1),
    ],
)
def test_what_could_not_be_issued_is_not_approved(commands: Commands, options: tuple[str, ...], reason: str, status: int) -> None:
    assert reason in commands.refused("request", "approve", *options, status=status)
    assert [row["id"] for row in commands.json("request", "list")] == [4, 3, 2, 1]


@pytest.mark.usefixtures("waiting")
def test_for_somebody_inactive_nothing_is_approved(commands: Commands) -> None:
    commands.text("person", "deactivate", "alice@example.com")
    assert "not active" in commands.refused("request", "approve", "1", *ALICE, "--profile", "identity")


@pytest.mark.usefixtures("waiting")
def test_several_are_approved_together_or_not_at_all(commands: Commands) -> None:
    options = (*ALICE, "--profile", "identity")
    commands.refused("request", "approve", "1", "2", "3", *options)
    assert len(commands.json("request", "list")) == 4
    assert [row["id"] for row in commands.json("request", "approve", "2", "1", "2", *options)] == [1, 2]
    assert [row["id"] for row in commands.json("request", "list", "--state", "approved")] == [2, 1]


@pytest.mark.usefixtures("waiting")
def test_a_rejected_client_is_told_why(commands: Commands) -> None:
    (row,) = commands.json("request", "reject", "1", "--reason", "call the help desk")
    assert (row["outcome"], row["rejection"]) == ("rejected", "call the help desk")
    with opened() as house, pytest.raises(RequestRejected, match="call the help desk"):
        come_back(house, PLAIN)
    assert commands.json("request", "reject", "2", "3")[0]["rejection"] == "the request was rejected by an administrator"
    assert "reason" in commands.refused("request", "reject", "4", "--reason", "x" * 201, status=2)


@pytest.mark.usefixtures("waiting")
def test_deciding_again_changes_nothing(commands: Commands) -> None:
    for _ in range(2):
        commands.json("request", "approve", "1", *ALICE, "--profile", "identity")
        commands.json("request", "reject", "2")
    assert commands.json("request", "approve", "1", *ALICE, "--profile", "identity")[0]["outcome"] == "unchanged"
    deferred = [("request.deferred", f"request:{number}") for number in range(1, 5)]
    assert actions() == [*deferred, ("request.approved", "request:1"), ("request.rejected", "request:2")]
    granted(PLAIN)
    assert "revoked" in commands.refused("request", "reject", "1")


@pytest.mark.usefixtures("waiting")
def test_a_dry_run_decides_nothing(commands: Commands) -> None:
    done = commands.run("request", "approve", "1", *ALICE, "--profile", "identity", "--dry-run")
    assert done.status == 0
    assert "dry run: nothing was changed" in done.stderr
    assert "request 1 asks for, beside what is on record" in done.stdout
    commands.text("request", "reject", "2", "--dry-run")
    assert len(commands.json("request", "list")) == 4
    assert len(actions()) == 4
    # It refuses what the act would.
    commands.refused("request", "approve", "3", *ALICE, "--profile", "identity", "--dry-run")


def test_an_endpoint_that_asks_nobody_any_more_has_nothing_to_approve(commands: Commands, waiting: Path) -> None:
    text = (waiting / "signetry.toml").read_text()
    (waiting / "signetry.toml").write_text(text.replace('[endpoints.held]\nchallenge = "approval"', "[endpoints.held]"))
    refusal = commands.refused("request", "approve", "1", *ALICE, "--profile", "identity")
    assert "nothing is approved any more" in refusal
