"""A CSV file that says whose PKCS #12 files there are: ``upn,file,password[,purpose]``. Bytes in, rows out; opens no other file.

Commas, semicolons or tabs part the columns. Every line is parsed on its own, so that a stray quotation mark costs its own row and
not all behind it. Passwords are taken as they stand, spaces included.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pkcs_import.errors import BadImportList
from pkcs_import.purpose import Purpose

MAX_FILE = 64 << 20
MAX_ROWS = 500_000
_MAX_LINE = 64 << 10
_COLUMNS = ("upn", "file", "password", "purpose")
_DELIMITERS = ",;\t"
_AROUND_CELLS = " \t\u3000"
_BLANK = " \t,;"


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A row: ``line`` counts from 1, the header included. ``problem`` says why the row cannot be used, if it cannot."""

    line: int
    file: str = ""
    upn: str = ""
    password: str = field(default="", repr=False)
    purpose: Purpose | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FileList:
    """A CSV file whose header is in order."""

    count: int
    _lines: Sequence[str] = field(repr=False)
    _first: int
    _delimiter: str
    _columns: tuple[str, ...]

    def rows(self) -> Iterator[ListedFile]:
        """Return the rows, blank ones left out, in the order of the file."""
        for number, line in enumerate(self._lines[self._first :], self._first + 1):
            if line.strip(_BLANK):
                yield self._row(number, line)

    def _row(self, number: int, line: str) -> ListedFile:
        cells = _cells(line, self._delimiter)
        if cells is None:
            return ListedFile(number, problem="it has a quotation mark that is not closed, or is too long")
        if len(cells) != len(self._columns):
            return ListedFile(number, problem=f"it has {len(cells)} columns where the header has {len(self._columns)}")
        row = dict(zip(self._columns, cells, strict=True))
        file, upn = (row.get(name, "").strip(_AROUND_CELLS) for name in ("file", "upn"))
        password, said = row.get("password", ""), row.get("purpose", "").strip(_AROUND_CELLS).lower()
        if said and said not in tuple(Purpose):
            return ListedFile(number, file, upn, problem=f"purpose: it is one of {', '.join(Purpose)}")
        if not file:
            return ListedFile(number, upn=upn, problem="file: it is empty")
        return ListedFile(number, file, upn, password, Purpose(said) if said else None)


def read_list(content: bytes, codec: str) -> FileList:
    """Read a list and its header; its rows are read when they are asked for.

    Args:
        content: the file.
        codec: Python's name of its encoding; a byte order mark is left out.

    Raises:
        BadImportList: it is too large, in another encoding, or its header is not one of such a list.
    """
    if len(content) > MAX_FILE:
        raise BadImportList(f"the list is larger than {MAX_FILE >> 20} MiB")
    try:
        lines = content.decode("utf-8-sig" if codec == "utf-8" else codec).splitlines()
    except UnicodeError:
        raise BadImportList(f"the list is not {codec}; name its encoding") from None
    header = next((number for number, line in enumerate(lines) if line.strip(_BLANK)), None)
    if header is None:
        raise BadImportList("the list is empty")
    delimiter, columns = _header(lines[header])
    count = sum(1 for line in lines[header + 1 :] if line.strip(_BLANK))
    if count > MAX_ROWS:
        raise BadImportList(f"the list has more than {MAX_ROWS:,} rows")
    return FileList(count, lines, header + 1, delimiter, columns)


def _header(line: str) -> tuple[str, tuple[str, ...]]:
    """Return the delimiter under which most columns are known, and the columns."""
    candidates = {each: tuple(cell.strip(_AROUND_CELLS).lower() for cell in _cells(line, each) or ()) for each in _DELIMITERS}
    delimiter = max(candidates, key=lambda each: len(set(candidates[each]) & set(_COLUMNS)))
    columns = candidates[delimiter]
    if "file" not in columns or not set(columns) <= set(_COLUMNS) or len(set(columns)) < len(columns):
        # What stands there instead may be a first row, password and all: it is not repeated.
        raise BadImportList(f"the first line of the list names its columns: file, and any of {', '.join(sorted(_COLUMNS))}")
    return delimiter, columns


def _cells(line: str, delimiter: str) -> list[str] | None:
    if len(line) > _MAX_LINE:
        return None
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        return None
