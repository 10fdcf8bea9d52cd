"""Whether a person and a device may still get certificates, asked inside the transaction that records one."""

from sqlalchemy import bindparam, select
from sqlmodel import Session

from foundation.errors import RefusedByPolicy
from foundation.tables import table_of
from people.records import Device, Person


class Inactive(RefusedByPolicy):
    """The person or the device is deactivated or gone."""


_PERSON = table_of(Person)
_DEVICE = table_of(Device)
# FOR SHARE: somebody who is being offboarded at this moment is either seen here as inactive, or the offboarding waits and then
# finds, and revokes, the certificate being recorded. (SQLite needs no such word: its writers come one after the other.)
_PERSON_ACTIVE = select(_PERSON.c.active).where(_PERSON.c.id == bindparam("person_id")).with_for_update(read=True)
_DEVICE_ACTIVE = select(_DEVICE.c.active).where(_DEVICE.c.id == bindparam("device_id")).with_for_update(read=True)


def require_active(session: Session, *, person: int | None, device: int | None) -> None:
    """Return if every one of ``person`` and ``device`` that is given is recorded and active, and hold them so until the commit.

    Raises:
        Inactive: the message says which of the two is not.
    """
    if person is not None and not session.execute(_PERSON_ACTIVE, {"person_id": person}).scalar():
        raise Inactive("the person is not active")
    if device is not None and not session.execute(_DEVICE_ACTIVE, {"device_id": device}).scalar():
        raise Inactive("the device is not active")
