"""Which files were imported whole, and for whom: they need not be opened again."""

import hashlib
from datetime import datetime

from sqlalchemy import insert, select
from sqlmodel import Session

from foundation.tables import table_of
from people.person import PersonRecord
from people.persons import get_person
from pkcs_import.records import ImportedFile

_FILE = table_of(ImportedFile)


def digest_of(data: bytes) -> str:
    """Return what a file is known by: the SHA-256 of its bytes in hex."""
    return hashlib.sha256(data).hexdigest()


def find_owner(session: Session, digest: str, owner: PersonRecord | None) -> PersonRecord | None:
    """Return the person a file was imported for: ``owner``, or where nobody is named anybody; None where it was not."""
    known = select(_FILE.c.person_id).where(_FILE.c.sha256 == digest).order_by(_FILE.c.id)
    if owner is not None:
        known = known.where(_FILE.c.person_id == owner.id)
    person_id = session.scalar(known.limit(1))
    return None if person_id is None else get_person(session, person_id)


def note(session: Session, digest: str, person: PersonRecord, *, now: datetime) -> None:
    """Note that a file was imported whole for a person."""
    if find_owner(session, digest, person) is None:
        session.execute(insert(_FILE), {"sha256": digest, "person_id": person.id, "imported_at": now})
