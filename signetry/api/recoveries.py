"""``/recoveries``: archived keys under dual control. An officer asks and exports, a recovery agent decides."""

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import Field
from sqlmodel import Session

from pkcs_import.packing import Encoding
from pkcs_import.recovery import LONGEST_REASON, Duty, Participant
from pkcs_import.recovery_requests import State
from signetry.access.dual_control import bearer
from signetry.access.roles import Permission
from signetry.administration import recoveries
from signetry.administration.recoveries import ExportOrder, RecoveryOrder, RecoveryView, noting_refusals
from signetry.api.context import Here
from signetry.api.fields import ASKS_FOR_SOMEBODY, TEXT, OfPerson, Who
from signetry.api.idempotency import Once
from signetry.api.models import WHOLE, Asked, Number, Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.routing import LENGTHY, router
from signetry.api.security import Caller, requires

routes = router("/recoveries", "Recoveries")

RecoveryNumber = Annotated[Number, Path(description="The request's number.", openapi_examples={"seven": {"value": 7}})]

_KEY = {
    "id": 12,
    "algorithm": "rsa2048",
    "subject": "CN=Alice",
    "serial": "4f02a3c1d5e6f708192a3b4c5d6e7f80",
    "not_after": "2027-06-01T12:00:00Z",
}
_SHOWN = {
    "id": 7,
    "state": "waiting",
    "person": "alice@example.com",
    "history": True,
    "keys": [_KEY],
    "reason": "lost phone, case 4711",
    "asked_by": "token:3:Olga",
    "asked_by_person": "olga@example.com",
    "asked_at": "2026-06-01T12:00:00Z",
    "decided_by": None,
    "decided_by_person": None,
    "decided_at": None,
    "expires_at": "2026-06-08T12:00:00Z",
    "exported_by": None,
    "exported_at": None,
}


_FILE = {"name": "recovery-7.p12", "keys": [12], "pkcs12": "MIIKPgIBAzCC"}


class KeyShown(Shown):
    """An archived key, by what its newest certificate says."""

    model_config = with_examples(_KEY)

    id: int
    algorithm: str
    subject: str
    serial: str
    not_after: datetime


class RecoveryShown(Shown):
    """A recovery request."""

    model_config = with_examples(_SHOWN)

    id: int
    state: Annotated[State, Field(description="`expired` ones waited, or were approved, for longer than they may.")]
    person: Annotated[str | None, Field(description="The UPN of whose keys they are.")]
    history: Annotated[bool, Field(description="Whether all encryption keys of the person are asked for.")]
    keys: Annotated[list[KeyShown], Field(description="The keys that it would bring, or brought.")]
    reason: str
    asked_by: Annotated[str, Field(description="Who asked, as the audit record names them.")]
    asked_by_person: str | None
    asked_at: datetime
    decided_by: str | None
    decided_by_person: str | None
    decided_at: datetime | None
    expires_at: Annotated[datetime, Field(description="Until when it may be decided on, or exported.")]
    exported_by: str | None
    exported_at: datetime | None

    @classmethod
    def of(cls, view: RecoveryView) -> "RecoveryShown":
        """Return how a request is shown."""
        return cls.model_validate(view)


class RecoveryAsked(Asked):
    """Whose keys are asked for, and why."""

    model_config = with_examples(
        {"person": "alice@example.com", "reason": "lost phone, case 4711", "history": True},
        {"person": "alice@example.com", "reason": "lost phone, case 4711", "key": 12},
    )

    person: Who
    reason: Annotated[
        str,
        Field(min_length=1, max_length=LONGEST_REASON, pattern=TEXT, description="A line, for who decides and the audit record."),
    ]
    key: Annotated[
        Annotated[int, Field(ge=1, le=2**31 - 1), WHOLE] | None,
        Field(description="This archived key; the current one where neither it nor `history` is given."),
    ] = None
    history: Annotated[bool, Field(description="All encryption keys of the person, in one file.")] = False


class ExportAsked(Asked):
    """How to export."""

    model_config = with_examples({"encoding": "aes256"}, {"encoding": "3des", "separate": True})

    encoding: Annotated[
        Encoding, Field(description="How the file is encrypted: `3des` where the importer is old, such as gpgsm, Outlook, Apple.")
    ] = Encoding.MODERN
    separate: Annotated[bool, Field(description="A file for each key: gpgsm, for one, reads only the first key of a file.")] = (
        False
    )


