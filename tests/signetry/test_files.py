"""Secrets that operators hand in as files."""

from pathlib import Path

import pytest

from signetry.errors import ConfigurationError
from signetry.files import read_secret


def secret(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "expected"), [(b"sesame", b"sesame"), (b"sesame\n", b"sesame"), (b" se same \r\n", b" se same ")]
)
def test_a_secret_is_what_stands_before_the_last_newline(tmp_path: Path, content: bytes, expected: bytes) -> None:
    assert read_secret(secret(tmp_path / "s", content), "a_file") == expected


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 4097])
def test_a_secret_has_a_length(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"a_file: .* must hold between 1 and 4096 bytes"):
        read_secret(secret(tmp_path / "s", content), "a_file")


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o777])
def test_a_secret_that_everybody_reads_is_refused_and_not_repeated(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match=r"a_file: .* open to every user") as caught:
        read_secret(secret(tmp_path / "s", b"sesame", mode), "a_file")
    assert "sesame" not in str(caught.value)


def test_a_secret_may_be_shared_with_a_group(tmp_path: Path) -> None:
    """Kubernetes mounts secrets as root's, for the group the service runs in."""
    assert read_secret(secret(tmp_path / "s", b"sesame", 0o440), "a_file") == b"sesame"


def test_a_missing_secret_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"a_file: .*/none cannot be read: No such file"):
        read_secret(tmp_path / "none", "a_file")
