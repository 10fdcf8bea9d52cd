"""What waits at a link, as one download: a PKCS #12, or a ZIP archive of several for importers that take one key at a time."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

from pkcs_import.archive import PackedKey

# As phones know it: Safari and Android's browsers offer to install it.
_PKCS12: Final = "application/x-pkcs12"
_ZIP: Final = "application/zip"
_ZIP_BEGINS: Final = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Package:
    """What was fetched: a file, what to call it, and its media type."""

    name: str
    media_type: str
    content: bytes = field(repr=False)


def packed_together(files: Sequence[PackedKey]) -> bytes:
    """Return the files of a delivery as one: the only one as it is, several in a ZIP archive."""
    if len(files) == 1:
        return files[0].pkcs12
    written = BytesIO()
    # Encrypted as they are, they cannot be made smaller.
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.writestr(zipfile.ZipInfo(file.name), file.pkcs12)
    return written.getvalue()


def described(content: bytes, delivery_id: int) -> Package:
    """Return what ``packed_together`` made, with a name and a media type."""
    if content.startswith(_ZIP_BEGINS):
        return Package(f"mail-keys-{delivery_id}.zip", _ZIP, content)
    return Package(f"mail-keys-{delivery_id}.p12", _PKCS12, content)