class ExportedFile(Shown):
    """A PKCS #12."""

    model_config = with_examples(_FILE)

    name: Annotated[str, Field(description="A name for it.")]
    keys: Annotated[list[int], Field(description="The archived keys in it.")]
    pkcs12: Annotated[str, Field(repr=False, description="What it holds, in base64.")]


class Exported(Shown):
    """Recovered keys, for the only time."""

    model_config = with_examples({"id": 7, "passphrase": "abcd-efgh-jkmn-pqrs-tuvw-xyz2", "files": [_FILE]})

    id: int
    passphrase: Annotated[str, Field(repr=False, description="What opens the files. It is shown now and never again.")]
    files: list[ExportedFile]


@routes.get("", responses=ASKS_FOR_SOMEBODY)
def list_all(
    _caller: Annotated[Caller, requires(Permission.READ_RECOVERIES)],
    here: Here,
    paging: InPages,
    *,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    person: OfPerson = None,
) -> Page[RecoveryShown]:
    """List recovery requests, the newest first."""
    (before,) = paging.after(int) or (None,)
    with here.transactions.reading() as session:
        found = recoveries.listed(session, here.house, state=state, person=person, before=before, limit=paging.one_more)
    return paging.page(found, lambda view: (view.id,), RecoveryShown.of)


@routes.get("/{recovery_id}")
def show(
    recovery_id: RecoveryNumber, _caller: Annotated[Caller, requires(Permission.READ_RECOVERIES)], here: Here
) -> RecoveryShown:
    """Show a recovery request, and the keys that it would bring."""
    with here.transactions.reading() as session:
        return RecoveryShown.of(recoveries.show(session, here.house, recovery_id))


@routes.post("", status_code=201, response_model=RecoveryShown)
def ask(asked: RecoveryAsked, caller: Annotated[Caller, requires(Permission.ASK_FOR_RECOVERY)], once: Once) -> Response:
    """Ask for a person's keys. A recovery agent, who is neither the caller nor the person, decides within seven days."""
    by = _participant(caller, Duty.ASKING)
    order = RecoveryOrder(asked.person, asked.reason, asked.key, asked.history)
    with noting_refusals(caller.house, by, "ask", f"person:{asked.person}"):
        return once.answer(lambda session: RecoveryShown.of(recoveries.ask(session, caller.house, order, by=by)))


@routes.post("/{recovery_id}/approve")
def approve(recovery_id: RecoveryNumber, caller: Annotated[Caller, requires(Permission.DECIDE_ON_RECOVERY)]) -> RecoveryShown:
    """Approve a request: who asked for it may export the keys, once, within an hour."""
    by = _participant(caller, Duty.DECIDING)
    return _decided(caller, by, "approve", recovery_id, lambda s: recoveries.approve(s, caller.house, recovery_id, by=by))


@routes.post("/{recovery_id}/reject")
def reject(recovery_id: RecoveryNumber, caller: Annotated[Caller, requires(Permission.DECIDE_ON_RECOVERY)]) -> RecoveryShown:
    """Reject a request; an approval that has not been used yet is taken back."""
    by = _participant(caller, Duty.DECIDING)
    return _decided(caller, by, "reject", recovery_id, lambda s: recoveries.reject(s, caller.house, recovery_id, by=by))


@routes.post("/{recovery_id}/export", dependencies=[LENGTHY])
def export(
    recovery_id: RecoveryNumber, asked: ExportAsked, caller: Annotated[Caller, requires(Permission.ASK_FOR_RECOVERY)]
) -> Exported:
    """Export the keys of an approved request, once. The passphrase is in this answer and kept nowhere.

    An answer that got lost is not given again: ask for another recovery.
    """
    by = _participant(caller, Duty.ASKING)
    with noting_refusals(caller.house, by, "export", f"recovery:{recovery_id}"):
        order = ExportOrder(asked.encoding, asked.separate)
        recovered = recoveries.export(caller.house, recovery_id, order, token=caller.presented, by=by)
    files = [
        ExportedFile(name=each.name, keys=list(each.key_ids), pkcs12=base64.b64encode(each.pkcs12).decode())
        for each in recovered.files
    ]
    return Exported(id=recovery_id, passphrase=recovered.passphrase, files=files)


def _participant(caller: Caller, duty: Duty) -> Participant:
    return bearer(caller.token, duty, origin=caller.actor.origin)


def _decided(caller: Caller, by: Participant, attempt: str, number: int, act: Callable[[Session], RecoveryView]) -> RecoveryShown:
    with noting_refusals(caller.house, by, attempt, f"recovery:{number}"):
        return RecoveryShown.of(caller.house.transactions.write(act))
