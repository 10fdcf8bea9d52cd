"""A web process: three uvicorn servers on inherited sockets, in one event loop. Started by the supervisor, never by hand."""

import argparse
import asyncio
import resource
import signal
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import uvicorn
import uvloop
from starlette.types import ASGIApp

from audit.log import Actor
from foundation.clock import SystemClock
from signetry import assembly, logging, tls
from signetry.app import WebParts, admin_app, device_app, public_app
from signetry.child import die_with_parent
from signetry.house import open_house
from signetry.http_protocol import BoundedHttpToolsProtocol
from signetry.logging import log_reference
from signetry.metrics.recording import Recorder
from signetry.server import LISTENERS
from signetry.settings import Settings, load_settings
from signetry.tls_server import LOOK_EVERY_SECONDS, ServerTls
from signetry.transport import transport_policy

# Less than the supervisor's patience, so that what comes after the last answer still happens.
_GRACE_SECONDS = 8
# An MDM's burst of phones reuses its connections; a phone that is done goes away by itself.
_KEEP_ALIVE_SECONDS = 15
# Of a listener: beyond that a process answers 503 at once and takes no more, instead of running out of file descriptors.
_CONNECTIONS_AT_MOST = 800
# For the connections of all listeners, the database, keys and logs; the usual limit, 1024, would not do.
_FILES_AT_LEAST = len(LISTENERS) * _CONNECTIONS_AT_MOST + 600
# A peer that connects and does not speak TLS counts nowhere until then; the loop's own patience is a minute.
HANDSHAKE_SECONDS = 10.0


class Loop(uvloop.Loop):
    """The event loop, with less patience for peers that connect to a TLS listener and say nothing."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:  # noqa: ANN401 - the base's signature
        """Start a server."""
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = HANDSHAKE_SECONDS
        return await super().create_server(*args, **options)  # type: ignore[return-value] # a Server by another name


class _Server(uvicorn.Server):
    """One of several servers of a process, which takes its signals in one place."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def configure(app: ASGIApp, settings: Settings, context: ssl.SSLContext | None = None) -> uvicorn.Config:
    """Return how uvicorn serves ``app``."""
    return uvicorn.Config(
        app,
        http=BoundedHttpToolsProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        # Its lines would hold the query, and a SCEP request by GET is its query. ``app.Guard`` logs instead.
        access_log=False,
        server_header=False,
        # X-Forwarded-For counts from these peers only, and only as far as the last hop that is not one of them.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(_as_peers(settings.trusted_proxies)),
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        limit_concurrency=_CONNECTIONS_AT_MOST,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )


def _as_peers(networks: Iterable[IPv4Network | IPv6Network]) -> Iterator[str]:
    """Yield networks as the addresses of peers are written; an IPv4 peer of a listener on ``[::]`` has a mapped one."""
    for network in networks:
        yield str(network)
        if isinstance(network, IPv4Network):
            yield f"::ffff:{network.network_address}/{96 + network.prefixlen}"


async def serve(parts: WebParts, settings: Settings, sockets: Mapping[str, socket.socket]) -> None:
    """Serve ``parts`` on the sockets of the three listeners until SIGTERM or SIGINT, then finish what is under way."""
    server_tls = ServerTls(tls.files(settings), SystemClock())
    policy = transport_policy(settings)
    servers = {
        "public": _Server(configure(public_app(parts), settings)),
        "device": _Server(configure(device_app(parts, policy), settings, server_tls.context)),
        "admin": _Server(configure(admin_app(parts, policy), settings, server_tls.context)),
    }

    def stop() -> None:
        for server in servers.values():
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    following = loop.create_task(_follow(server_tls))
    await asyncio.gather(*(server.serve(sockets=[sockets[name]]) for name, server in servers.items()))
    following.cancel()


async def _follow(server_tls: ServerTls) -> None:
    """Keep up with the files of the TLS listeners."""
    while True:
        await asyncio.sleep(LOOK_EVERY_SECONDS)
        try:
            await asyncio.to_thread(server_tls.look)
        except Exception as error:  # noqa: BLE001 - the next look may succeed, and the listeners live without
            log_reference(error, "cannot look at the TLS files")


def allow_enough_files() -> None:
    """Raise the limit of open files, as far as this process may, to what all connections take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_AT_LEAST if hard == resource.RLIM_INFINITY else min(_FILES_AT_LEAST, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    """Run one web process."""
    parser = argparse.ArgumentParser(prog="signetry.web")
    for name in LISTENERS:
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = vars(parser.parse_args())
    die_with_parent(arguments["parent"])
    allow_enough_files()
    settings = load_settings()
    logging.configure(settings.log_level, settings.log_format)
    instruments = Recorder(settings, arguments["name"]).instruments
    parts = assembly.web_parts(open_house(settings, actor=Actor("web"), grouped=True, instruments=instruments))
    sockets = {name: socket.socket(fileno=arguments[name]) for name in LISTENERS}
    parts.start()
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(serve(parts, settings, sockets))
    finally:
        parts.stop()


if __name__ == "__main__":
    main()
