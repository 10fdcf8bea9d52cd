"""Secrets that operators hand in as files."""

import os
import stat
from pathlib import Path

from signetry.errors import ConfigurationError


def read_secret(path: Path, setting: str, *, at_most: int = 4096) -> bytes:
    """Return the secret that ``path`` holds, without the newline an editor leaves at its end.

    Raises:
        ConfigurationError: the file is missing, empty, too long, or readable by everybody; the message names ``setting``.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & stat.S_IRWXO:
                raise ConfigurationError(f"{setting}: {path} is open to every user of this machine; chmod 600 it")
            secret = file.read(at_most + 1).rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    if not secret or len(secret) > at_most:
        raise ConfigurationError(f"{setting}: {path} must hold between 1 and {at_most} bytes")
    return secret
