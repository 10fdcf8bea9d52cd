"""Lineages of issuing CAs: who succeeded whom, and which of them issues.

An issuing CA is rolled over by a successor with a key and a name of its own. Those that followed each other are one lineage; any
of their names stands for it where settings name an issuing CA, and exactly one of them issues. A CA that was never rolled over is
a lineage by itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from ca.authorisation import CaName
from ca.errors import UnknownAuthority
from ca.records import Certificate, CertificationAuthority
from ca.rows import id_of


class Standing(StrEnum):
    """What an authority is to its lineage."""

    # Made, and waiting for a certificate from somebody else's authority.
    AWAITING = "awaiting"
    # Made and certified; it will issue once it is activated.
    PREPARED = "prepared"
    ACTIVE = "active"
    # Succeeded by another: its certificates are good, and may be renewed.
    FORMER = "former"
    # Nothing is asked of it any more but its CRL.
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Lineage:
    """One lineage: who issues, who will, who did (the latest first) and is not retired, and who is."""

    active: CertificationAuthority
    successor: CertificationAuthority | None
    former: tuple[CertificationAuthority, ...]
    retired: tuple[CertificationAuthority, ...]

    @property
    def in_use(self) -> tuple[CertificationAuthority, ...]:
        """Those that issue, are about to, or did and still answer; one that waits for its certificate among them."""
        return (self.active, *((self.successor,) if self.successor else ()), *self.former)

    @property
    def members(self) -> tuple[CertificationAuthority, ...]:
        """All of them."""
        return (*self.in_use, *self.retired)


def lineage_of(session: Session, name: CaName) -> Lineage:
    """Return the lineage that ``name`` belongs to.

    Raises:
        UnknownAuthority: no authority has this name.
    """
    rows = _rows(session)
    found = next((row for row in rows.values() if row.name == name), None)
    if found is None:
        raise UnknownAuthority(f"there is no authority {name!r}")
    first = _first(found, rows)
    return _lineage([row for row in rows.values() if _first(row, rows) is first])


def lineages_of(session: Session, names: Iterable[CaName]) -> list[Lineage]:
    """Return the lineages of ``names``, each once; a name that no authority has is left out."""
    rows = _rows(session)
    firsts = {id_of(_first(row, rows)) for row in rows.values() if row.name in {*names}}
    return [_lineage([row for row in rows.values() if id_of(_first(row, rows)) == first]) for first in sorted(firsts)]


def standings(session: Session) -> dict[int, Standing]:
    """Return what every authority is to its lineage, by its number."""
    rows = _rows(session)
    certified = set(session.exec(select(Certificate.certifies_id).where(col(Certificate.certifies_id).is_not(None)).distinct()))
    succeeded = {row.succeeds_id for row in rows.values() if row.activated_at is not None}
    return {number: _standing(row, is_certified=number in certified, succeeded=succeeded) for number, row in rows.items()}


def is_over(session: Session, authority_id: int, since: datetime) -> bool:
    """Say whether an authority is retired, and no certificate of it has been valid ``since`` then."""
    row = session.get(CertificationAuthority, authority_id)
    if row is None or row.retired_at is None:
        return False
    valid = select_columns(col(Certificate.id)).where(
        col(Certificate.authority_id) == authority_id, col(Certificate.not_after) >= since
    )
    return session.execute(valid.limit(1)).first() is None


def _rows(session: Session) -> dict[int, CertificationAuthority]:
    rows = session.exec(select(CertificationAuthority).order_by(col(CertificationAuthority.id)))
    return {id_of(row): row for row in rows}


def _first(row: CertificationAuthority, rows: Mapping[int, CertificationAuthority]) -> CertificationAuthority:
    while row.succeeds_id is not None:
        row = rows[row.succeeds_id]
    return row


def _lineage(members: list[CertificationAuthority]) -> Lineage:
    """Tell the members of one lineage apart.

    Only the active one is ever succeeded, so those that were activated form a line, and its last one is active.
    """
    succeeded = {row.succeeds_id for row in members if row.activated_at is not None}
    retired = [row for row in members if row.retired_at is not None]
    current = [row for row in members if row.retired_at is None]
    return Lineage(
        active=next(row for row in current if _has_begun(row) and row.id not in succeeded),
        successor=next((row for row in current if not _has_begun(row)), None),
        former=tuple(row for row in reversed(current) if row.id in succeeded),
        retired=tuple(retired),
    )


def _standing(row: CertificationAuthority, *, is_certified: bool, succeeded: set[int | None]) -> Standing:
    if row.retired_at is not None:
        return Standing.RETIRED
    if not is_certified:
        return Standing.AWAITING
    if not _has_begun(row):
        return Standing.PREPARED
    return Standing.FORMER if row.id in succeeded else Standing.ACTIVE


def _has_begun(row: CertificationAuthority) -> bool:
    """Say whether an authority has come to issue: the first of a lineage does from the beginning."""
    return row.succeeds_id is None or row.activated_at is not None
