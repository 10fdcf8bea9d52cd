"""What an administrator can do about a refusal: the server says what is wrong, seldom what to do."""

from foundation.errors import SignetryError
from ldap_publish.directory import Directory, DirectoryKind
from ldap_publish.errors import AmbiguousEntry, EntryRefused, MissingField, NoMatchingEntry

_INSUFFICIENT_ACCESS = 50
_BY_CODE = {
    12: "it does not know the assertion control (RFC 4528): is kind right?",
    16: "its schema does not know the attribute: is kind right?",
    17: "its schema does not know the attribute: load inetorgperson (persons) or core (authorities)",
    18: "the log-on may not read the attribute that it writes: grant it read",
    19: "a rule of the directory forbids the value",
    21: "the directory takes the value for malformed: is kind right?",
    32: "the entry above it does not exist: create it, or correct create_dn or authority_base",
    53: "the directory is configured not to do it",
    64: "entries of authorities stand below a container",
    65: "the entry's object classes do not allow the attribute: give it inetOrgPerson or pkiUser",
}
_RIGHTS = {
    DirectoryKind.OPENLDAP: "olcAccess",
    DirectoryKind.DS389: "an aci",
    DirectoryKind.ACTIVE_DIRECTORY: "delegation",
}


def is_waiting(error: SignetryError) -> bool:
    """Say whether nothing is wrong but that there is no entry, or nothing yet to find it by."""
    return isinstance(error, (NoMatchingEntry, MissingField))


def problem_of(error: SignetryError) -> str:
    """Return a name for the kind of failure that ``error`` is: the same for every entry that fails alike."""
    return f"{type(error).__name__} {error.code}" if isinstance(error, EntryRefused) else type(error).__name__


def advised(error: SignetryError, directory: Directory) -> str:
    """Return what went wrong, and what to do about it where that is known."""
    advice = _advice(error, directory)
    return f"{error}; {advice}" if advice else str(error)


def _advice(error: SignetryError, directory: Directory) -> str:
    if isinstance(error, AmbiguousEntry):
        return "make search_filter match this person's entry and no other"
    if not isinstance(error, EntryRefused):
        return ""
    if error.code == _INSUFFICIENT_ACCESS:
        # 389 DS says so as well of an entry that is gone.
        return f"{directory.server.bind_dn} may not do this: grant it by {_RIGHTS[directory.kind]} (docs/directories.md)"
    return _BY_CODE.get(error.code, "")
