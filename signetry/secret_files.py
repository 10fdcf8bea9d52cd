"""Secrets of endpoints, in files that may change while the service runs: one in a line, the current one first."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from foundation.errors import Unavailable
from signetry.errors import ConfigurationError
from signetry.files import read_secret

_log = structlog.get_logger("signetry.secrets")

# The current one and, until all have changed over, the one before.
MOST_SECRETS = 2

Secret = TypeVar("Secret")
_State = tuple[int, ...] | None


class SecretUnavailable(Unavailable):
    """A secret cannot be read; a peer learns no more than that, the log says why."""

    def __init__(self) -> None:
        super().__init__("a secret of this endpoint cannot be read now")


class SecretFile(Generic[Secret]):
    """The secrets in one file, read again whenever it has changed; shared by all threads.

    Args:
        path: where it is.
        setting: what a complaint calls it.
        convert: makes of a line what is asked for; it raises ValueError, without the secret, where it cannot.
    """

    def __init__(self, path: Path, setting: str, convert: Callable[[str], Secret]) -> None:
        self._path = path
        self._setting = setting
        self._convert = convert
        self._lock = threading.Lock()
        self._state: _State = ()
        self._secrets: tuple[Secret, ...] = ()

    def __call__(self) -> Sequence[Secret]:
        """Return the secrets that are good now, the current one first.

        Raises:
            SecretUnavailable: the file cannot be used. One that was good before does not count: it may have been withdrawn.
        """
        with self._lock:
            state = _state(self._path)
            if state != self._state:
                self._secrets = ()
                try:
                    self._secrets = tuple(self._convert(line) for line in read_lines(self._path, self._setting))
                except (ConfigurationError, ValueError) as error:
                    _log.error("a secret cannot be read", setting=self._setting, reason=str(error))
                self._state = state
            if not self._secrets:
                raise SecretUnavailable
            return self._secrets


def read_lines(path: Path, setting: str) -> list[str]:
    """Return the secrets in a file, without the white space around them.

    Raises:
        ConfigurationError: it cannot be read, is open to every user, or holds none or too many.
    """
    try:
        lines = [line.strip() for line in read_secret(path, setting).decode().splitlines()]
    except UnicodeDecodeError:
        raise ConfigurationError(f"{setting}: {path} is not text in UTF-8") from None
    secrets = [line for line in lines if line]
    if not 1 <= len(secrets) <= MOST_SECRETS:
        raise ConfigurationError(
            f"{setting}: {path} must hold one secret in a line, two at most (the current one, the one before)"
        )
    return secrets


def _state(path: Path) -> _State:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
