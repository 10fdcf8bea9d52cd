"""Files that only their owner may read."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from foundation.files import create_private, replace_private

WRITERS = pytest.mark.parametrize("write", [create_private, replace_private])


@WRITERS
def test_what_is_written_is_private_and_whole(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    write(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@WRITERS
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], None]
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "file", b"content")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_created_again(tmp_path: Path) -> None:
    create_private(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        create_private(tmp_path / "file", b"second")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"first")]


def test_what_is_there_is_replaced_and_a_missing_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    replace_private(path, b"first")
    replace_private(path, b"second")
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace_private(path, b"first")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_private(path, b"second")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"first")]
