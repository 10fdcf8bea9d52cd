"""What persons, groups and devices are refused for."""

from foundation.errors import BadRequest, Conflict, NotFound


class InvalidField(BadRequest):
    """A value breaks the rules of its field. The message names the field and the rule, and never repeats the value."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class AlreadyTaken(Conflict):
    """A value that belongs to one person, group or device only is already another's."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class UnknownPerson(NotFound):
    """No such person is recorded."""


class UnknownAddress(NotFound):
    """The person does not have that address."""


class UnknownGroup(NotFound):
    """No such group is recorded."""


class UnknownDevice(NotFound):
    """No such device is recorded."""


class ImportRefused(BadRequest):
    """The file as a whole cannot be imported; nothing of it was."""
