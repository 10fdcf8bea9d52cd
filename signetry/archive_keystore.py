"""Where the archive's private keys are: in files under a passphrase of their own, or in a token of their own.

Only the archive process, and commands that make a key, open it; web processes and worker never do.
"""

import secrets
from contextlib import suppress

from ca.keys import FileKeyStore, KeyStore
from foundation.files import create_private
from signetry.errors import ConfigurationError
from signetry.files import read_secret
from signetry.settings import Settings

_PASSPHRASE_BYTES = 32
_SETTING = "archive.passphrase_file"


def open_archive_keystores(settings: Settings) -> list[KeyStore]:
    """Return the stores of archive keys: first the one where new keys are made, then the files of before there was a token.

    Raises:
        ConfigurationError: the passphrase of the files cannot be read, and they are needed.
    """
    configured = settings.archive.pkcs11
    if not configured.is_configured:
        return [_files(settings)]
    # An installation without a token has no need of the library.
    from ca.pkcs11 import Pkcs11KeyStore  # noqa: PLC0415
    from ca.pkcs11_pin import PinFile  # noqa: PLC0415
    from ca.pkcs11_session import TokenLocation  # noqa: PLC0415

    assert configured.module is not None and configured.pin_file is not None  # noqa: S101, PT018 - is_configured
    pin = PinFile(configured.pin_file, settings.home / "run" / "archive-pin-refused")
    stores: list[KeyStore] = [Pkcs11KeyStore(TokenLocation(configured.module, configured.token, pin))]
    if settings.archive.passphrase_file.exists():
        stores.append(_files(settings))
    return stores


def ensure_archive_passphrase(settings: Settings) -> None:
    """Make the passphrase of the files, where there is none and files are what keeps the keys.

    Raises:
        ConfigurationError: it is gone, and there are keys that only it opens.
    """
    path = settings.archive.passphrase_file
    if settings.archive.pkcs11.is_configured or path.exists():
        return
    folder = settings.home / "archive-keys"
    if any(folder.glob("*.key")):
        raise ConfigurationError(f"{_SETTING}: {path} is missing, and {folder} holds keys; restore it")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Another run may have written it meanwhile: then both work with that one.
    with suppress(FileExistsError):
        create_private(path, secrets.token_hex(_PASSPHRASE_BYTES).encode() + b"\n")


def _files(settings: Settings) -> FileKeyStore:
    return FileKeyStore(settings.home / "archive-keys", read_secret(settings.archive.passphrase_file, _SETTING))
