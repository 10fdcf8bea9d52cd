"""Reading a CSV file of persons: whatever the bytes, rows or named problems, and nothing else."""

import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from people import csv_rows
from people.csv_rows import ENCODINGS, PersonFile, PersonRow, RowProblem, read_file
from people.errors import ImportRefused

HEADER = "upn,email,aliases,name,active\n"
TARO = "taro@example.com,taro.yamada@example.com,t@example.com;taro@example.jp,山田 太郎,yes\n"


def rows(content: str | bytes, encoding: str = "utf-8") -> list[PersonRow | RowProblem]:
    return list(opened(content, encoding).rows())


def opened(content: str | bytes, encoding: str = "utf-8") -> PersonFile:
    return read_file(io.BytesIO(content.encode() if isinstance(content, str) else content), encoding)


def only_row(content: str | bytes, encoding: str = "utf-8") -> PersonRow:
    (row,) = rows(content, encoding)
    assert isinstance(row, PersonRow), row
    return row


def test_a_row_is_read_into_normalised_fields() -> None:
    row = only_row(HEADER + TARO)
    assert (row.line, row.active) == (2, True)
    assert row.fields.upn == "taro@example.com"
    assert row.fields.aliases == ("t@example.com", "taro@example.jp")
    assert row.fields.display_name == "山田 太郎"
    assert row.given == {"upn", "email", "aliases", "display_name"}


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [
        ("utf-8", "utf-8"),
        ("utf-8", "utf-8-sig"),
        ("UTF-8", "utf-8"),
        ("utf-16", "utf-16"),
        ("cp932", "cp932"),
        ("Shift_JIS", "cp932"),
        ("euc-jp", "euc_jp"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_every_encoding_line_end_and_delimiter_gives_the_same_row(
    encoding: str, codec: str, line_end: str, delimiter: str
) -> None:
    cells = ["taro@example.com", "taro.yamada@example.com", '"t@example.com;taro@example.jp"', "山田 太郎", "yes"]
    text = HEADER.strip().replace(",", delimiter) + line_end + delimiter.join(cells) + line_end
    assert only_row(text.encode(codec), encoding) == only_row(HEADER + TARO)


def test_windows_characters_in_shift_jis_are_understood() -> None:
    content = "upn,email,name\ntaro@example.com,taro@example.com,髙橋①\n".encode("cp932")
    assert only_row(content, "shift_jis").fields.display_name == "髙橋①"


def test_cells_are_trimmed_and_the_header_may_be_spelt_in_capitals() -> None:
    row = only_row(" UPN , Email ,Name\n Taro@example.com ,taro@example.com,\u3000山田\u3000\n")
    assert (row.fields.upn, row.fields.display_name) == ("taro@example.com", "山田")


def test_blank_lines_are_passed_over_and_counted_as_lines() -> None:
    file = opened("\n,,\nupn,email\n\n,\na@example.com,a@example.com\n")
    assert [row.line for row in file.rows()] == [6]
    assert file.row_count == 1


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ("taro,taro@example.com,,,", "upn", "no @"),
        ("taro@example.com,,,,", "email", "is empty"),
        ("taro@example.com,taro@example.com,a@;b@example.com,,", "aliases", "no domain"),
        ("taro@example.com,taro@example.com,,Taro\x00,", "name", "U+0000"),
        ("taro@example.com,taro@example.com,,Taro\u202e,", "name", "U+202E"),
        ("taro@example.com,taro@example.com,,,perhaps", "active", "neither yes nor no"),
        ("taro@example.com,taro@example.com", "row", "2 columns where the header has 5"),
        ("taro@example.com,taro@example.com,,,yes,", "row", "6 columns"),
        ('taro@example.com,taro@example.com,,"Taro,yes', "row", "quotation mark"),
        ('taro@example.com,taro@example.com,,"Ta"ro,yes', "row", "quotation mark"),
        ("taro@example.com,taro@example.com,," + "x" * 70_000 + ",", "row", "longer than"),
        ("taro@example.com,taro@example.com,," + "x" * 201 + ",", "name", "longer than 200"),
    ],
)
def test_a_bad_row_is_reported_by_line_and_field_and_the_others_are_read(line: str, field: str, reason: str) -> None:
    before, problem, after = rows(HEADER + TARO + line + "\n" + TARO)
    assert isinstance(before, PersonRow)
    assert isinstance(after, PersonRow)
    assert isinstance(problem, RowProblem)
    assert (problem.line, problem.field) == (3, field)
    assert reason in problem.reason


def test_a_row_that_does_not_decode_names_the_encodings_there_are() -> None:
    problem, _ = rows(HEADER.encode() + TARO.encode("cp932") + TARO.encode())
    assert isinstance(problem, RowProblem)
    assert (problem.line, problem.field) == (2, "row")
    assert "cp932" in problem.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n,,\n", "empty"),
        (b"upn,mail\n", "unknown column 'mail'; the columns are upn, email"),
        (b"upn,\x1b[31m\n", r"unknown column '\x1b[31m'"),
        (b"upn,email,upn\n", "upn is there twice"),
        (b"upn,name\n", "column email is missing"),
        (b"email\n", "column upn is missing"),
        (b'upn,"email\n', "quotation mark"),
        (b"\xff\xfeu\x00p\x00n\x00", "not utf-8"),
        (b"taro@example.com,taro@example.com\n", "unknown column"),
    ],
)
def test_a_file_without_a_header_of_persons_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ImportRefused) as refused:
        opened(content)
    assert reason in str(refused.value)


def test_an_unknown_encoding_is_refused() -> None:
    for encoding in ("klingon", "zlib", "unicode_escape", ""):
        with pytest.raises(ImportRefused, match="the encodings are utf-8"):
            opened(HEADER, encoding)
    with pytest.raises(ImportRefused, match="not UTF-16"):
        opened(b"\x00", "utf-16")


def test_a_file_beyond_the_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "MAX_ROWS", 2)
    assert len(rows(HEADER + TARO * 2)) == 2
    with pytest.raises(ImportRefused, match="more than 2 rows"):
        opened(HEADER + TARO * 3)
    monkeypatch.setattr(csv_rows, "_MAX_LINES", 5)
    with pytest.raises(ImportRefused, match="more than 5 lines"):
        opened(HEADER + "\n" * 6)
    monkeypatch.setattr(csv_rows, "MAX_FILE", len(HEADER))
    assert rows(HEADER) == []
    with pytest.raises(ImportRefused, match="larger than"):
        opened(HEADER + " ")


@settings(max_examples=300)
@given(st.sampled_from(["", HEADER]), st.binary(max_size=200), st.sampled_from(list(ENCODINGS)))
@example(HEADER, b'"', "utf-8")
@example("", b"\xff\xfe\x00\xd8", "utf-16")
def test_any_bytes_are_rows_problems_or_a_refused_file(head: str, content: bytes, encoding: str) -> None:
    try:
        file = opened(head.encode(encoding) + content, encoding)
    except ImportRefused:
        return
    found = list(file.rows())
    assert len(found) == file.row_count
    assert all(isinstance(row, PersonRow | RowProblem) for row in found)
