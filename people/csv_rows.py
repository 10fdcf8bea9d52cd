"""A CSV file of persons, row by row: bytes in, validated values or what is wrong with them out. Knows no database.

Commas, semicolons or tabs part the columns. No field may hold a line break, so every line is decoded and parsed on its own: a
stray quotation mark or a broken character costs its own row and not all behind it.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from people.errors import ImportRefused, InvalidField
from people.person import PersonFields, normalise_person

# The columns, and the fields of a person they fill. ``active`` is no field: it is changed by an act of its own.
COLUMNS = {
    "upn": "upn",
    "email": "email",
    "aliases": "aliases",
    "name": "display_name",
    "given_name": "given_name",
    "middle_name": "middle_name",
    "surname": "surname",
    "account_name": "account_name",
    "domain": "domain",
    "employee_code": "employee_code",
    "sid": "sid",
    "language": "language",
    "active": "active",
}
REQUIRED_COLUMNS = ("upn", "email")

MAX_FILE = 64 * 2**20
MAX_ROWS = 500_000
MAX_LINE = 64 * 2**10
# Blank lines cost memory too.
_MAX_LINES = 2 * MAX_ROWS

# Shift_JIS is read as cp932: what calls itself the former comes from Windows, with characters only the latter has.
ENCODINGS = {
    "utf-8": "utf-8",
    "utf-16": "utf-16",
    "cp932": "cp932",
    "shift_jis": "cp932",
    "euc-jp": "euc_jp",
    "iso-8859-1": "iso-8859-1",
    "windows-1252": "cp1252",
}

_DELIMITERS = ",;\t"
_YES = frozenset({"true", "yes", "1", "active"})
_NO = frozenset({"false", "no", "0", "inactive"})
_AROUND_CELLS = " \t\u3000"
_BLANK = b" \t,;"
_UTF8_BOM = b"\xef\xbb\xbf"
_SHOWN = 40


@dataclass(frozen=True, slots=True, order=True)
class RowProblem:
    """Why a row was refused. ``line`` counts from 1, the header included; ``field`` is a column, or ``row``."""

    line: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A valid row: ``fields`` in their stored form, of which the file ``given`` those named; the rest are defaults.

    ``active`` is None where the file does not say.
    """

    line: int
    fields: PersonFields
    given: frozenset[str]
    active: bool | None


@dataclass(frozen=True, slots=True)
class PersonFile:
    """A file whose header is in order."""

    lines: Sequence[bytes]
    codec: str
    delimiter: str
    columns: tuple[str, ...]
    header_line: int
    row_count: int

    def rows(self) -> Iterator[PersonRow | RowProblem]:
        """Return the rows, blank ones left out, in the order of the file."""
        for number, line in enumerate(self.lines[self.header_line :], self.header_line + 1):
            if line.strip(_BLANK):
                try:
                    yield self._row(number, line)
                except InvalidField as problem:
                    yield RowProblem(number, problem.field, problem.reason)

    def _row(self, number: int, line: bytes) -> PersonRow:
        cells = _cells(line, self.codec, self.delimiter)
        if len(cells) != len(self.columns):
            raise InvalidField("row", f"has {len(cells)} columns where the header has {len(self.columns)}")
        texts = {COLUMNS[column]: cell for column, cell in zip(self.columns, cells, strict=True)}
        active = _yes_or_no(texts.pop("active", ""))
        if not texts.get("language"):
            # There is no such thing as no language: an empty cell says nothing.
            texts.pop("language", None)
        aliases = tuple(alias for cell in texts.pop("aliases", "").split(";") if (alias := cell.strip(_AROUND_CELLS)))
        given = frozenset(texts) | ({"aliases"} if "aliases" in self.columns else frozenset())
        return PersonRow(number, normalise_person(PersonFields(**texts, aliases=aliases)), given, active)


def read_file(source: BinaryIO, encoding: str, *, most_rows: int | None = None) -> PersonFile:
    """Read a file of persons and its header; its rows are read when they are asked for.

    Raises:
        ImportRefused: the file is too large or has more than ``most_rows``, its encoding is unknown, or its header is not one
            of persons.
    """
    codec = ENCODINGS.get(encoding.lower().replace("_", "-").replace("shift-jis", "shift_jis"))
    if codec is None:
        raise ImportRefused(f"the encodings are {', '.join(ENCODINGS)}")
    content = source.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise ImportRefused(f"the file is larger than {MAX_FILE // 2**20} MiB")
    if codec == "utf-16":
        # The one encoding whose lines cannot be told apart before it is decoded.
        content, codec = _transcoded(content), "utf-8"
    if max(content.count(b"\n"), content.count(b"\r")) > _MAX_LINES:
        raise ImportRefused(f"the file has more than {_MAX_LINES:,} lines")
    lines = content.removeprefix(_UTF8_BOM).splitlines()
    header_line = next((number for number, line in enumerate(lines, 1) if line.strip(_BLANK)), None)
    if header_line is None:
        raise ImportRefused("the file is empty")
    delimiter, columns = _header(lines[header_line - 1], codec)
    row_count = sum(1 for line in lines[header_line:] if line.strip(_BLANK))
    most = MAX_ROWS if most_rows is None else most_rows
    if row_count > most:
        raise ImportRefused(f"the file has more than {most:,} rows")
    return PersonFile(lines, codec, delimiter, columns, header_line, row_count)


def _transcoded(content: bytes) -> bytes:
    try:
        return content.decode("utf-16").encode()
    except UnicodeError as error:
        raise ImportRefused("the file is not UTF-16") from error


def _header(line: bytes, codec: str) -> tuple[str, tuple[str, ...]]:
    """Return the delimiter under which most columns are known, and the columns."""
    try:
        headers = {delimiter: tuple(cell.lower() for cell in _cells(line, codec, delimiter)) for delimiter in _DELIMITERS}
    except InvalidField as problem:
        raise ImportRefused(f"the header {problem.reason}") from problem
    delimiter = max(headers, key=lambda candidate: len(COLUMNS.keys() & set(headers[candidate])))
    columns = headers[delimiter]
    for column in columns:
        if column not in COLUMNS:
            raise ImportRefused(f"unknown column {column[:_SHOWN]!r}; the columns are {', '.join(COLUMNS)}")
        if columns.count(column) > 1:
            raise ImportRefused(f"the column {column} is there twice")
    for column in REQUIRED_COLUMNS:
        if column not in columns:
            raise ImportRefused(f"the column {column} is missing")
    return delimiter, columns


def _cells(line: bytes, codec: str, delimiter: str) -> list[str]:
    if len(line) > MAX_LINE:
        raise InvalidField("row", f"is longer than {MAX_LINE:,} octets")
    try:
        text = line.decode(codec)
    except UnicodeError:
        raise InvalidField("row", f"is not {codec}; name the file's encoding ({', '.join(ENCODINGS)})") from None
    try:
        cells = next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        raise InvalidField("row", "has a quotation mark that is not closed, or stands inside a cell") from None
    return [cell.strip(_AROUND_CELLS) for cell in cells]


def _yes_or_no(cell: str) -> bool | None:
    if not cell:
        return None
    if cell.lower() in _YES:
        return True
    if cell.lower() in _NO:
        return False
    raise InvalidField("active", "is neither yes nor no")
