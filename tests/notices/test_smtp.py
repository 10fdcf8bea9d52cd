"""Handing mails to a mail server: over TLS or not at all, bounded in time, its answers told apart."""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from foundation.errors import Unavailable
from notices.errors import MailDeferred, MailRefused, MailServerUnavailable
from notices.server import MailSecurity, MailServer, OutgoingMail
from notices.smtp import SmtpClient
from tests.daemons.directories.tls import ServerTls, TestAuthority
from tests.daemons.mail_server import RunningMailServer, running_mail_server, scripted_server

MAIL = OutgoingMail(
    sender="pki@example.com",
    recipient="taro@example.com",
    content=b"From: pki@example.com\r\nTo: taro@example.com\r\nSubject: Hello\r\n\r\n.a dot first\r\n",
    international=False,
)
INTERNATIONAL = replace(MAIL, recipient="太郎@example.com", international=True)
GREETING = b"220 mx ESMTP\r\n"
HELLO = (GREETING, None, b"250 mx\r\n")


def plain(port: int, **changes: object) -> MailServer:
    server = MailServer(host="127.0.0.1", port=port, security=MailSecurity.NONE, hello="pki.example.com", timeout_seconds=5)
    return replace(server, **changes)  # type: ignore[arg-type]


def protected(running: RunningMailServer, tls: ServerTls, **changes: object) -> MailServer:
    return plain(running.port, security=MailSecurity.STARTTLS, ca_file=tls.ca, **changes)


def send(server: MailServer, mail: OutgoingMail = MAIL) -> None:
    with closing(SmtpClient(server)) as client:
        client.send(mail)


def test_a_mail_is_handed_over_as_it_is() -> None:
    with running_mail_server() as running:
        client = SmtpClient(plain(running.port))
        client.send(MAIL)
        client.send(replace(MAIL, recipient="hanako@example.com"))
        client.close()
        first, second = running.received
        assert (first.sender, first.recipients, first.content) == ("pki@example.com", ("taro@example.com",), MAIL.content)
        assert second.recipients == ("hanako@example.com",)
        assert running.behaviour.connections == 1
        assert set(running.behaviour.hellos) == {"pki.example.com"}


def test_starttls_protects_the_mail_and_the_log_on(server_tls: ServerTls) -> None:
    with running_mail_server(start_tls=server_tls, logins={"pki": "pässword"}) as running:
        client = SmtpClient(protected(running, server_tls, user="pki", password=lambda: "pässword"))
        client.send(MAIL)
        client.close()
        (received,) = running.received
        assert received.over_tls
        assert received.user == "pki"


def test_tls_from_the_first_byte(server_tls: ServerTls) -> None:
    with running_mail_server(tls=server_tls) as running:
        client = SmtpClient(plain(running.port, security=MailSecurity.TLS, ca_file=server_tls.ca))
        assert client.check().startswith("mx.example.net")
        client.send(MAIL)
        client.close()
        assert running.received[0].over_tls


def test_log_on_by_login_where_there_is_no_plain(server_tls: ServerTls) -> None:
    with running_mail_server(start_tls=server_tls, logins={"pki": "secret"}, mechanisms=("LOGIN",)) as running:
        client = SmtpClient(protected(running, server_tls, user="pki", password=lambda: "secret"))
        client.send(MAIL)
        client.close()
        assert running.received[0].user == "pki"


def test_a_server_without_starttls_gets_neither_mail_nor_password() -> None:
    with running_mail_server() as running:
        server = plain(running.port, security=MailSecurity.STARTTLS, user="pki", password=lambda: pytest.fail("was asked"))
        with pytest.raises(MailServerUnavailable, match="does not offer STARTTLS"):
            send(server)
        assert running.received == []


def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(server_tls: ServerTls, tmp_path: Path) -> None:
    other = TestAuthority(tmp_path / "other")
    with running_mail_server(start_tls=server_tls) as running:
        with pytest.raises(MailServerUnavailable, match="its certificate is not trusted"):
            send(protected(running, replace(server_tls, ca=other.file)))
        with pytest.raises(MailServerUnavailable, match="its certificate is not trusted"):
            send(protected(running, server_tls, host="localhost"))
        assert running.received == []


