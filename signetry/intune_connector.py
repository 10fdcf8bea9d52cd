"""The key of Intune's certificate connector, as an installation has it configured."""

import os
import stat

from intune.errors import BadConnectorKey
from intune.imported_pfx import ConnectorKey
from pkcs_import.intune_plan import Connector
from signetry.errors import ConfigurationError
from signetry.intune_settings import IntuneSettings

_MAX_BYTES = 16384


def connector_key(settings: IntuneSettings) -> ConnectorKey | None:
    """Return what passphrases for Intune are encrypted under; None where no key is configured.

    Raises:
        ConfigurationError: its file cannot be used.
    """
    path = settings.connector_key_file
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            # Whoever exchanges it reads what was meant for the connector.
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise ConfigurationError(f"intune.connector_key_file: {path} can be written by every user of this machine")
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"intune.connector_key_file: {path} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"intune.connector_key_file: {path} must hold {_MAX_BYTES} bytes at most")
    try:
        return ConnectorKey.of(content, settings.connector_padding)
    except BadConnectorKey as error:
        raise ConfigurationError(f"intune.connector_key_file: {error}") from None


def connector(settings: IntuneSettings) -> Connector:
    """Return the connector that the settings describe.

    Raises:
        ConfigurationError: they describe none, or its key cannot be used.
    """
    key = connector_key(settings)
    if key is None:
        raise ConfigurationError("intune: connector_key_file and connector_key_name are not set")
    return Connector(key, settings.connector_key_name, settings.connector_provider)
