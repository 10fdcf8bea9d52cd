"""Secrets in files that change while the service runs."""

from pathlib import Path

import pytest
import structlog

from signetry.errors import ConfigurationError
from signetry.secret_files import SecretFile, SecretUnavailable, read_lines


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_file_is_read_again_when_it_changes_and_only_then(tmp_path: Path) -> None:
    read: list[str] = []

    def convert(line: str) -> str:
        read.append(line)
        return line.upper()

    secrets = SecretFile(write(tmp_path / "s", b"one\n"), "a.b", convert)
    assert (secrets(), secrets(), read) == (("ONE",), ("ONE",), ["one"])
    write(tmp_path / "s", b"two\r\n\n one \n")
    assert secrets() == ("TWO", "ONE")
    assert secrets() == ("TWO", "ONE")
    assert read == ["one", "two", "one"]


def test_a_secret_that_was_taken_away_is_no_longer_good(tmp_path: Path) -> None:
    secrets = SecretFile(write(tmp_path / "s", b"one"), "a.b", str)
    assert secrets() == ("one",)
    (tmp_path / "s").unlink()
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(SecretUnavailable):
                secrets()
    # Said once, not for each of the requests that come meanwhile.
    assert [entry["setting"] for entry in logs] == ["a.b"]
    write(tmp_path / "s", b"three")
    assert secrets() == ("three",)


def test_what_cannot_be_converted_is_no_secret_and_not_repeated(tmp_path: Path) -> None:
    def convert(_: str) -> str:
        raise ValueError("it is too short")

    secrets = SecretFile(write(tmp_path / "s", b"hush"), "a.b", convert)
    with structlog.testing.capture_logs() as logs, pytest.raises(SecretUnavailable) as caught:
        secrets()
    assert "hush" not in str(logs) + str(caught.value)
    assert logs[0]["reason"] == "it is too short"


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"", 0o600, "between 1 and"),
        (b" \n\n", 0o600, "two at most"),
        (b"a\nb\nc", 0o600, "two at most"),
        (b"\xff\xfe", 0o600, "not text in UTF-8"),
        (b"a", 0o604, "open to every user"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, mode: int, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^a.b: .*{words}"):
        read_lines(write(tmp_path / "s", content, mode), "a.b")
