"""Where an installation keeps the authorities' keys: in encrypted files, or in a token."""

from typing import TYPE_CHECKING

from ca.keys import FileKeyStore, KeyStore
from signetry.files import read_secret
from signetry.sections import Pkcs11Settings
from signetry.settings import Settings

if TYPE_CHECKING:
    from ca.pkcs11 import Pkcs11KeyStore


def open_keystore(settings: Settings) -> KeyStore:
    """Return the key store that the settings name. A token is not looked for until a key is needed.

    Raises:
        ConfigurationError: the passphrase of the files cannot be read.
    """
    if settings.pkcs11.is_configured:
        return token_keystore(settings, settings.pkcs11)
    return FileKeyStore(settings.home / "keys", read_secret(settings.key_passphrase_file, "key_passphrase_file"))


def token_keystore(settings: Settings, configured: Pkcs11Settings) -> "Pkcs11KeyStore":
    """Return the key store in the token that ``configured`` names; all three of its settings are given."""
    # An installation without a token has no need of the library.
    from ca.pkcs11 import Pkcs11KeyStore  # noqa: PLC0415
    from ca.pkcs11_pin import PinFile  # noqa: PLC0415
    from ca.pkcs11_session import TokenLocation  # noqa: PLC0415

    assert configured.module is not None and configured.pin_file is not None  # noqa: S101, PT018 - is_configured
    pin = PinFile(configured.pin_file, settings.home / "run" / "pin-refused")
    return Pkcs11KeyStore(TokenLocation(configured.module, configured.token, pin))
