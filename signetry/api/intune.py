"""``/intune``: persons' encryption keys for the devices that Microsoft Intune manages."""

from datetime import datetime
from typing import Annotated

import structlog
from pydantic import Field

from foundation.errors import RefusedByPolicy
from pkcs_import.intune_plan import Change
from signetry.access.roles import Permission
from signetry.administration import intune_pfx
from signetry.administration.intune_pfx import Result
from signetry.api.fields import ASKS_FOR_SOMEBODY, DryRun, Who
from signetry.api.models import Asked, Shown, with_examples
from signetry.api.routing import LENGTHY, router
from signetry.api.security import Caller, requires
from signetry.errors import ConfigurationError

routes = router("/intune", "Intune")

_log = structlog.get_logger("signetry.api")

_CHANGE = {
    "upn": "taro@corp.example.com",
    "change": "create",
    "result": "done",
    "thumbprint": "5f" * 20,
    "serial": "4f02a3c1d5e6f708192a3b4c5d6e7f80",
    "not_after": "2027-06-01T12:00:00Z",
    "reason": "not in Intune",
}


class IntuneUnusable(RefusedByPolicy):
    """Intune, or its certificate connector, is not configured so that it can be used; a caller learns no more than that."""

    def __init__(self) -> None:
        super().__init__("Intune, or its certificate connector, is not configured here so that it can be used; the log says why")


class PushAsked(Asked):
    """Whose keys Intune is to have."""

    model_config = with_examples({"person": "taro@corp.example.com"})

    person: Who


class ChangeShown(Shown):
    """A file in Intune that is to be, was, or could not be changed."""

    model_config = with_examples(_CHANGE)

    upn: str
    change: Change
    result: Annotated[Result, Field(description="`planned` in a dry run.")]
    thumbprint: Annotated[str, Field(description="The SHA-1 of the certificate: what Intune calls it.")]
    serial: str | None
    not_after: datetime | None
    reason: Annotated[str, Field(description="Why it is changed, or could not be.")]


class PushShown(Shown):
    """How Intune stands beside the archive."""

    model_config = with_examples({"changes": [_CHANGE], "unchanged": 3, "stopped": ""})

    changes: list[ChangeShown]
    unchanged: Annotated[int, Field(description="How many files are as they should be.")]
    stopped: Annotated[
        str, Field(description="Why not everything was done: something does not answer, or asks for a pause. Try again later.")
    ]


@routes.post("/push-pfx", responses=ASKS_FOR_SOMEBODY, dependencies=[LENGTHY])
def push_pfx(
    asked: PushAsked, caller: Annotated[Caller, requires(Permission.DELIVER_KEYS)], *, dry_run: DryRun = False
) -> PushShown:
    """Bring Intune's imported PKCS #12 certificates of a person up to date with the key archive.

    Every encryption key of an active person is there afterwards, and nothing of anybody who has left. Doing it again is harmless.
    """
    persons = intune_pfx.named(caller.house, [asked.person])
    try:
        pushed = intune_pfx.push(caller.house, persons, dry_run=dry_run, patience_seconds=0.0)
    except ConfigurationError as error:
        _log.error("cannot push to Intune", reason=str(error))
        raise IntuneUnusable from None
    return PushShown.model_validate(pushed)
