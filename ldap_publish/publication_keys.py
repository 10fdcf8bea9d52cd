"""The keys that sign userSMIMECertificate for persons whose own key the authority does not hold: made, renewed, loaded.

They are an authority's own, with a certificate of the profile ``profile-signer`` (facts/ldap.md, last section).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlalchemy import func
from sqlmodel import Session, col, select

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import SubjectNames
from ca.errors import KeyUnavailable
from ca.issuance import IssuanceListener, IssuingAuthority, build, record
from ca.keys import KeyAlgorithm, KeyStore, open_key
from ca.profiles import PROFILE_SIGNER
from ca.records import Certificate
from ldap_publish.records import PublicationKey
from ldap_publish.smime import Signer

# Every reader of S/MIME knows it.
_ALGORITHM = KeyAlgorithm.RSA2048
# Everything signed is signed again then: enough for a worker, or a directory, that is down for long.
RENEWED_BEFORE_END = timedelta(days=60)


def create_publication_key(
    session: Session,
    keystore: KeyStore,
    authority: IssuingAuthority,
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[IssuanceListener] = (),
) -> None:
    """Make the next publication key of an issuing CA, with which its persons' values are signed from now on."""
    made = session.exec(select(func.count()).where(col(PublicationKey.authority_id) == authority.id)).one()
    reference = f"{authority.name}-publication-{made + 1}"
    key = open_key(keystore, reference, _ALGORITHM)
    names = SubjectNames(display_name=f"Directory publication {made + 1} of {authority.name}")
    built = build(authority, PROFILE_SIGNER, names, key.public_key(), now=now)
    certificate_id = record(session, built, authority=authority, authorisation=None, actor=actor, now=now, listeners=listeners)
    session.add(PublicationKey(authority_id=authority.id, certificate_id=certificate_id, key_reference=reference, created_at=now))
    session.flush()
    details = {"serial": built.serial, "key": reference}
    record_event(session, Event(actor, "publication-key.created", f"ca:{authority.name}", details=details), now=now)


def is_publication_key_due(session: Session, authority_id: int, *, now: datetime) -> bool:
    """Say whether an issuing CA needs a new publication key: it has none, or the newest one nears its end."""
    newest = _newest(session, authority_id)
    return newest is None or newest[1].not_after - now < RENEWED_BEFORE_END


class PublicationKeys:
    """The publication keys of a process, each opened once."""

    def __init__(self, keystore: KeyStore) -> None:
        self._keystore = keystore
        self._opened: dict[str, Signer] = {}

    def signer(self, session: Session, authority_id: int, now: datetime) -> Signer | None:
        """Return the key that signs for an authority's persons now, None where there is none yet. Raises KeyUnavailable."""
        newest = _newest(session, authority_id)
        if newest is None or newest[1].not_after <= now:
            return None
        reference = newest[0].key_reference
        if reference not in self._opened:
            key = self._keystore.load(reference)
            if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
                raise KeyUnavailable("a publication key is an RSA or elliptic-curve key")
            self._opened[reference] = Signer(newest[1].der, key)
        return self._opened[reference]


def _newest(session: Session, authority_id: int) -> tuple[PublicationKey, Certificate] | None:
    query = (
        select(PublicationKey, Certificate)
        .join(Certificate, col(PublicationKey.certificate_id) == col(Certificate.id))
        .where(col(PublicationKey.authority_id) == authority_id, col(Certificate.revoked_at).is_(None))
        .order_by(col(PublicationKey.id).desc())
    )
    return session.exec(query).first()
