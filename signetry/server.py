"""``signetry serve``: binds the listeners, then supervises the web processes and the worker that live on them."""

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from signetry.errors import AddressTaken, ConfigurationError
from signetry.files import write_private
from signetry.settings import ListenAddress, Settings
from signetry.supervisor import ChildSpec, Supervisor

# The listeners by name; the setting is called after each, and so is the option of signetry.web.
LISTENERS = ("public", "device", "admin")
_SCHEMES = {"public": "http", "device": "https", "admin": "https"}

# Children of a supervisor that was just killed are dying; they hold the addresses a moment longer than it did.
_PATIENCE_SECONDS = 2.0
_BACKLOG = 1024


def serve(settings: Settings, *, on_ready: Callable[[Mapping[str, str]], None] = lambda _addresses: None) -> None:
    """Serve until SIGTERM or SIGINT; schema, keys and TLS files are in place already.

    Args:
        settings: the installation.
        on_ready: told the URL of each listener by name once connections are taken.

    Raises:
        AddressTaken: another process has one of the addresses.
        ConfigurationError: an address is not one of this machine's.
    """
    # Children read the settings again: from the same place, wherever they start.
    os.environ["SIGNETRY_HOME"] = str(settings.home)
    with listening(settings) as sockets:
        addresses = {name: _url(name, bound) for name, bound in sockets.items()}
        options = [option for name, bound in sockets.items() for option in (f"--{name}", str(bound.fileno()))]
        web = [ChildSpec(f"web-{number}", _module("signetry.web", *options, "--parent")) for number in range(settings.workers)]
        worker = ChildSpec("worker", _module("signetry.worker", "--parent"))
        supervisor = Supervisor(
            [*web, worker],
            descriptors=[bound.fileno() for bound in sockets.values()],
            on_change=lambda children: _write_record(settings, addresses, children),
        )
        on_ready(addresses)
        supervisor.run()


@contextmanager
def listening(settings: Settings) -> Iterator[dict[str, socket.socket]]:
    """Bind the three listeners and yield their sockets by name.

    They are shared by the web processes: when one of those is killed, connections that wait to be accepted wait for another.
    """
    with ExitStack() as stack:
        yield {name: stack.enter_context(_bind(getattr(settings, f"{name}_listen"), f"{name}_listen")) for name in LISTENERS}


def _bind(address: ListenAddress, setting: str) -> socket.socket:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return _bound(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigurationError(f"{setting}: cannot listen on {address}: {error.strerror}") from None
            if time.monotonic() > deadline:
                raise AddressTaken(
                    f"{setting}: {address} is taken by another process; stop it, or set {setting} to another address",
                ) from None
            time.sleep(0.05)


def _bound(address: ListenAddress) -> socket.socket:
    family, kind, protocol, _, target = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # Connections of a former process that linger in TIME_WAIT do not keep us from starting.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(target)
        bound.listen(_BACKLOG)
        bound.settimeout(0)
    except BaseException:
        bound.close()
        raise
    return bound


def _url(name: str, bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"{_SCHEMES[name]}://{ListenAddress(host, port).dialled}"


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def _write_record(settings: Settings, addresses: Mapping[str, str], children: Mapping[str, int]) -> None:
    """Say in ``run/serve.json`` who runs where. Nothing relies on it: a stale one, left by a crash, is harmless."""
    record = {
        "pid": os.getpid(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "addresses": dict(addresses),
        "children": dict(children),
    }
    write_private(settings.home / "run" / "serve.json", json.dumps(record, indent=2).encode() + b"\n")
