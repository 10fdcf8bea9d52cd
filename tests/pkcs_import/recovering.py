"""Persons with archived keys, and who asks for them: what tests of recovery stand on. No seal here is ever opened."""

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import insert
from sqlmodel import Session

from audit.log import Actor
from ca.authorisation import PersonId
from foundation.tables import table_of
from foundation.transactions import Transactions
from people import persons
from people.person import PersonFields
from pkcs_import.keeping import NewCertificate, NewKey, Origin, keep
from pkcs_import.purpose import Purpose
from pkcs_import.records import ArchiveKey
from pkcs_import.recovery import Duty, Participant
from pkcs_import.sealing import Binding, SealedKey
from pkcs_import.trust import Trust

ACTOR = Actor("cli:root")


def add_person(store: Transactions, name: str, now: datetime) -> PersonId:
    """Record a person; return who they are."""
    fields = PersonFields(upn=f"{name}@example.com", email=f"{name}@example.com")
    return PersonId(store.write(lambda session: persons.add_person(session, fields, actor=ACTOR, now=now)).id)


def taking_part(person: PersonId, token: int, name: str) -> Participant:
    """Return a participant with the token of this number."""
    return Participant(person, token, Actor(f"token:{token}:{name}", origin="192.0.2.7"))


def add_archive_key(store: Transactions, now: datetime) -> int:
    """Record an archive key that nothing can be opened with; return its row."""
    row = {"key_id": "a" * 64, "reference": "archive-1", "algorithm": "rsa3072", "spki": b"-", "created_at": now}

    def act(session: Session) -> int:
        made: int = session.execute(insert(table_of(ArchiveKey)).returning(table_of(ArchiveKey).c.id), row).scalar_one()
        return made

    return store.write(act)


def archive(
    store: Transactions,
    person: PersonId,
    label: str,
    *,
    archive_key: int,
    now: datetime,
    purpose: Purpose = Purpose.ENCRYPTION,
    ends_in: timedelta = timedelta(days=365),
) -> int:
    """Put a key into the archive under a seal that nobody opens; return its number."""
    digest = hashlib.sha256(f"{person} {label}".encode()).hexdigest()
    key = NewKey(Binding(digest[:32], person, digest), SealedKey(archive_key, b"-", b"-", b"-"), "rsa2048", Origin.IMPORTED)
    certificate = NewCertificate(
        der=b"-",
        sha256=hashlib.sha256(digest.encode()).hexdigest(),
        chain=(),
        subject=f"CN={label}",
        issuer="CN=Some CA",
        serial="01",
        not_before=now - timedelta(days=1),
        not_after=now + ends_in,
        purpose=purpose,
        trust=Trust.UNKNOWN,
    )
    return store.write(lambda session: keep(session, key, [certificate], actor=ACTOR, now=now))[0]


class Offices:
    """Which tokens are in force, whose they are, and for what: the stand-in for ``signetry.access.dual_control.in_office``."""

    def __init__(self, *held: tuple[Duty, PersonId, int]) -> None:
        self._held = set(held)

    def __call__(self, _session: Session, duty: Duty, person: PersonId, token: int, _now: datetime) -> bool:
        """Tell of one of them."""
        return (duty, person, token) in self._held

    def revoke(self, token: int) -> None:
        """Take a token out of force."""
        self._held = {each for each in self._held if each[2] != token}
