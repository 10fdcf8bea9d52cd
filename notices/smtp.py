"""Handing mails to a mail server over SMTP (RFC 5321), as a client that submits them (RFC 6409).

Every wait is bounded: an answer by ``timeout_seconds``, the end of a mail by ten times that, however slowly the server dribbles.
"""

import base64
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from typing import Any, Final

from foundation.errors import SignetryError
from notices.errors import MailDeferred, MailRefused, MailServerUnavailable
from notices.server import MailSecurity, MailServer, OutgoingMail

# A server may look into a mail before it says that it has taken it (RFC 5321 section 4.5.3.2.6 would grant ten minutes). Whoever
# hangs up early sends the mail twice.
_AFTER_DATA: Final = 5
_ALTOGETHER: Final = 10
_LONGEST_TEXT: Final = 200
_SERVICE_CLOSING: Final = 421
_TOO_LARGE: Final = 552
_AUTHENTICATION_REQUIRED: Final = 530
_PERMANENT: Final = 500
# Enhanced status codes of security and policy (RFC 3463 section 3.8), "relaying denied" above all: somebody can mend that.
_POLICY: Final = re.compile(rb"5\.7\.\d{1,3}\b")

Reply = tuple[int, bytes]


class SmtpClient:
    """``notices.server.MailClient`` over SMTP; one connection, for one thread. It connects again where it was hung up on."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._smtp: smtplib.SMTP | None = None

    def check(self) -> str:
        """Connect and log on; return what the server calls itself. Raises MailServerUnavailable."""
        with self._bounded():
            smtp = self._connected()
            lines = (smtp.ehlo_resp or b"").splitlines()
        return _text(lines[0]) if lines else self._server.host

    def send(self, mail: OutgoingMail) -> None:
        """Hand over a mail; raises as ``MailClient.send`` says."""
        with self._bounded():
            smtp = self._connected()
            try:
                self._hand_over(smtp, mail)
            except (OSError, smtplib.SMTPException) as error:
                # Whether the server has taken it nobody can say: it is sent again, under the same Message-ID.
                self.close()
                raise MailDeferred(f"the mail server broke off: {_reason(error)}") from None

    def close(self) -> None:
        """Hang up."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            with suppress(OSError, smtplib.SMTPException):
                if smtp.sock is not None:
                    smtp.sock.settimeout(1)
                smtp.quit()
            smtp.close()

    # --- a connection ---

    def _connected(self) -> smtplib.SMTP:
        if self._smtp is not None:
            # It may have been hung up on since the mail before, and nothing of this one is said yet.
            self._reset(self._smtp)
        if self._smtp is not None:
            return self._smtp
        try:
            return self._connect()
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise MailServerUnavailable(f"{self._named}: {_reason(error)}") from None
        except SignetryError as error:
            self.close()
            raise MailServerUnavailable(str(error)) from None

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.security is MailSecurity.TLS:
            smtp: smtplib.SMTP = _Tls(self, server, context=_trust(server))
        else:
            smtp = _Plain(self, server)
        self._expect(smtp.ehlo(), "does not speak ESMTP")
        if server.security is MailSecurity.STARTTLS:
            if not smtp.has_extn("starttls"):
                raise MailServerUnavailable(f"{self._named} does not offer STARTTLS")
            self._expect(smtp.starttls(context=_trust(server)), "refuses STARTTLS")
            self._expect(smtp.ehlo(), "does not speak ESMTP over TLS")
        if server.user:
            self._log_on(smtp)
        return smtp

    def _log_on(self, smtp: smtplib.SMTP) -> None:
        """Log on with PLAIN (RFC 4616) or LOGIN; smtplib's own would not send a password beyond ASCII."""
        mechanisms = smtp.esmtp_features.get("auth", "").upper().split()
        if not {"PLAIN", "LOGIN"} & set(mechanisms):
            raise MailServerUnavailable(f"{self._named} offers no log-on by PLAIN or LOGIN")
        user, password = self._server.user.encode(), self._server.password().encode()
        if "PLAIN" in mechanisms:
            reply = smtp.docmd("AUTH", "PLAIN " + _base64(b"\0" + user + b"\0" + password))
        else:
            reply = smtp.docmd("AUTH", "LOGIN " + _base64(user))
            if _is_intermediate(reply):
                reply = smtp.docmd(_base64(password))
        if not _is_success(reply):
            # Without the server's words: some repeat what they were sent.
            raise MailServerUnavailable(f"{self._named} refuses the log-on of {self._server.user} (code {reply[0]})")

    def _expect(self, reply: Reply, otherwise: str) -> None:
        if not _is_success(reply):
            raise MailServerUnavailable(f"{self._named} {otherwise}: {_said(reply)}")

    def take(self, smtp: smtplib.SMTP) -> None:
        """Note the connection that is being opened, so that it can be ended while its server keeps silent."""
        self._smtp = smtp

    # --- a mail ---

    def _hand_over(self, smtp: smtplib.SMTP, mail: OutgoingMail) -> None:
        if mail.international and not (smtp.has_extn("smtputf8") and smtp.has_extn("8bitmime")):
            raise MailRefused(f"{self._named} takes no address with letters beyond ASCII (SMTPUTF8, RFC 6531)")
        options = ["SMTPUTF8", "BODY=8BITMIME"] if mail.international else []
        if smtp.has_extn("size"):
            options.append(f"size={len(mail.content)}")
        # Its own bytes, since smtplib sends a str as ASCII unless the session is one of SMTPUTF8.
        smtp.command_encoding = "utf-8" if mail.international else "ascii"
        self._sender_taken(smtp.mail(mail.sender, options), mail)
        self._mail_taken(smtp.rcpt(mail.recipient))
        if smtp.sock is not None:
            smtp.sock.settimeout(self._server.timeout_seconds * _AFTER_DATA)
        try:
            reply = smtp.data(mail.content)
        except smtplib.SMTPDataError as error:
            reply = (error.smtp_code, _bytes(error.smtp_error))
        if smtp.sock is not None:
            smtp.sock.settimeout(self._server.timeout_seconds)
        self._mail_taken(reply)

    def _sender_taken(self, reply: Reply, mail: OutgoingMail) -> None:
        """Return if MAIL FROM was accepted. What is wrong with the sender is wrong with every mail, its size is not."""
        if _is_success(reply):
            return
        if reply[0] == _TOO_LARGE or (mail.international and reply[0] >= _PERMANENT):
            raise MailRefused(_said(reply))
        raise MailServerUnavailable(f"{self._named} refuses the sender {mail.sender}: {_said(reply)}")

    def _mail_taken(self, reply: Reply) -> None:
        code, words = reply
        if _is_success(reply):
            return
        if code == _SERVICE_CLOSING:
            raise MailServerUnavailable(f"{self._named}: {_said(reply)}")
        if code < _PERMANENT or code == _AUTHENTICATION_REQUIRED or _POLICY.match(words):
            raise MailDeferred(_said(reply))
        raise MailRefused(_said(reply))

    def _reset(self, smtp: smtplib.SMTP) -> None:
        """Leave the connection as if the mail had never been begun; hang up where that cannot be."""
        try:
            if _is_success(smtp.rset()):
                return
        except (OSError, smtplib.SMTPException):
            pass
        self.close()

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """End the connection when the block takes too long altogether: the timeout of a socket begins anew with every byte."""
        timer = Timer(self._server.timeout_seconds * _ALTOGETHER, self._break_off)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _break_off(self) -> None:
        smtp = self._smtp
        if smtp is not None and smtp.sock is not None:
            with suppress(OSError):
                # That of a TLS socket would go on in clear.
                socket.socket.shutdown(smtp.sock, socket.SHUT_RDWR)

    @property
    def _named(self) -> str:
        return f"the mail server {self._server.host}:{self._server.port}"


