"""Where the archive process listens: a socket in the state directory that only its user reaches."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SOCKET: Final = "archive.sock"
_BACKLOG: Final = 64
# struct ucred: process, user, group (unix(7)).
_CREDENTIALS: Final = struct.Struct("3i")


@contextmanager
def listening(home: Path) -> Iterator[socket.socket]:
    """Listen in the state directory; whoever listened there before is not connected to any more.

    Raises:
        OSError: it cannot be.
    """
    folder = home / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    beginning = f".{_SOCKET}.{os.getpid()}"
    before = os.umask(0o177)
    try:
        with _reached(folder) as reached:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            (folder / beginning).unlink(missing_ok=True)
            listener.bind(f"{reached}/{beginning}")
    finally:
        os.umask(before)
    with listener:
        listener.listen(_BACKLOG)
        # Only now does it have its name: whoever finds it is answered.
        (folder / beginning).rename(folder / _SOCKET)
        yield listener


def connected(home: Path) -> socket.socket:
    """Return a connection to the archive process that listens in a state directory.

    Raises:
        OSError: none does (FileNotFoundError, ConnectionRefusedError), or it is another user's (PermissionError).
    """
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _reached(home / "run") as reached:
            channel.connect(f"{reached}/{_SOCKET}")
        require_same_user(channel)
    except BaseException:
        channel.close()
        raise
    return channel


def require_same_user(channel: socket.socket) -> None:
    """Return if the process at the other end runs as our own user. Raises PermissionError."""
    _, user, _ = _CREDENTIALS.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if user != os.geteuid():
        raise PermissionError(f"the other end is user {user}'s")


@contextmanager
def _reached(folder: Path) -> Iterator[str]:
    """Yield a short name for a folder: an address holds 107 bytes, and state directories may lie deeper."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