def test_what_was_said_before_tls_does_not_count(server_tls: ServerTls) -> None:
    """An answer that somebody on the way slips in behind the go-ahead must not be taken for the server's (CVE-2011-0411)."""
    with scripted_server(
        *(GREETING, None, b"250-mx\r\n250 STARTTLS\r\n"),
        *(None, b"220 go ahead\r\n250-mx\r\n250 AUTH PLAIN\r\n", 0.5),
    ) as port:
        server = plain(port, security=MailSecurity.STARTTLS, ca_file=server_tls.ca, user="a", password=lambda: "b")
        with pytest.raises(MailServerUnavailable):
            send(server)


def test_a_refused_log_on_names_the_user_and_not_the_password(server_tls: ServerTls) -> None:
    with running_mail_server(start_tls=server_tls, logins={"pki": "right"}) as running:
        client = SmtpClient(protected(running, server_tls, user="pki", password=lambda: "wrong-secret"))
        with pytest.raises(MailServerUnavailable, match="refuses the log-on of pki") as refused:
            client.check()
        assert "wrong-secret" not in str(refused.value)


def test_a_server_that_repeats_the_password_is_not_quoted() -> None:
    echo = b"535 no such user with dHdvAGh1bnRlcjI= hunter2\r\n"
    with scripted_server(GREETING, None, b"250-mx\r\n250 AUTH PLAIN\r\n", None, echo, None) as port:
        with pytest.raises(MailServerUnavailable) as refused:
            send(plain(port, user="two", password=lambda: "hunter2"))
        assert "hunter2" not in str(refused.value)
        assert "535" in str(refused.value)


def test_a_password_that_cannot_be_read_is_the_servers_trouble_not_the_mails() -> None:
    def unreadable() -> str:
        raise Unavailable("notices.password_file: it cannot be read")

    with running_mail_server() as running:
        behaving = scripted_server(GREETING, None, b"250-mx\r\n250 AUTH PLAIN\r\n", None)
        with behaving as port, pytest.raises(MailServerUnavailable, match="cannot be read"):
            send(plain(port, user="pki", password=unreadable))
        assert running.received == []


def test_a_server_without_a_log_on_we_know_is_told_nothing() -> None:
    server = scripted_server(GREETING, None, b"250-mx\r\n250 AUTH GSSAPI\r\n", None)
    with server as port, pytest.raises(MailServerUnavailable, match="no log-on by PLAIN or LOGIN"):
        send(plain(port, user="pki", password=lambda: pytest.fail("was asked")))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("451 4.7.1 Greylisted, come back later", MailDeferred),
        ("452 4.2.2 mailbox full", MailDeferred),
        ("550 5.1.1 no such user", MailRefused),
        ("554 5.7.1 relay access denied", MailDeferred),
        ("530 5.7.0 authentication required", MailDeferred),
        ("421 4.3.2 shutting down", MailServerUnavailable),
    ],
)
def test_answers_about_a_recipient_are_told_apart(reply: str, kind: type[Exception]) -> None:
    with running_mail_server() as running:
        running.behaviour.on_recipient = lambda address: reply if address == MAIL.recipient else None
        client = SmtpClient(plain(running.port))
        with pytest.raises(kind, match=reply[:3]):
            client.send(MAIL)
        client.send(replace(MAIL, recipient="hanako@example.com"))
        client.close()
        assert [each.recipients for each in running.received] == [("hanako@example.com",)]


def test_a_refused_content_is_the_mails_own_trouble() -> None:
    with running_mail_server() as running:
        running.behaviour.on_data = lambda _content: "550 5.6.0 we do not like it"
        client = SmtpClient(plain(running.port))
        with pytest.raises(MailRefused, match="we do not like it"):
            client.send(MAIL)
        running.behaviour.on_data = lambda _content: "451 4.3.0 disk full"
        with pytest.raises(MailDeferred, match="disk full"):
            client.send(MAIL)
        client.close()


