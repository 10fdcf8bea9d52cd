"""A mail server on loopback: aiosmtpd on real sockets, with STARTTLS, TLS, log-on, and refusals as a test wants them.

Beside it a server that says what a script has it say, for what no decent server does: hang, dribble, break off.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.daemons.directories.tls import ServerTls


@dataclass(frozen=True, slots=True)
class Received:
    """A mail that the server has taken: envelope and content."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    utf8: bool
    over_tls: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        """The content, parsed."""
        return message_from_bytes(self.content, policy=policy.default)


@dataclass
class Behaviour:
    """How the server behaves; a test may change it at any time.

    ``on_sender``, ``on_recipient`` and ``on_data`` return a reply other than 250, or nothing.
    """

    on_sender: Callable[[str], str | None] = lambda _address: None
    on_recipient: Callable[[str], str | None] = lambda _address: None
    on_data: Callable[[bytes], str | None] = lambda _content: None
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    hellos: list[str] = field(default_factory=list)


class _Handler:
    """What aiosmtpd asks."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self,
        server: Any,  # noqa: ANN401, ARG002 - aiosmtpd has no types
        session: Any,  # noqa: ANN401
        envelope: Any,  # noqa: ANN401, ARG002
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        session.host_name = hostname
        self._behaviour.hellos.append(hostname)
        return responses

    async def handle_MAIL(  # noqa: N802
        self,
        server: Any,  # noqa: ANN401, ARG002
        session: Any,  # noqa: ANN401, ARG002
        envelope: Any,  # noqa: ANN401
        address: str,
        options: list[str],
    ) -> str:
        refusal = self._behaviour.on_sender(address)
        if refusal:
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self,
        server: Any,  # noqa: ANN401, ARG002
        session: Any,  # noqa: ANN401, ARG002
        envelope: Any,  # noqa: ANN401
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> str:
        refusal = self._behaviour.on_recipient(address)
        if refusal:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802, ANN401
        refusal = self._behaviour.on_data(envelope.content)
        if refusal:
            return refusal
        login = session.auth_data
        self._behaviour.received.append(
            Received(
                sender=envelope.mail_from,
                recipients=tuple(envelope.rcpt_tos),
                content=envelope.content,
                utf8=envelope.smtp_utf8,
                over_tls=server.transport.get_extra_info("sslcontext") is not None,
                user=login.login.decode() if isinstance(login, LoginPassword) else "",
            )
        )
        return "250 taken"


@dataclass(frozen=True)
class RunningMailServer:
    """A mail server that runs, and what it was handed."""

    port: int
    behaviour: Behaviour

    @property
    def received(self) -> list[Received]:
        """What it was handed, in this order."""
        return self.behaviour.received


@contextmanager
def running_mail_server(
    *,
    start_tls: ServerTls | None = None,
    tls: ServerTls | None = None,
    logins: dict[str, str] | None = None,
    mechanisms: Sequence[str] = ("PLAIN", "LOGIN"),
    utf8: bool = True,
    largest: int = 4 * 1024 * 1024,
    port: int = 0,
) -> Iterator[RunningMailServer]:
    """Run a mail server on 127.0.0.1; ``logins`` maps users to passwords, and makes everybody log on over TLS."""
    behaviour = Behaviour()
    handler = _Handler(behaviour)
    protocols: list[Any] = []

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: LoginPassword) -> AuthResult:  # noqa: ANN401
        good = (logins or {}).get(given.login.decode()) == given.password.decode()
        return AuthResult(success=good, auth_data=given, handled=False)

    def protocol() -> Any:  # noqa: ANN401
        behaviour.connections += 1
        made = SMTP(
            handler,
            data_size_limit=largest,
            enable_SMTPUTF8=utf8,
            hostname="mx.example.net",
            tls_context=_context(start_tls) if start_tls else None,
            auth_required=logins is not None,
            auth_require_tls=tls is None,
            authenticator=authenticate,
            auth_exclude_mechanism=[each for each in ("PLAIN", "LOGIN") if each not in mechanisms],
            timeout=60,
        )
        protocols.append(made)
        return made

    ready = threading.Event()
    shared: dict[str, Any] = {}

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        shared["loop"], shared["stop"] = loop, asyncio.Event()
        context = _context(tls) if tls else None
        server = await loop.create_server(protocol, "127.0.0.1", port, ssl=context)
        shared["port"] = server.sockets[0].getsockname()[1]
        ready.set()
        await shared["stop"].wait()
        server.close()
        for made in protocols:
            if made.transport is not None and not made.transport.is_closing():
                made.transport.abort()
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="mail-server", daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield RunningMailServer(shared["port"], behaviour)
    finally:
        shared["loop"].call_soon_threadsafe(shared["stop"].set)
        thread.join(10)
        assert not thread.is_alive()


# What a scripted server does: sends bytes, sleeps for seconds, reads a line (None), hangs up at the end.
Step = bytes | float | None


@contextmanager
def scripted_server(*steps: Step) -> Iterator[int]:
    """Run a server that plays ``steps`` to everybody who connects; yield its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def play(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines, suppress(OSError):
            for step in steps:
                if step is None:
                    lines.readline()
                elif isinstance(step, float):
                    ended.wait(step)
                else:
                    connection.sendall(step)
                if ended.is_set():
                    return

    players: list[threading.Thread] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                player = threading.Thread(target=play, args=(connection,), daemon=True)
                player.start()
                players.append(player)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for player in players:
            player.join(5)


def _context(tls: ServerTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    return context
