"""``approval``: an administrator decides for whom a request is; until then the client is told PENDING (RFC 8894 section 4.4).

No challenge means anything here, and nothing that the request says becomes a name: the decision names a person or a device on
record, and the names are theirs when the certificate is issued.
"""

from datetime import datetime
from functools import partial

from sqlmodel import Session

from audit.log import Actor
from ca.authorisation import Authorisation, DeviceId, PersonId, ProfileName, SubjectNames
from ca.errors import WeakKey
from ca.key_policy import check_public_key
from ca.names import RequestedNames, check_request
from ca.profiles import profile_named
from scep import pending
from scep.endpoint import Endpoint
from scep.errors import RequestRejected, UnknownRequest
from scep.pending import State
from scep.policy import Deferral, Grant, LocalPolicy
from scep.records import PendingRequest
from scep.request import EnrolmentRequest, PresentedRequest
from scep.subject import todays_names, units_of


class Approval(LocalPolicy):
    """Names come from today's record of the person and the device that an administrator approved the request for."""

    reads_challenges = False

    def authorise(self, session: Session, presented: PresentedRequest, *, now: datetime) -> Grant | Deferral:
        """Return what was decided, or that nothing was yet; see ``LocalPolicy.authorise``.

        Raises:
            RequestRejected: with the words of whoever decided.
            UnknownRequest: what was taken up for a poll has been forgotten meanwhile.
            NamesNotAuthorised, WeakKey: nobody could approve it.
        """
        row = pending.find_by_retry_key(session, presented.retry_key)
        if row is None or row.expires_at <= now:
            if not presented.request.csr.der:
                raise UnknownRequest
            _require_approvable(presented.request, presented.endpoint)
            return Deferral(partial(_keep, presented, now))
        match row.state:
            case State.APPROVED:
                return _granted(session, presented, row)
            case State.REJECTED:
                raise RequestRejected(row.rejection or "the request was rejected")
            case _:
                return Deferral(partial(_keep, presented, now))

    def subject_of(self, session: Session, presented: PresentedRequest, *, now: datetime) -> str | None:
        """Return the request where it was approved; what waits or was rejected is a stranger's still."""
        row = pending.find_by_retry_key(session, presented.retry_key)
        approved = row is not None and row.state == State.APPROVED and row.expires_at > now
        return f"request:{row.id}" if row is not None and approved else None


def _granted(session: Session, presented: PresentedRequest, row: PendingRequest) -> Grant:
    person = None if row.person_id is None else PersonId(row.person_id)
    device = None if row.device_id is None else DeviceId(row.device_id)
    authorisation = Authorisation(
        profile=ProfileName(row.profile or ""),
        names=todays_names(session, person, device),
        granted_by=f"request {row.id}, approved by {row.decided_by}",
        person=person,
        device=device,
        organisational_units=units_of(presented.request.csr.requested, presented.endpoint),
    )

    def redeem(session: Session, certificate_id: int, now: datetime) -> None:
        pending.mark_granted(session, row, certificate_id=certificate_id, now=now)

    return Grant(authorisation, redeem=redeem)


def _keep(presented: PresentedRequest, now: datetime, session: Session, *, actor: Actor) -> None:
    pending.defer(session, presented, needs_approval=True, actor=actor, now=now)


def _require_approvable(request: EnrolmentRequest, endpoint: Endpoint) -> None:
    """Return unless whatever an administrator decided, nothing could be issued: they are to see what they can decide."""
    requested = request.csr.requested
    check_request(RequestedNames(other=requested.other, wants_ca=requested.wants_ca), SubjectNames())
    refusal: WeakKey | None = None
    for name in sorted(endpoint.profiles):
        try:
            return check_public_key(request.csr.public_key, profile_named(name).key_usage)
        except WeakKey as error:
            refusal = error
    if refusal is not None:
        raise refusal
    return None
