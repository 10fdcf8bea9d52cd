"""``/revocations``: several certificates revoked at once, by their numbers or by whose they are."""

from typing import Annotated

from sqlmodel import Session

from ca.revocation import RevokedCertificate
from signetry.access.roles import Permission
from signetry.administration import revocation
from signetry.administration.rehearsal import perform
from signetry.administration.revocation import Choice
from signetry.api.fields import DryRun
from signetry.api.reaching import reach_of
from signetry.api.revocation_models import (
    Changed,
    Changes,
    RevocationOfDevice,
    RevocationOfPerson,
    RevocationOfSerials,
)
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/revocations", "Certificates")


@routes.post("")
def revoke_several(
    asked: RevocationOfSerials | RevocationOfPerson | RevocationOfDevice,
    caller: Annotated[Caller, requires(Permission.REVOKE_CERTIFICATES)],
    *,
    dry_run: DryRun = False,
) -> Changes:
    """Revoke certificates, all or none: those of serial numbers, or what a person or a device holds that is good or on hold.

    One that is revoked for this reason already stays as it is, so asking again does no harm.
    """
    choice = _choice(asked)

    def act(session: Session) -> list[RevokedCertificate]:
        return revocation.revoke(session, caller.house, choice, asked.order, reach_of(caller))

    states = caller.house.transactions.write(lambda session: perform(session, act, dry_run=dry_run))
    return Changes(items=[Changed.of(state) for state in states])


def _choice(asked: RevocationOfSerials | RevocationOfPerson | RevocationOfDevice) -> Choice:
    match asked:
        case RevocationOfSerials():
            return Choice(serials=tuple(asked.serials))
        case RevocationOfPerson():
            return Choice(person=asked.person, device=asked.device or "")
        case RevocationOfDevice():
            return Choice(device=asked.device)
