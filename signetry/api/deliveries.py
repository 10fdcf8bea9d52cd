"""``/deliveries``: a person's encryption keys for a device of theirs. No token gets hold of a key and what opens it.

So there are neither files nor links in the answers here: both go to the person by mail, and the caller gets the passphrase.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import Field

from pkcs_import.delivery import Method, State
from pkcs_import.delivery_targets import Target
from signetry.access.roles import Permission
from signetry.administration import deliveries
from signetry.administration.deliveries import LONGEST, DeliveryRequest
from signetry.administration.rehearsal import perform
from signetry.api.context import Here
from signetry.api.fields import ASKS_FOR_SOMEBODY, DryRun, OfDevice, OfPerson, Which, Who
from signetry.api.models import WHOLE, Asked, Number, Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.routing import LENGTHY, router
from signetry.api.security import Caller, requires

routes = router("/deliveries", "Deliveries")

DeliveryNumber = Annotated[Number, Path(description="The delivery's number.", openapi_examples={"seven": {"value": 7}})]

_SHOWN = {
    "id": 7,
    "state": "ready",
    "person": "alice@example.com",
    "device": "alice-iphone",
    "method": "link",
    "encoding": "3des",
    "keys": ["5f" * 32],
    "ordered_by": "token:3:Olga",
    "ordered_at": "2026-06-01T12:00:00Z",
    "expires_at": "2026-06-04T12:00:00Z",
    "ended_at": None,
}
_KEY = {
    "key": 12,
    "subject": "CN=Alice",
    "serial": "4f02a3c1d5e6f708192a3b4c5d6e7f80",
    "not_after": "2027-06-01T12:00:00Z",
}


class DeliveryShown(Shown):
    """Keys of a person on their way to a device of theirs, or there, or not."""

    model_config = with_examples(_SHOWN)

    id: int
    state: Annotated[State, Field(description="`fetched` by its link, `handed` over by another way.")]
    person: Annotated[str | None, Field(description="The UPN of whose keys they are.")]
    device: Annotated[str | None, Field(description="The name of the device; of those for Intune there is none.")]
    method: Method
    encoding: Annotated[str, Field(description="`aes256`, or `3des` for importers that read nothing newer.")]
    keys: Annotated[list[str], Field(description="The SHA-256 of the SubjectPublicKeyInfo of each key, the current one first.")]
    ordered_by: Annotated[str, Field(description="Who ordered it, as the audit record names them.")]
    ordered_at: datetime
    expires_at: Annotated[datetime | None, Field(description="Until when it may be fetched.")]
    ended_at: Annotated[datetime | None, Field(description="When it was fetched, handed over, stopped, or expired.")]


class KeyToDeliver(Shown):
    """An archived key, by the certificate that goes with it."""

    model_config = with_examples(_KEY)

    key: int
    subject: str
    serial: str
    not_after: datetime


class DeliveryAsked(Asked):
    """Whose keys to deliver, to which device of theirs, and how."""

    model_config = with_examples(
        {"person": "alice@example.com", "device": "alice-iphone"},
        {"person": "alice@example.com", "device": "alice-android", "method": "mail", "separate": True},
    )

    person: Who
    device: Which
    method: Annotated[
        Literal["link", "mail"], Field(description="A link to fetch the file at, once, or the file itself: mailed to the person.")
    ] = "link"
    target: Annotated[
        Target | None,
        Field(
            description="What imports the file, which decides its encoding; by the method and the device's platform if not said."
        ),
    ] = None
    separate: Annotated[
        bool | None, Field(description="Each key by itself, or all in one file; if not said, as what imports them takes them.")
    ] = None
    lifetime_seconds: Annotated[
        Annotated[int, Field(ge=60, le=int(LONGEST.total_seconds())), WHOLE] | None,
        Field(description="How long the link may be used; what the settings say if not given."),
    ] = None

    @property
    def request(self) -> DeliveryRequest:
        """What is wanted."""
        lifetime = None if self.lifetime_seconds is None else timedelta(seconds=self.lifetime_seconds)
        wanted = DeliveryRequest(self.person, self.device, Method(self.method), self.target, self.separate, lifetime=lifetime)
        return replace(wanted, send_link=wanted.method is Method.LINK)


class DeliveryOrdered(Shown):
    """What an order came to, for the only time, or in a dry run would come to."""

    model_config = with_examples(
        {
            "keys": [_KEY],
            "delivery": _SHOWN,
            "mailed_to": "alice@example.com",
            "passphrase": "xxxx-xxxx-xxxx-xxxx-xxxx-xxxx",
        }
    )

    keys: Annotated[list[KeyToDeliver], Field(description="The keys, the current one first.")]
    delivery: Annotated[DeliveryShown | None, Field(description="The delivery; null in a dry run.")]
    mailed_to: Annotated[str | None, Field(description="The address that the link, or the file, is mailed to.")]
    passphrase: Annotated[
        str | None,
        Field(
            repr=False,
            description="What opens the file, for the person to be told by another way. It is shown now and never again.",
        ),
    ]


@routes.get("", responses=ASKS_FOR_SOMEBODY)
def list_all(
    _caller: Annotated[Caller, requires(Permission.READ_DELIVERIES)],
    here: Here,
    paging: InPages,
    *,
    person: OfPerson = None,
    device: OfDevice = None,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
) -> Page[DeliveryShown]:
    """List deliveries, the newest first: which keys are, or are not, on which device."""
    (before,) = paging.after(int) or (None,)
    with here.transactions.reading() as session:
        found = deliveries.listed(session, person=person, device=device, state=state, before=before, limit=paging.one_more)
    return paging.page(found, lambda view: (view.id,), DeliveryShown.model_validate)


@routes.get("/{delivery_id}")
def show(
    delivery_id: DeliveryNumber, _caller: Annotated[Caller, requires(Permission.READ_DELIVERIES)], here: Here
) -> DeliveryShown:
    """Show a delivery and the keys in it."""
    with here.transactions.reading() as session:
        return DeliveryShown.model_validate(deliveries.show(session, delivery_id))


@routes.post("", responses=ASKS_FOR_SOMEBODY, dependencies=[LENGTHY])
def order(
    asked: DeliveryAsked, caller: Annotated[Caller, requires(Permission.DELIVER_KEYS)], *, dry_run: DryRun = False
) -> DeliveryOrdered:
    """Deliver all encryption keys of a person to a device of theirs: they get a mail, and the caller the passphrase.

    It needs the archive process (`archive.online`). An answer that got lost is not given again: order another delivery; the
    earlier link, if nobody has used it, then leads to nothing.
    """
    house = caller.house
    planned = house.transactions.write(lambda session: deliveries.plan(session, house, asked.request))
    keys = [KeyToDeliver.model_validate(key) for key in planned.keys]
    if dry_run:
        return DeliveryOrdered(keys=keys, delivery=None, mailed_to=None, passphrase=None)
    ordered = deliveries.order(house, asked.request)
    return DeliveryOrdered(
        keys=keys,
        delivery=DeliveryShown.model_validate(ordered.delivery),
        mailed_to=ordered.mailed_to,
        passphrase=ordered.passphrase,
    )


@routes.post("/{delivery_id}/stop")
def stop(
    delivery_id: DeliveryNumber, caller: Annotated[Caller, requires(Permission.STOP_DELIVERIES)], *, dry_run: DryRun = False
) -> DeliveryShown:
    """Stop a delivery that nobody has fetched yet: its link leads to nothing from now on."""
    house = caller.house
    stopped = house.transactions.write(
        lambda session: perform(session, lambda session: deliveries.stop(session, house, delivery_id), dry_run=dry_run)
    )
    return DeliveryShown.model_validate(stopped)
