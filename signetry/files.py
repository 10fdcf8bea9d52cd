"""Secrets that operators hand in as files."""

import os
import stat
from pathlib import Path

from signetry.errors import ConfigurationError


def read_secret(path: Path, setting: str, *, at_most: int = 4096, may_be_open: bool = False) -> bytes:
    """Return the secret that ``path`` holds, without the newline an editor leaves at its end.

    Args:
        path: where it is.
        setting: what a refusal calls it.
        at_most: how many bytes it may have.
        may_be_open: whether a file that everybody can read is taken all the same.

    Raises:
        ConfigurationError: the file is missing, empty, too long, or readable by everybody; the message names ``setting``.
    """
    try:
        with path.open("rb") as file:
            if not may_be_open and is_open_to_all(os.fstat(file.fileno())):
                raise ConfigurationError(f"{setting}: {path} is open to every user of this machine; chmod 600 it")
            secret = file.read(at_most + 1).rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    if not secret or len(secret) > at_most:
        raise ConfigurationError(f"{setting}: {path} must hold between 1 and {at_most} bytes")
    return secret


def is_open_to_all(status: os.stat_result) -> bool:
    """Say whether a file lets users in who are neither its owner nor of its group."""
    return bool(stat.S_IMODE(status.st_mode) & stat.S_IRWXO)
