"""Where files to import come from: one, a list of them in CSV, or a folder. They are opened when their turn comes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pkcs_import.container import MAX_BYTES
from pkcs_import.csv_list import FileList, ListedFile
from pkcs_import.errors import BadImportList, ContainerTooBig, FileUnreadable
from pkcs_import.purpose import Purpose

SUFFIXES = (".p12", ".pfx")


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be imported.

    Attributes:
        line: where it stands in its list, from 1; the header counts.
        file: what the report calls it.
        read: returns what is in it; raises BadContainer.
        owner: whose it is: UPN, mail address or number; empty to go by its certificates.
        password: what opens it.
        purpose: the only use that is wanted of it; None for whatever its certificates are for.
        problem: why it cannot be imported, where that is known already.
    """

    line: int
    file: str
    read: Callable[[], bytes] = field(repr=False)
    owner: str = ""
    password: str | None = field(default=None, repr=False)
    purpose: Purpose | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Files to be imported, and how many they are."""

    count: int
    each: Iterator[Source] = field(repr=False)


def one_file(path: Path, *, owner: str = "", password: str | None = None, purpose: Purpose | None = None) -> Sources:
    """Return the file ``path``."""
    return Sources(1, iter([Source(1, _shown(path.name), lambda: _read(path), owner, password, purpose)]))


def listed(files: FileList, folder: Path, *, password: str | None = None) -> Sources:
    """Return the files of a list, which lie in ``folder``; ``password`` is for rows that give none."""
    base = folder.resolve()
    return Sources(files.count, (_of_row(row, base, password) for row in files.rows()))


def in_folder(folder: Path, *, password: str | None = None) -> Sources:
    """Return the PKCS #12 files in ``folder``, by name. Raises BadImportList: there is none."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise BadImportList(f"there is no file with the ending {' or '.join(SUFFIXES)} in the folder")
    return Sources(len(found), (_in_folder(number, path, password) for number, path in enumerate(found, 1)))


def _in_folder(number: int, path: Path, password: str | None) -> Source:
    return Source(number, _shown(path.name), lambda: _read(path), password=password)


def _of_row(row: ListedFile, base: Path, password: str | None) -> Source:
    path, problem = base / row.file, row.problem
    try:
        if not problem and not path.resolve().is_relative_to(base):
            # A list may come from elsewhere than the command: it is not to have other files of this machine read.
            problem = "file: it lies outside of the folder"
    except (OSError, ValueError):
        problem = "file: it is no name of a file"
    return Source(row.line, _shown(row.file), lambda: _read(path), row.upn, row.password or password, row.purpose, problem)


def _shown(name: str) -> str:
    """Return a file's name as a report shows it: one may hold what no terminal and no encoding takes."""
    return "".join(character if character.isprintable() else "\ufffd" for character in name)


def _read(path: Path) -> bytes:
    try:
        # A pipe, of which there may be no end, is no file to import; nor is waiting for one to begin.
        if not path.is_file():
            raise FileUnreadable("there is no such file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FileUnreadable(f"it cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ContainerTooBig(f"it has more than {MAX_BYTES >> 20} MiB")
    return data
