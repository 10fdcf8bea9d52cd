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
from urllib.parse import urlsplit

import structlog

from foundation.files import replace_private
from signetry.errors import AddressTaken, ConfigurationError
from signetry.sections import ListenAddress
from signetry.settings import Settings
from signetry.supervisor import ChildSpec, Supervisor

# The listeners by name; the setting is called after each, and so is the option of signetry.web.
LISTENERS = ("public", "device", "admin")
_SCHEMES = {"public": "http", "device": "https", "admin": "https"}

# Where prometheus_client, which is too slow to import for its own sake, looks for the files that the processes share.
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# Children of a supervisor that was just killed are dying; they hold the addresses a moment longer than it did.
_PATIENCE_SECONDS = 2.0
_BACKLOG = 1024

_log = structlog.get_logger("signetry.server")


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
    with listening(settings) as by_process:
        # Behind the sockets: whoever has them is the one service of this installation.
        share_metrics(settings)
        addresses = {name: _url(name, bound) for name, bound in by_process[0].items()}
        web = [_web_process(number, sockets) for number, sockets in enumerate(by_process)]
        worker = ChildSpec("worker", _module("signetry.worker", "--parent"))
        archive = [ChildSpec("archive", _module("signetry.archive_process", "--parent"))] if settings.archive.online else []
        supervisor = Supervisor([*web, worker, *archive], on_change=lambda children: _write_record(settings, addresses, children))
        on_ready(addresses)
        supervisor.run()


def public_address(settings: Settings) -> ListenAddress:
    """Return where the public listener is; where that was left to the system, what the service wrote down when it started."""
    address = settings.public_listen
    if address.port:
        return address
    try:
        record = json.loads((settings.home / "run" / "serve.json").read_bytes())
        return ListenAddress.parse(urlsplit(record["addresses"]["public"]).netloc)
    except (OSError, ValueError, KeyError, TypeError):
        # Nothing was started yet, or the file is somebody else's: nothing listens on port 0.
        return address


def _web_process(number: int, sockets: Mapping[str, socket.socket]) -> ChildSpec:
    options = [option for name, bound in sockets.items() for option in (f"--{name}", str(bound.fileno()))]
    descriptors = tuple(bound.fileno() for bound in sockets.values())
    name = f"web-{number}"
    return ChildSpec(name, _module("signetry.web", *options, "--name", name, "--parent"), descriptors)


@contextmanager
def listening(settings: Settings) -> Iterator[list[dict[str, socket.socket]]]:
    """Bind the three listeners for each web process and yield their sockets: by name, one mapping a process.

    Each process has sockets of its own on the same addresses, among which the kernel spreads connections: of a socket they share,
    the process that wakes first takes everything that waits. The supervisor keeps all of them open, so that connections which
    wait for a process that was killed are taken by its successor.
    """
    with ExitStack() as stack:
        by_process: list[dict[str, socket.socket]] = [{} for _ in range(settings.workers)]
        for name in LISTENERS:
            address = _free(getattr(settings, f"{name}_listen"), f"{name}_listen")
            for sockets in by_process:
                sockets[name] = stack.enter_context(_bound(address, shared=True))
                sockets[name].listen(_BACKLOG)
        yield by_process


def _free(address: ListenAddress, setting: str) -> ListenAddress:
    """Return ``address``, with a port chosen where it leaves that open, once nobody else listens there.

    Asked with a socket that shares with nobody: those that share a port would share it with another service, too.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with _bound(address, shared=False) as alone:
                return ListenAddress(*alone.getsockname()[:2])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigurationError(f"{setting}: cannot listen on {address}: {error.strerror}") from None
            if time.monotonic() > deadline:
                raise AddressTaken(
                    f"{setting}: {address} is taken by another process; stop it, or set {setting} to another address",
                ) from None
            time.sleep(0.05)


def _bound(address: ListenAddress, *, shared: bool) -> socket.socket:
    family, kind, protocol, _, target = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # Connections of a former process that linger in TIME_WAIT do not keep us from starting.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        bound.bind(target)
        bound.settimeout(0.0)
    except BaseException:
        bound.close()
        raise
    return bound


def _url(name: str, bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"{_SCHEMES[name]}://{ListenAddress(host, port).dialled}"


def share_metrics(settings: Settings) -> None:
    """Name the children an empty directory to count in; what a predecessor left there is not this service's."""
    directory = settings.home / "run" / "metrics"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in directory.glob("*.db"):
            left.unlink()
    except OSError as error:
        _log.warning("the processes count each for itself", directory=str(directory), reason=str(error))
        os.environ.pop(METRICS_VARIABLE, None)
    else:
        os.environ[METRICS_VARIABLE] = str(directory)


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def _write_record(settings: Settings, addresses: Mapping[str, str], children: Mapping[str, int]) -> None:
    """Say in ``run/serve.json`` who runs where. A stale one, left by a crash, is harmless."""
    record = {
        "pid": os.getpid(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "addresses": dict(addresses),
        "children": dict(children),
    }
    replace_private(settings.home / "run" / "serve.json", json.dumps(record, indent=2).encode() + b"\n")
