"""``signetry notice``: what became of mails, sending them now, trying the mail server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select

from audit.records import AuditEvent
from tests.daemons.mail_server import RunningMailServer, running_mail_server
from tests.signetry.installation import Commands, opened
from tests.signetry.mailing import with_mail, with_taro

LINK = {"link": "https://pki.example.com/keys/secret-token", "until": "2099-01-01T00:00:00+00:00", "device": "", "keys": "1"}


@pytest.fixture
def server() -> Iterator[RunningMailServer]:
    with running_mail_server() as running:
        yield running


@pytest.fixture
def home(installed_home: Path, server: RunningMailServer) -> Path:
    """An installation that sends to the server, and owes Taro two links."""
    with_mail(installed_home, server.port)
    with opened() as house:
        person = with_taro(house)
        for _ in range(2):
            house.transactions.write(lambda session: house.notices.owe(session, person, "delivery-link", LINK))
    return installed_home


def actions() -> list[str]:
    with opened() as house, house.transactions.reading() as session:
        events = session.exec(select(AuditEvent)).all()
        return [event.action for event in events if event.action.startswith("notice.")]


@pytest.mark.usefixtures("home")
def test_what_is_owed_is_listed_without_what_it_says(commands: Commands) -> None:
    found = commands.json("notice", "list")
    assert [(row["id"], row["state"], row["person"]) for row in found] == [
        (2, "waiting", "taro@example.com"),
        (1, "waiting", "taro@example.com"),
    ]
    assert "secret-token" not in commands.text("notice", "list", "--json")
    assert "delivery-link" in commands.text("notice", "list", "--upn", "taro.yamada@example.com")
    assert commands.json("notice", "list", "--state", "sent") == []
    assert "nobody" in commands.refused("notice", "list", "--upn", "who@example.com")


@pytest.mark.usefixtures("home")
def test_what_is_owed_is_sent_now(commands: Commands, server: RunningMailServer) -> None:
    done = commands.run("notice", "send", "--dry-run", "--json")
    assert [row["id"] for row in done.document] == [2, 1]
    assert "nothing was sent" in done.stderr
    assert server.received == []
    assert {row["state"] for row in commands.json("notice", "send")} == {"sent"}
    assert len(server.received) == 2
    assert commands.json("notice", "send") == []
    assert actions() == ["notice.sent", "notice.sent"]


@pytest.mark.usefixtures("home")
def test_one_that_was_given_up_is_sent_by_its_number(commands: Commands, server: RunningMailServer) -> None:
    server.behaviour.on_recipient = lambda _address: "550 5.1.1 no such user"
    done = commands.run("notice", "send", "1", "--json")
    assert done.status == 1
    assert [(row["state"], row["failures"]) for row in done.document] == [("given-up", 1)]
    assert "no such user" in done.document[0]["error"]
    commands.json("person", "change", "taro@example.com", "--email", "taro@example.com")
    server.behaviour.on_recipient = lambda _address: None
    assert commands.json("notice", "send", "1")[0]["address"] == "taro@example.com"
    assert server.received[0].recipients == ("taro@example.com",)
    assert "has been sent" in commands.refused("notice", "send", "1")
    assert "there is no mail 7" in commands.refused("notice", "send", "7")
    assert "there is no mail 7" in commands.refused("notice", "send", "7", "--dry-run")


def test_a_server_that_is_down_is_said_so(commands: Commands, home: Path) -> None:
    text = (home / "signetry.toml").read_text()
    port = text.split("port = ")[1].split("\n", 1)[0]
    (home / "signetry.toml").write_text(text.replace(f"port = {port}", "port = 1"))
    done = commands.run("notice", "send", "--json")
    assert done.status == 1
    assert "Connection refused" in done.stderr
    assert {row["state"] for row in done.document} == {"deferred"}


@pytest.mark.usefixtures("home")
def test_the_mail_server_is_tried(commands: Commands, server: RunningMailServer) -> None:
    assert "taken the mail to me@example.net" in commands.text("notice", "test", "me@example.net")
    assert server.received[0].recipients == ("me@example.net",)
    assert commands.json("notice", "test", "me@example.net", "--template", "delivery-mail", "--language", "ja")["sent"]
    (attachment,) = server.received[1].message.iter_attachments()
    assert attachment.get_filename() == "taro.p12"
    server.behaviour.on_recipient = lambda _address: "550 5.7.1 relaying denied"
    assert "relaying denied" in commands.refused("notice", "test", "me@example.net")
    assert actions() == ["notice.tested", "notice.tested"]


@pytest.mark.usefixtures("installed_home")
def test_words_are_looked_at_without_a_mail_server(commands: Commands) -> None:
    text = commands.text("notice", "test", "me@example.net", "--template", "delivery-link", "--language", "ja", "--dry-run")
    assert text.startswith("Subject: 暗号化メール用の鍵をお受け取りください\n\n")
    assert "no mail server is configured" in commands.refused("notice", "test", "me@example.net")
    assert "no mail server is configured" in commands.refused("notice", "send")
    assert "there is no mail" in commands.refused("notice", "test", "me@example.net", "--template", "x", "--dry-run")
    assert "address" in commands.refused("notice", "test", "nobody", status=2)
