"""``/authorities/{ca}/rollover``: an issuing CA's successor, step by step, and a new key for its RA."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import Field, WithJsonSchema
from sqlmodel import Session

from ca.hierarchy import ISSUING_ALGORITHMS
from ca.keys import KeyAlgorithm
from ca.lineage import Standing
from signetry.access.roles import Permission
from signetry.administration import rollover
from signetry.administration.rollover import SuccessorOrder, Taken
from signetry.api.fields import AuthorityName, DryRun
from signetry.api.idempotency import Once
from signetry.api.models import Asked, Shown, with_examples
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/authorities/{ca}/rollover", "Authorities")

_SERIAL = "4f02a3c1d5e6f708192a3b4c5d6e7f80"


class SuccessorAsked(Asked):
    """The successor of an issuing CA."""

    model_config = with_examples({}, {"key": "p256"})

    key: Annotated[
        KeyAlgorithm | None,
        WithJsonSchema({"anyOf": [{"type": "string", "enum": list(map(str, ISSUING_ALGORITHMS))}, {"type": "null"}]}),
        Field(description="Its key; without it, of the kind that its predecessor has."),
    ] = None
    elsewhere: Annotated[
        bool, Field(strict=True, description="Whether somebody else's authority is to certify it: a request is made.")
    ] = False


class SuccessorMade(Shown):
    """A successor that is prepared."""

    model_config = with_examples(
        {
            "name": "issuing-2",
            "succeeds": "issuing",
            "is_new": True,
            "subject": "CN=Example Issuing CA 2,O=Example",
            "serial": _SERIAL,
            "valid_until": "2036-06-01T12:00:00Z",
            "request": None,
        }
    )

    name: str
    succeeds: str
    is_new: Annotated[bool, Field(description="False where the same order had been carried out before.")]
    subject: str
    serial: str | None
    valid_until: datetime | None
    request: Annotated[str | None, Field(description="The certificate request (PEM) for somebody else's authority to sign.")]


class StepTaken(Shown):
    """What a step of a roll-over came to."""

    model_config = with_examples(
        {
            "name": "issuing-2",
            "changed": True,
            "state": "active",
            "consequences": ["what issuing has issued stays good and can be renewed; its CRL goes on"],
        }
    )

    name: Annotated[str, Field(description="The CA that takes over, or is retired.")]
    changed: Annotated[bool, Field(description="False in a dry run, and where it was so before.")]
    state: Literal["active", "retired"]
    consequences: Annotated[list[str], Field(description="What the step means, or would mean.")]


class RaKeyMade(Shown):
    """A new key of an RA."""

    model_config = with_examples(
        {
            "authority": "issuing",
            "subject": "CN=SCEP RA 2 of issuing",
            "serial": _SERIAL,
            "valid_until": "2026-08-30T12:00:00Z",
        }
    )

    authority: str
    subject: str
    serial: str
    valid_until: datetime


@routes.post("/prepare")
def prepare(
    ca: AuthorityName, asked: SuccessorAsked, caller: Annotated[Caller, requires(Permission.CHANGE_AUTHORITIES)]
) -> SuccessorMade:
    """Make the successor of an issuing CA. The same order again changes nothing, and finds the one that it made.

    It issues nothing yet. The service's worker makes its CRL and its RA key, within a second or so; then clients that ask
    (GetNextCACert) are told of it.
    """
    made = rollover.prepare(caller.house, SuccessorOrder(ca, asked.key, asked.elsewhere))
    return SuccessorMade(
        name=made.name,
        succeeds=made.succeeds,
        is_new=made.is_new,
        subject=made.subject,
        serial=None if made.certificate is None else f"{made.certificate.serial_number:032x}",
        valid_until=None if made.certificate is None else made.certificate.not_valid_after_utc,
        request=made.request or None,
    )


@routes.post("/activate")
def activate(
    ca: AuthorityName,
    caller: Annotated[Caller, requires(Permission.CHANGE_AUTHORITIES)],
    *,
    dry_run: DryRun = False,
    force: Annotated[bool, Query(description="Even if it may not issue all that endpoints offer.")] = False,
) -> StepTaken:
    """Let the prepared successor take over, in running services within a second. There is no way back.

    Where it has taken over already, nothing changes.
    """
    return _shown(rollover.activate(caller.house, ca, dry_run=dry_run, force=force), dry_run=dry_run)


@routes.post("/retire")
def retire(
    ca: AuthorityName,
    caller: Annotated[Caller, requires(Permission.CHANGE_AUTHORITIES)],
    *,
    dry_run: DryRun = False,
    force: Annotated[bool, Query(description="Even if certificates of it are good and could not be renewed.")] = False,
) -> StepTaken:
    """Retire a former CA, or give up one that is prepared. Its CRL goes on until its last certificate has expired.

    Here the name stands for this very CA, not for those that succeeded it.
    """
    return _shown(rollover.retire(caller.house, ca, dry_run=dry_run, force=force), dry_run=dry_run)


@routes.post("/ra", response_model=RaKeyMade, status_code=201)
def renew_ra(ca: AuthorityName, caller: Annotated[Caller, requires(Permission.CHANGE_AUTHORITIES)], once: Once) -> Response:
    """Make a new RA key at once. Requests made to the one before are read until its certificate expires.

    The service does this by itself, 30 days before the end. Where an RA key is lost, revoke its certificate instead.
    """

    def act(session: Session) -> RaKeyMade:
        made = rollover.renew_ra(caller.house, ca, session).certificate
        return RaKeyMade(
            authority=ca,
            subject=made.subject.rfc4514_string(),
            serial=f"{made.serial_number:032x}",
            valid_until=made.not_valid_after_utc,
        )

    return once.answer(act)


def _shown(taken: Taken, *, dry_run: bool) -> StepTaken:
    return StepTaken(
        name=taken.name,
        changed=taken.changed and not dry_run,
        state="active" if taken.standing is Standing.ACTIVE else "retired",
        consequences=list(taken.consequences),
    )
