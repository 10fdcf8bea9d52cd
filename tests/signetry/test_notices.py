"""Mails of an installation: owed in the transaction of what they tell of, sent by the worker's job over real sockets."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, select

from audit.records import AuditEvent
from notices import listing
from notices.errors import NoticesNotConfigured
from notices.listing import State
from people.errors import UnknownPerson
from signetry import assembly
from signetry.house import House
from signetry.jobs import Worker
from tests.daemons.directories.tls import TestAuthority
from tests.daemons.mail_server import RunningMailServer, running_mail_server
from tests.signetry.installation import clock_of_today, opened
from tests.signetry.mailing import with_mail, with_taro

NOT_AFTER = datetime(2027, 6, 1, tzinfo=UTC)
ARCHIVED: dict[str, str | datetime | int] = {
    "address": "taro.yamada@example.com",
    "serial": "3f2a",
    "not_after": NOT_AFTER,
    "origin": "made",
}


@pytest.fixture
def server() -> Iterator[RunningMailServer]:
    with running_mail_server() as running:
        yield running


@pytest.fixture
def house(installed_home: Path, server: RunningMailServer) -> Iterator[House]:
    """An installation that sends to the server."""
    with_mail(installed_home, server.port, 'sender_name = "鍵センター"', 'contact = "内線 1234"')
    with opened(clock_of_today()) as house:
        yield house


def run_jobs(house: House) -> None:
    for job in house.notices.jobs():
        job.run()


def mails(house: House) -> list[tuple[State, str]]:
    with house.transactions.reading() as session:
        return [(mail.state, mail.template) for mail in listing.listed(session)]


def owe_archived(house: House, person: int) -> bool:
    return house.transactions.write(lambda session: house.notices.owe(session, person, "key-archived", ARCHIVED))


def test_a_person_is_told_in_their_language(house: House, server: RunningMailServer) -> None:
    person = with_taro(house)
    assert owe_archived(house, person)
    run_jobs(house)
    (received,) = server.received
    message = received.message
    assert received.recipients == ("taro.yamada@example.com",)
    assert message["From"].addresses[0].display_name == "鍵センター"
    text = message.get_content()
    assert text.startswith("山田 太郎 様")
    assert "2027年6月1日" in text
    assert text.replace("\r\n", "\n").endswith("-- \n鍵センター\n内線 1234\n")
    assert mails(house) == [(State.SENT, "key-archived")]
    assert server.behaviour.hellos == ["pki.example.com"]


def test_a_mail_is_owed_with_what_it_tells_of_or_not_at_all(house: House) -> None:
    person = with_taro(house)

    def act(session: Session) -> None:
        house.notices.owe(session, person, "key-archived", ARCHIVED)
        raise UnknownPerson("and then it fails")

    with pytest.raises(UnknownPerson):
        house.transactions.write(act)
    assert mails(house) == []
    with pytest.raises(UnknownPerson):
        owe_archived(house, 4711)


def test_a_link_is_not_sent_after_it_has_expired(house: House, server: RunningMailServer) -> None:
    person = with_taro(house)
    until = house.clock.now() - timedelta(seconds=1)
    values: dict[str, str | datetime | int] = {"link": "https://pki.example.com/x", "until": until, "device": "", "keys": 1}
    house.transactions.write(lambda session: house.notices.owe(session, person, "delivery-link", values, good_until=until))
    run_jobs(house)
    assert server.received == []
    assert mails(house) == [(State.GIVEN_UP, "delivery-link")]


def test_the_worker_sends(house: House, server: RunningMailServer) -> None:
    names = {job.name for job in assembly.jobs(house)}
    assert {"notices", "notices-swept"} <= names
    owe_archived(house, with_taro(house))
    worker = Worker(house.notices.jobs(), house.database, house.clock)
    try:
        for _ in range(200):
            worker.step()
            if mails(house) == [(State.SENT, "key-archived")]:
                break
            time.sleep(0.05)
    finally:
        worker.stop()
    assert len(server.received) == 1


@pytest.mark.usefixtures("installed_home")
def test_without_a_mail_server_the_audit_record_says_that_nobody_was_told() -> None:
    with opened() as house:
        person = with_taro(house)
        assert not owe_archived(house, person)
        with pytest.raises(NoticesNotConfigured):
            house.notices.require()
        assert [job.name for job in house.notices.jobs()] == ["notices-swept"]
        run_jobs(house)
        assert mails(house) == []
        with house.transactions.reading() as session:
            (event,) = session.exec(select(AuditEvent).where(AuditEvent.action == "notice.not-owed")).all()
            assert (event.subject, event.outcome) == (f"person:{person}", "failed")
            assert event.details == {"template": "key-archived", "reason": "no mail server is configured"}


def test_what_was_sent_is_forgotten_in_time(house: House) -> None:
    owe_archived(house, with_taro(house))
    run_jobs(house)
    clock = house.clock
    clock.advance(days=33)  # type: ignore[attr-defined] # the test's own
    assert house.notices.sweep() == 0
    clock.advance(minutes=1)  # type: ignore[attr-defined] # the test's own
    assert house.notices.sweep() == 1
    assert mails(house) == []


def test_the_password_is_read_at_each_log_on_and_stays_out_of_sight(installed_home: Path, tmp_path: Path) -> None:
    tls = TestAuthority(tmp_path / "tls").issue("mail", "127.0.0.1")
    secret = installed_home / "secrets" / "mail"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    with running_mail_server(start_tls=tls, logins={"pki": "hunter2"}) as running:
        with_mail(
            installed_home,
            running.port,
            'security = "starttls"',
            f'ca_file = "{tls.ca}"',
            'user = "pki"',
            'password_file = "secrets/mail"',
        )
        with opened() as house:
            assert "hunter2" not in repr(house.notices.server)
            owe_archived(house, with_taro(house))
            assert house.notices.sender().run().sent == 1
            assert (running.received[0].user, running.received[0].over_tls) == ("pki", True)
            secret.chmod(0o644)
            owe_archived(house, 1)
            assert "open to every user" in house.notices.sender().run().unavailable
            assert "hunter2" not in house.notices.sender().run().unavailable


@pytest.mark.parametrize(
    ("url", "hello"),
    [
        ("http://pki.example.com:8080", "pki.example.com"),
        ("http://192.0.2.7", "[192.0.2.7]"),
        ("http://[2001:db8::1]:8080", "[IPv6:2001:db8::1]"),
    ],
)
def test_the_service_calls_itself_as_rfc_5321_has_it(
    installed_home: Path, monkeypatch: pytest.MonkeyPatch, url: str, hello: str
) -> None:
    monkeypatch.setenv("SIGNETRY_PUBLIC_URL", url)
    assert installed_home.is_dir()
    with opened() as house:
        assert house.notices.server.hello == hello


def test_a_mail_survives_kill_9_between_the_servers_answer_and_our_note_of_it(house: House, server: RunningMailServer) -> None:
    """It is sent again, as the same mail: the server knows it by its Message-ID."""
    owe_archived(house, with_taro(house))
    handed_over, killed = threading.Event(), threading.Event()

    def hold(_content: bytes) -> None:
        handed_over.set()
        killed.wait(30)

    server.behaviour.on_data = hold
    command = [sys.executable, "-c", "from signetry.cli.main import main; main()", "notice", "send"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert handed_over.wait(30)
        process.kill()
    killed.set()
    server.behaviour.on_data = lambda _content: None
    assert mails(house) == [(State.WAITING, "key-archived")]
    assert house.notices.sender().run().sent == 0
    house.clock.advance(minutes=2)  # type: ignore[attr-defined] # the test's own
    assert house.notices.sender().run().sent == 1
    first, second = server.received
    assert first.content == second.content
    assert first.message["Message-ID"]
