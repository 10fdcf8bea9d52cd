"""What can go wrong between us and a directory: of the directory itself, or of one entry in it."""

from foundation.errors import BadRequest, Conflict, NotFound, RefusedByPolicy, Unavailable


class UnknownDirectory(NotFound):
    """No directory of this name is configured."""


class StillConfigured(Conflict):
    """A directory that the settings name cannot be forgotten."""


class DirectoryUnavailable(Unavailable):
    """The directory itself cannot be used now: unreachable, not trusted, no log-on, busy, or its search base is missing."""


class EntryRefused(RefusedByPolicy):
    """The server refused an operation on one entry: a result code of RFC 4511 appendix A, in the server's own words.

    Args:
        code: the result code.
        name: what RFC 4511 calls it.
        diagnostic: the server's diagnostic message, which may be empty.
        dn: the entry.
    """

    def __init__(self, code: int, name: str, diagnostic: str, dn: str) -> None:
        said = f" ({diagnostic})" if diagnostic else ""
        super().__init__(f"{dn}: the directory answers {name}, code {code}{said}")
        self.code = code
        self.name = name
        self.diagnostic = diagnostic
        self.dn = dn


class EntryChanged(Conflict):
    """The entry is not as it was read: somebody else changed it in between (assertionFailed, RFC 4528)."""


class ValueThereAlready(EntryRefused):
    """A value to be added is there (attributeOrValueExists, code 20)."""


class ValueNotThere(EntryRefused):
    """A value to be deleted is not there (noSuchAttribute, code 16)."""


class EntryExists(EntryRefused):
    """An entry to be added is there (entryAlreadyExists, code 68)."""


class EntryMissing(EntryRefused):
    """There is no entry of this name (noSuchObject, code 32)."""


class NoMatchingEntry(NotFound):
    """The search filter matches no entry, and none is to be created."""


class AmbiguousEntry(Conflict):
    """The search filter matches several entries, or one that does not belong to the subject."""


class MissingField(NotFound):
    """A person lacks what the search filter or the DN of a new entry is made of."""


class BadTemplate(BadRequest):
    """A search filter or the DN of a new entry cannot be used as it is written in the settings."""


class UnusableValue(RefusedByPolicy):
    """A value cannot stand in a name: it holds control characters."""


class VersionUnreadable(RefusedByPolicy):
    """An attribute must be replaced as a whole, and the entry does not show by what to tell that it has not changed since."""


class PlaceTaken(Conflict):
    """An attribute that holds one value holds somebody else's."""


class ValueTooLarge(RefusedByPolicy):
    """A value is larger than this kind of directory takes."""


class NoPublicationKey(Unavailable):
    """There is no key yet with which the userSMIMECertificate of a person can be signed."""


class Unexpected(Unavailable):
    """A defect of ours, or something no server was seen to do. The log says more than the message."""
