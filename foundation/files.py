"""Files that only their owner may read: written whole or not at all, and on the disk when the call returns."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def create_private(path: Path, content: bytes) -> None:
    """Write a new file of mode 0600.

    Raises:
        FileExistsError: ``path`` is there already; it is not touched.
    """
    with _written_beside(path, content) as temporary:
        # A link, unlike a rename, fails when the name is taken.
        os.link(temporary, path)
        temporary.unlink()


def replace_private(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, mode 0600; a reader sees the old file or the new one, never a part.

    A folder that is missing is made, mode 0700.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _written_beside(path, content) as temporary:
        temporary.replace(path)


@contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """Write ``content`` to a file beside ``path``, for the block to give its name; then make the folder durable."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