def test_a_refused_sender_is_every_mails_trouble_and_a_size_is_not() -> None:
    with running_mail_server(largest=10) as running:
        with pytest.raises(MailRefused, match="552"):
            send(plain(running.port))
        running.behaviour.on_sender = lambda _address: "550 5.7.1 not you"
        with pytest.raises(MailServerUnavailable, match=r"refuses the sender pki@example\.com"):
            send(plain(running.port), replace(MAIL, content=b"\r\n"))


def test_an_address_beyond_ascii_needs_a_server_that_takes_it() -> None:
    with running_mail_server() as running:
        client = SmtpClient(plain(running.port))
        client.send(INTERNATIONAL)
        client.send(MAIL)
        client.close()
        assert [(each.recipients, each.utf8) for each in running.received] == [
            (("太郎@example.com",), True),
            (("taro@example.com",), False),
        ]
    with running_mail_server(utf8=False) as running, pytest.raises(MailRefused, match="SMTPUTF8"):
        send(plain(running.port), INTERNATIONAL)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with running_mail_server() as running:
        port = running.port
    with pytest.raises(MailServerUnavailable, match="refused"):
        send(plain(port))


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(MailServerUnavailable, match="name"):
        send(plain(25, host="mail.invalid"))


def test_a_server_that_says_nothing_is_given_up() -> None:
    with scripted_server(30.0) as port:
        started = time.monotonic()
        with pytest.raises(MailServerUnavailable, match="in time"):
            send(plain(port, timeout_seconds=1))
        assert time.monotonic() - started < 5


def test_a_server_that_dribbles_is_given_up() -> None:
    """Each byte comes in time, and the answer never does."""
    dribble = [step for _ in range(100) for step in (b"2", 0.4)]
    with scripted_server(*dribble) as port:
        started = time.monotonic()
        with pytest.raises(MailServerUnavailable):
            send(plain(port, timeout_seconds=1))
        assert time.monotonic() - started < 15


def test_a_server_that_breaks_off_may_have_taken_the_mail() -> None:
    accepted = (None, b"250 ok\r\n", None, b"250 ok\r\n", None, b"354 go\r\n", None)
    with scripted_server(*HELLO, *accepted) as port, pytest.raises(MailDeferred, match="broke off"):
        send(plain(port))


def test_a_connection_that_was_hung_up_on_is_made_anew() -> None:
    lines = MAIL.content.count(b"\r\n") + 1
    whole = (*HELLO, None, b"250 ok\r\n", None, b"250 ok\r\n", None, b"354 go\r\n", *([None] * lines), b"250 taken\r\n")
    with scripted_server(*whole) as port:
        client = SmtpClient(plain(port))
        client.send(MAIL)
        client.send(MAIL)
        client.close()


def test_what_is_no_mail_server_is_said_so() -> None:
    with scripted_server(b"SSH-2.0-OpenSSH_9.2\r\n") as port, pytest.raises(MailServerUnavailable, match="does not speak SMTP"):
        send(plain(port))


def test_a_file_of_authorities_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with scripted_server(*(GREETING, None, b"250-mx\r\n250 STARTTLS\r\n"), None) as port:
        server = plain(port, security=MailSecurity.STARTTLS, ca_file=tmp_path / "nowhere.pem")
        with pytest.raises(MailServerUnavailable, match="the file of authorities cannot be used: No such file"):
            send(server)
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(MailServerUnavailable, match="the file of authorities cannot be used"):
        send(plain(1, security=MailSecurity.TLS, ca_file=tmp_path / "empty.pem"))


def test_nonsense_is_quoted_in_bounds_and_without_control_characters() -> None:
    with scripted_server(b"554 \x1b[31mgo away " + b"x" * 3000 + b"\r\n") as port:
        with pytest.raises(MailServerUnavailable) as refused:
            send(plain(port))
        assert "\x1b" not in str(refused.value)
        assert len(str(refused.value)) < 300