class _Plain(smtplib.SMTP):
    """A connection that is known before it is made."""

    def __init__(self, client: SmtpClient, server: MailServer) -> None:
        client.take(self)
        super().__init__(server.host, server.port, server.hello, timeout=server.timeout_seconds)


class _Tls(smtplib.SMTP_SSL):
    """The same, over TLS from the first byte."""

    def __init__(self, client: SmtpClient, server: MailServer, *, context: ssl.SSLContext) -> None:
        client.take(self)
        super().__init__(server.host, server.port, server.hello, timeout=server.timeout_seconds, context=context)


def _trust(server: MailServer) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=server.ca_file)
    except OSError as error:
        raise MailServerUnavailable(f"the file of authorities cannot be used: {error.strerror or type(error).__name__}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_success(reply: Reply) -> bool:
    return 200 <= reply[0] < 300  # noqa: PLR2004 - RFC 5321 section 4.2.1


def _is_intermediate(reply: Reply) -> bool:
    return 300 <= reply[0] < 400  # noqa: PLR2004 - as above


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _bytes(words: Any) -> bytes:  # noqa: ANN401 - smtplib has both
    return words if isinstance(words, bytes) else str(words).encode()


def _said(reply: Reply) -> str:
    """Return what the server answers, in its own words as far as they can be printed."""
    code, words = reply
    return f"it answers {code} {_text(words)}".rstrip() if code > 0 else "it does not speak SMTP"


def _text(words: bytes) -> str:
    text = " ".join(words.decode("utf-8", "replace").split())
    return "".join(character if character.isprintable() else "?" for character in text)[:_LONGEST_TEXT]


def _reason(error: OSError | smtplib.SMTPException) -> str:
    match error:
        case smtplib.SMTPResponseException():
            reason = _said((error.smtp_code, _bytes(error.smtp_error)))
        case ssl.SSLCertVerificationError():
            reason = f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            reason = f"TLS failed: {error.reason or type(error).__name__}"
        case TimeoutError() | smtplib.SMTPServerDisconnected(__context__=TimeoutError()):
            reason = "it did not answer in time"
        case smtplib.SMTPServerDisconnected():
            reason = "it hung up"
        case socket.gaierror():
            reason = "its name is not known"
        case _:
            reason = (error.strerror if isinstance(error, OSError) else None) or _text(str(error).encode())
    return reason or type(error).__name__
