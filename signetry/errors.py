"""What can be wrong with an installation itself: its configuration, its schema, its addresses."""

from foundation.errors import BadRequest, Conflict, Unavailable


class ConfigurationError(BadRequest):
    """The configuration cannot be used; the message names the setting, the file or the variable, and never holds its value."""


class SchemaOutdated(Unavailable):
    """The database's schema is not the one this release was written for."""


class AddressTaken(Conflict):
    """Another process listens where a listener should; the message names the setting."""
