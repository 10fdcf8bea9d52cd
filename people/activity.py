"""Whether a person and a device may still get certificates, asked inside the transaction that records one."""

from sqlalchemy import bindparam, select
from sqlmodel import Session

from foundation.errors import RefusedByPolicy
from foundation.statements import Prepared
from foundation.tables import table_of
from people.records import Device, Person


class Inactive(RefusedByPolicy):
    """The person or the device is deactivated or gone."""


_PERSON = table_of(Person)
_DEVICE = table_of(Device)
# FOR SHARE: somebody who is being offboarded at this moment is either seen here as inactive, or the offboarding waits and then
# finds, and revokes, the certificate being recorded. (SQLite needs no such word: its writers come one after the other.)
_PERSON_ACTIVE = Prepared(select(_PERSON.c.active).where(_PERSON.c.id == bindparam("person_id")).with_for_update(read=True))
_PERSON_HELD = select(_PERSON.c.id).where(_PERSON.c.id == bindparam("person_id")).with_for_update()
_DEVICE_ACTIVE = Prepared(select(_DEVICE.c.active).where(_DEVICE.c.id == bindparam("device_id")).with_for_update(read=True))


def require_active(session: Session, *, person: int | None, device: int | None) -> None:
    """Return if every one of ``person`` and ``device`` that is given is recorded and active, and hold them so until the commit.

    Raises:
        Inactive: the message says which of the two is not.
    """
    if person is not None and not _PERSON_ACTIVE.value(session, {"person_id": person}):
        raise Inactive("the person is not active")
    if device is not None and not _DEVICE_ACTIVE.value(session, {"device_id": device}):
        raise Inactive("the device is not active")


def hold_person(session: Session, person: int) -> None:
    """Hold the person until the commit: whoever else does so waits, and what is counted of theirs stays true.

    To be called before ``require_active``, whose hold others share.
    """
    session.execute(_PERSON_HELD, {"person_id": person})
