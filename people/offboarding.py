"""Offboarding: somebody leaves, and with them goes everything that spoke for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from audit.log import Actor
from people.devices import DeviceRecord, deactivate_device, list_devices
from people.person import PersonRecord
from people.persons import MAX_PAGE, deactivate_person


@dataclass(frozen=True, slots=True)
class Departure:
    """Who left and which devices they carried, all inactive now."""

    person: PersonRecord
    devices: tuple[DeviceRecord, ...]
    actor: Actor
    at: datetime


# What else a departure means, in the transaction that records it (the composition root registers revocation).
DepartureListener = Callable[[Session, Departure], None]


def offboard(
    session: Session,
    person_id: int,
    listeners: Sequence[DepartureListener],
    *,
    actor: Actor,
    now: datetime,
) -> Departure:
    """Deactivate the person and the devices they own, and tell the ``listeners``.

    Doing it again is harmless, and tells the listeners again. A device that passes to somebody else is activated by hand.

    Raises:
        UnknownPerson: there is no person of this id.
    """
    person = deactivate_person(session, person_id, actor=actor, now=now)
    owned = list_devices(session, owner_id=person_id, limit=MAX_PAGE)
    devices = tuple(deactivate_device(session, device.id, actor=actor, now=now) for device in owned)
    departure = Departure(person, devices, actor, now)
    for listener in listeners:
        listener(session, departure)
    return departure
