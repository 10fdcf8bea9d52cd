"""What of our own authorities a file brings back."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlmodel import Session

from ca.records import Certificate
from foundation.tables import table_of
from pkcs_import.keeping import NewCertificate
from pkcs_import.selection import SelectedKey
from pkcs_import.trust import Trust

_OURS = table_of(Certificate)


def our_authorities(session: Session) -> Sequence[bytes]:
    """Return the certificates (DER) of our authorities, and of those above them, that are not revoked: all there ever were."""
    over_authorities = select(_OURS.c.der).where(_OURS.c.certifies_id.is_not(None), _OURS.c.revoked_at.is_(None))
    return [bytes(der) for der in session.scalars(over_authorities.order_by(_OURS.c.id))]


def with_ours(session: Session, key: SelectedKey) -> SelectedKey:
    """Return a key with those of its certificates marked that we issued."""
    if not any(each.trust is Trust.OURS for each in key.certificates):
        return key
    rows = session.execute(select(_OURS.c.id, _OURS.c.der).where(_OURS.c.spki_sha256 == key.spki_sha256)).all()
    ids = {bytes(row.der): row.id for row in rows}
    return replace(key, certificates=tuple(_marked(each, ids.get(each.der)) for each in key.certificates))


def _marked(certificate: NewCertificate, number: int | None) -> NewCertificate:
    return certificate if number is None else replace(certificate, certificate_id=number)
