"""Where files to import come from."""

import os
from pathlib import Path

import pytest

from pkcs_import.csv_list import read_list
from pkcs_import.errors import BadImportList, ContainerTooBig, FileUnreadable
from pkcs_import.purpose import Purpose
from pkcs_import.sources import Source, in_folder, listed, one_file


def of_list(folder: Path, text: str, password: str | None = None) -> list[Source]:
    return list(listed(read_list(text.encode(), "utf-8"), folder, password=password).each)


def test_a_folder_gives_its_pkcs12_files_by_name(tmp_path: Path) -> None:
    for name in ("b.PFX", "a.p12", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "c.p12").mkdir()
    found = in_folder(tmp_path, password="x")
    sources = list(found.each)
    assert found.count == 2
    assert [(each.line, each.file, each.read(), each.password) for each in sources] == [
        (1, "a.p12", b"a.p12", "x"),
        (2, "b.PFX", b"b.PFX", "x"),
    ]


def test_a_folder_without_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadImportList, match=r"\.p12 or \.pfx"):
        in_folder(tmp_path)


def test_a_list_names_files_of_its_folder_and_its_passwords_go_before_the_general_one(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.p12").write_bytes(b"a")
    first, second = of_list(tmp_path, "file,password,upn,purpose\nsub/a.p12,own,alice,signing\nb.p12,,,\n", "general")
    assert (first.read(), first.password, first.owner, first.purpose) == (b"a", "own", "alice", Purpose.SIGNING)
    assert (second.password, second.owner, second.purpose) == ("general", "", None)


@pytest.mark.parametrize("name", ["../secret.p12", "/etc/passwd", "link.p12", "sub/../../secret.p12"])
def test_a_list_reaches_nothing_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.p12").write_bytes(b"x")
    (folder / "link.p12").symlink_to(tmp_path / "secret.p12")
    (source,) = of_list(folder, f"file\n{name}\n")
    assert source.problem == "file: it lies outside of the folder"


def test_a_name_that_no_file_can_have_is_a_problem_of_its_row(tmp_path: Path) -> None:
    (source,) = of_list(tmp_path, "file\na\0b.p12\n")
    assert source.problem
    assert source.file == "a\ufffdb.p12"


def test_a_file_that_is_not_there_a_pipe_and_one_too_large_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.p12")
    (tmp_path / "large.p12").write_bytes(bytes((1 << 20) + 1))
    (tmp_path / "largest.p12").write_bytes(bytes(1 << 20))
    pipe, absent, large, largest = of_list(tmp_path, "file\npipe.p12\nabsent.p12\nlarge.p12\nlargest.p12\n")
    for source in (pipe, absent):
        with pytest.raises(FileUnreadable, match="no such file"):
            source.read()
    with pytest.raises(ContainerTooBig, match="more than 1 MiB"):
        large.read()
    assert len(largest.read()) == 1 << 20


def test_a_single_file_is_whose_and_for_what_one_says(tmp_path: Path) -> None:
    (tmp_path / "a.p12").write_bytes(b"a")
    (source,) = one_file(tmp_path / "a.p12", owner="alice", password="x", purpose=Purpose.BOTH).each
    assert source.read() == b"a"
    assert (source.file, source.owner, source.password, source.purpose) == ("a.p12", "alice", "x", Purpose.BOTH)
    assert "password" not in repr(source)
