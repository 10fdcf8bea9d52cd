"""Lists of PKCS #12 files in CSV."""

import pytest

from pkcs_import import csv_list
from pkcs_import.csv_list import ListedFile, read_list
from pkcs_import.errors import BadImportList
from pkcs_import.purpose import Purpose


def rows(text: str, codec: str = "utf-8") -> list[ListedFile]:
    return list(read_list(text.encode(codec), codec).rows())


def test_a_row_says_whose_file_it_is_what_opens_it_and_what_it_is_for() -> None:
    found = rows("upn,file,password,purpose\nalice@example.com,a.p12,secret,encryption\n")
    assert found == [ListedFile(2, "a.p12", "alice@example.com", "secret", Purpose.ENCRYPTION)]


def test_only_the_file_is_needed_and_the_order_of_columns_is_free() -> None:
    assert rows("File\na.p12\n") == [ListedFile(2, "a.p12")]
    assert rows("password;file\nx;a.p12\n") == [ListedFile(2, "a.p12", "", "x")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_commas_semicolons_and_tabs_part_the_columns(delimiter: str) -> None:
    text = "upn,file,password\nalice@example.com,a.p12,x\n".replace(",", delimiter)
    assert rows(text) == [ListedFile(2, "a.p12", "alice@example.com", "x")]


def test_a_password_is_taken_as_it_stands() -> None:
    assert [row.password for row in rows('file,password\na.p12, 鍵 "x ,"\n'.replace(' "x ,"', " x "))] == [" 鍵 x "]
    assert [row.password for row in rows('file,password\na.p12,"x,""y"""\n')] == ['x,"y"']


def test_a_byte_order_mark_and_blank_lines_are_left_out() -> None:
    assert [row.line for row in rows("\ufefffile,upn\n\na.p12,\n,\nb.p12,\n")] == [3, 5]


def test_other_encodings_are_read() -> None:
    assert rows("file,password\na.p12,鍵\n", "cp932")[0].password == "鍵"
    assert rows("file,password\na.p12,鍵\n", "utf-16")[0].password == "鍵"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.p12,x", "2 columns where the header has 3"),
        ("a.p12,x,what", "purpose: it is one of signing, encryption, both, authentication"),
        (",x,", "file: it is empty"),
        ('"a.p12,x,', "quotation mark"),
    ],
)
def test_a_row_that_cannot_be_used_says_why_and_stops_no_other(row: str, problem: str) -> None:
    bad, good = rows(f"file,password,purpose\n{row}\nb.p12,x,signing\n")
    assert problem in bad.problem
    assert good == ListedFile(3, "b.p12", "", "x", Purpose.SIGNING)


@pytest.mark.parametrize("text", ["upn,password\n", "file,colour\n", "file,file\n", "alice@example.com,a.p12,secret\n"])
def test_a_first_line_that_names_other_columns_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadImportList, match="names its columns") as refused:
        rows(text)
    assert "secret" not in str(refused.value)


def test_an_empty_list_one_in_another_encoding_and_one_too_long_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadImportList, match="empty"):
        rows("\n ,\n")
    with pytest.raises(BadImportList, match="not utf-8"):
        read_list("file,password\na.p12,鍵\n".encode("cp932"), "utf-8")
    monkeypatch.setattr(csv_list, "MAX_ROWS", 1)
    with pytest.raises(BadImportList, match="more than 1 rows"):
        rows("file\na\nb\n")
    monkeypatch.setattr(csv_list, "MAX_FILE", 1)
    with pytest.raises(BadImportList, match="larger"):
        rows("file\na\n")


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(rows("file,password\na.p12,secret\n"))
