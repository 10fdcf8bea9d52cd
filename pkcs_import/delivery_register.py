"""What is on record of deliveries, for people to look at: which keys went, or did not go, to which device."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlmodel import Session

from ca.authorisation import PersonId
from foundation.tables import table_of
from pkcs_import.delivery import Method, State
from pkcs_import.errors import UnknownDelivery
from pkcs_import.records import ArchivedKey, DeliveredKey, Delivery

_DELIVERY = table_of(Delivery)
_DELIVERED = table_of(DeliveredKey)
_KEY = table_of(ArchivedKey)


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery as recorded; ``keys`` are the SHA-256 (hex) of the keys' SubjectPublicKeyInfo, in the order of the file."""

    id: int
    person: PersonId
    device: int | None
    method: Method
    encoding: str
    state: State
    ordered_by: str
    ordered_at: datetime
    expires_at: datetime | None
    ended_at: datetime | None
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries to list; None does not restrict."""

    person: PersonId | None = None
    device: int | None = None
    state: State | None = None


def get(session: Session, delivery_id: int) -> DeliveryRecord:
    """Return the delivery of this id. Raises UnknownDelivery."""
    found = _records(session, session.execute(_select().where(_DELIVERY.c.id == delivery_id)).all())
    if not found:
        raise UnknownDelivery(f"there is no delivery {delivery_id}")
    return found[0]


def matching(
    session: Session, wanted: DeliveryFilter = DeliveryFilter(), *, before: int | None = None, limit: int
) -> list[DeliveryRecord]:
    """Return up to ``limit`` deliveries, the newest first, from below the number ``before``."""
    query = _select()
    if wanted.person is not None:
        query = query.where(_DELIVERY.c.person_id == wanted.person)
    if wanted.device is not None:
        query = query.where(_DELIVERY.c.device_id == wanted.device)
    if wanted.state is not None:
        query = query.where(_DELIVERY.c.state == str(wanted.state))
    if before is not None:
        query = query.where(_DELIVERY.c.id < before)
    return _records(session, session.execute(query.order_by(_DELIVERY.c.id.desc()).limit(limit)).all())


def _select() -> Any:  # noqa: ANN401 - a query of the columns below
    # All but the package and the link's digest.
    names = ("id", "person_id", "device_id", "method", "encoding", "state", "ordered_by", "ordered_at", "expires_at", "ended_at")
    return select(*(_DELIVERY.c[name] for name in names))


def _records(session: Session, rows: Collection[Row[Any]]) -> list[DeliveryRecord]:
    keys: dict[int, list[str]] = defaultdict(list)
    query = (
        select(_DELIVERED.c.delivery_id, _KEY.c.spki_sha256)
        .join(_KEY, _KEY.c.id == _DELIVERED.c.archived_key_id)
        .where(_DELIVERED.c.delivery_id.in_([row.id for row in rows]))
        .order_by(_DELIVERED.c.id)
    )
    for each in session.execute(query):
        keys[each.delivery_id].append(each.spki_sha256)
    return [
        DeliveryRecord(
            id=row.id,
            person=PersonId(row.person_id),
            device=row.device_id,
            method=Method(row.method),
            encoding=row.encoding,
            state=State(row.state),
            ordered_by=row.ordered_by,
            ordered_at=row.ordered_at,
            expires_at=row.expires_at,
            ended_at=row.ended_at,
            keys=tuple(keys[row.id]),
        )
        for row in rows
    ]
