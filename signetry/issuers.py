"""Which authorities stand behind the names that the endpoints give: all of a lineage that a job has to see to."""

from collections.abc import Collection
from datetime import datetime

from sqlmodel import Session

from ca import hierarchy
from ca.authorisation import CaName
from ca.lineage import Standing, is_over, lineages_of, standings
from ca.records import CertificationAuthority
from ca.rows import id_of


def needing_ra_keys(session: Session, names: Collection[CaName]) -> list[CertificationAuthority]:
    """Return who needs RA keys: the CAs that issue in the lineages of ``names``, and their successors once they are certified."""
    standing = standings(session)
    lineages = lineages_of(session, names)
    successors = [each.successor for each in lineages if each.successor is not None]
    return [
        *(each.active for each in lineages),
        *(row for row in successors if standing[id_of(row)] is Standing.PREPARED),
    ]


def published_for(session: Session, names: Collection[CaName], *, now: datetime) -> list[CaName]:
    """Return whose persons' certificates directories may hold: all in the lineages of ``names`` of whom any may be valid."""
    certified = {record.id for record in hierarchy.authorities(session) if record.revoked_at is None and record.not_after > now}
    rows = [row for each in lineages_of(session, names) for row in each.members]
    return [CaName(row.name) for row in rows if id_of(row) in certified and not is_over(session, id_of(row), now)]
