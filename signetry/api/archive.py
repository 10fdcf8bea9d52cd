"""``/archive``: the keys that persons' private keys are sealed to. Making and replacing them is for commands."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from signetry.access.roles import Permission
from signetry.administration import archive
from signetry.api.context import Here
from signetry.api.models import Shown, with_examples
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/archive", "Archived keys")


class ArchiveKeyShown(Shown):
    """An archive key."""

    reference: Annotated[str, Field(description="Its name in the store that keeps it.")]
    key_id: Annotated[str, Field(description="SHA-256 of its SubjectPublicKeyInfo, in hex.")]
    algorithm: str
    created_at: datetime
    retired_at: Annotated[datetime | None, Field(description="Since when nothing is sealed to it any more; backups may be.")]
    sealed: Annotated[int, Field(description="How many private keys are sealed to it.")]


class ArchiveShown(Shown):
    """The archive: its keys, the newest first, and the process that has their private halves."""

    model_config = with_examples(
        {
            "kept_in": "files",
            "online": True,
            "listening": True,
            "left": 0,
            "keys": [
                {
                    "reference": "archive-1",
                    "key_id": "5f" * 32,
                    "algorithm": "rsa3072",
                    "created_at": "2026-06-01T12:00:00Z",
                    "retired_at": None,
                    "sealed": 1200,
                }
            ],
        }
    )

    kept_in: Annotated[str, Field(description="Files, or which token.")]
    online: Annotated[bool, Field(description="Whether the archive process is to run beside the service.")]
    listening: Annotated[bool, Field(description="Whether it answers.")]
    left: Annotated[int, Field(description="How many private keys are sealed to another key than the newest.")]
    keys: list[ArchiveKeyShown]


@routes.get("")
def show(_caller: Annotated[Caller, requires(Permission.READ_ARCHIVED_KEYS)], here: Here) -> ArchiveShown:
    """Show the archive's keys, how many private keys are sealed to each, and whether the archive process answers."""
    return ArchiveShown.model_validate(archive.status(here.house))
