"""What Microsoft Intune should have of persons' encryption keys, beside what it has: what is to be created, updated, deleted.

Intune gets every encryption key of an active person, each as a PKCS #12 of its own. What somebody else has uploaded over a
certificate of ours is replaced; what is over another one is not ours to touch. Source: facts/mail_profiles.md section 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import func, select
from sqlmodel import Session

from ca.authorisation import PersonId
from foundation.tables import table_of
from intune.imported_pfx import ConnectorKey, IntendedPurpose, Listed, Statement, thumbprint_of
from people.person import PersonRecord
from pkcs_import.delivery import certificate_for
from pkcs_import.keeping import KeptCertificate, KeptKey
from pkcs_import.purpose import Purpose
from pkcs_import.records import ArchivedCertificate, PushedPfx

_PUSHED = table_of(PushedPfx)
_CERTIFICATE = table_of(ArchivedCertificate)
_FOR_ENCRYPTION: Final = (str(Purpose.ENCRYPTION), str(Purpose.BOTH))


class Change(StrEnum):
    """What is to be done with a file in Intune."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Connector:
    """The connector that is to open the files: its public key, and what it and its provider are called on its machine."""

    key: ConnectorKey
    key_name: str
    provider_name: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is on record of a file that Intune was, or was to be, given; see ``pkcs_import.records.PushedPfx``."""

    thumbprint: str
    upn: str
    connector_key: str
    intune_id: str | None
    pushed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Subject:
    """A certificate with its key that Intune should have, and what it is to be told of it."""

    key_id: int
    certificate: KeptCertificate
    statement: Statement


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        change: what.
        person, upn: whose file it is.
        thumbprint: over which certificate.
        reason: why, for people.
        subject: what is to be there afterwards; None of what is to go.
        intune_id: what Graph calls the file that is there; None where none is.
    """

    change: Change
    person: PersonId
    upn: str
    thumbprint: str
    reason: str
    subject: Subject | None
    intune_id: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for one person, in this order, and how many files are as they should be."""

    person: PersonId
    upn: str
    steps: tuple[Step, ...]
    unchanged: int


def concerned(session: Session) -> list[PersonId]:
    """Return everybody who has an encryption key here, or a file of ours in Intune."""
    archived = select(_CERTIFICATE.c.person_id).where(_CERTIFICATE.c.purpose.in_(_FOR_ENCRYPTION))
    return sorted(PersonId(each) for each in session.scalars(archived.union(select(_PUSHED.c.person_id))))


def interrupted(session: Session) -> int:
    """Return how many uploads are not known to have succeeded."""
    query = select(func.count()).select_from(_PUSHED).where(_PUSHED.c.pushed_at.is_(None))
    count: int = session.execute(query).scalar_one()
    return count


def recorded(session: Session, person: PersonId) -> dict[str, Recorded]:
    """Return what is on record of a person's files in Intune, by thumbprint."""
    rows = session.execute(select(_PUSHED).where(_PUSHED.c.person_id == person))
    return {row.thumbprint: Recorded(row.thumbprint, row.upn, row.connector_key, row.intune_id, row.pushed_at) for row in rows}


def plan(
    person: PersonRecord,
    keys: Sequence[KeptKey],
    on_record: Mapping[str, Recorded],
    listed: Mapping[str, Listed],
    connector: Connector,
) -> Plan:
    """Return what is to be done for a person.

    Args:
        person: whose files they are.
        keys: all archived keys of theirs.
        on_record: what is on record of their files in Intune, by thumbprint.
        listed: what Graph lists of them, by thumbprint.
        connector: who is to open them.
    """
    owner = PersonId(person.id)
    wanted = _wanted(person, keys, connector) if person.active else {}
    # An earlier certificate over a key that has a later one stays: mail names the certificate it is encrypted to.
    kept = {thumbprint_of(each.der) for key in keys for each in key.certificates} if person.active else set()
    steps: list[Step] = []

    def add(change: Change, thumbprint: str, reason: str, subject: Subject | None = None) -> None:
        there = listed.get(thumbprint)
        number = None if there is None or change is Change.CREATE else there.id
        steps.append(Step(change, owner, person.upn, thumbprint, reason, subject, number))

    for thumbprint in sorted(on_record.keys() - kept):
        add(Change.DELETE, thumbprint, "not on record any more" if person.active else "the person is not active")
    unchanged = 0
    for thumbprint, subject in wanted.items():
        there = listed.get(thumbprint)
        if there is not None and not _is_same(there.statement.user_principal_name, person.upn):
            # Graph's number is made of the user's: it cannot become somebody else's.
            add(Change.DELETE, thumbprint, f"it is {there.statement.user_principal_name}'s")
            add(Change.CREATE, thumbprint, "the UPN has changed", subject)
        elif reason := _why(subject.statement, on_record.get(thumbprint), there, connector):
            add(Change.CREATE if there is None else Change.UPDATE, thumbprint, reason, subject)
        else:
            unchanged += 1
    return Plan(owner, person.upn, tuple(steps), unchanged)


def _wanted(person: PersonRecord, keys: Sequence[KeptKey], connector: Connector) -> dict[str, Subject]:
    found = {}
    for key in keys:
        if not key.is_for_encryption:
            continue
        certificate = certificate_for(key)
        statement = Statement(
            thumbprint=thumbprint_of(certificate.der),
            user_principal_name=person.upn,
            intended_purpose=IntendedPurpose.SMIME_ENCRYPTION,
            start=certificate.not_before,
            expiration=certificate.not_after,
            provider_name=connector.provider_name,
            key_name=connector.key_name,
            padding_scheme=connector.key.padding_scheme,
        )
        found[statement.thumbprint] = Subject(key.id, certificate, statement)
    return found


def _why(statement: Statement, record: Recorded | None, there: Listed | None, connector: Connector) -> str:
    """Return why a file is to be uploaded; empty where it is as it should be."""
    if there is None:
        return "no longer in Intune" if record is not None and record.pushed_at is not None else "not in Intune"
    differences = statement.differences(there.statement)
    if differences:
        return f"{', '.join(differences)} differ{'s' if len(differences) == 1 else ''}"
    if record is None:
        return "uploaded by somebody else"
    if record.pushed_at is None:
        return "the upload was interrupted"
    # Graph does not show what the passphrase is encrypted to.
    return "" if record.connector_key == connector.key.sha256 else "the connector's key is another"


def _is_same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()
