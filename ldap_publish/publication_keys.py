"""The keys that sign userSMIMECertificate for persons whose own key the authority does not hold: made, renewed, loaded.

They are an authority's own, with a certificate of the profile ``profile-signer`` (facts/ldap.md, last section).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlmodel import Session

from audit.log import Actor
from ca.errors import KeyUnavailable
from ca.issuance import IssuanceListener, IssuingAuthority
from ca.keys import KeyAlgorithm, KeyStore
from ca.profiles import PROFILE_SIGNER
from ca.service_keys import Purpose, create_service_key, is_service_key_due, service_keys
from ldap_publish.smime import Signer

# Everything signed is signed again then: enough for a worker, or a directory, that is down for long.
RENEWED_BEFORE_END = timedelta(days=60)
# RSA: every reader of S/MIME knows it.
PUBLICATION = Purpose("publication", "Directory publication", PROFILE_SIGNER, KeyAlgorithm.RSA2048, RENEWED_BEFORE_END)


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
    create_service_key(session, keystore, authority, PUBLICATION, actor=actor, now=now, listeners=listeners)


def is_publication_key_due(session: Session, authority_id: int, *, now: datetime) -> bool:
    """Say whether an issuing CA needs a new publication key: it has none, or the newest one nears its end."""
    return is_service_key_due(session, authority_id, PUBLICATION, now=now)


class PublicationKeys:
    """The publication keys of a process, each opened once."""

    def __init__(self, keystore: KeyStore) -> None:
        self._keystore = keystore
        self._opened: dict[str, Signer] = {}

    def signer(self, session: Session, authority_id: int, now: datetime) -> Signer | None:
        """Return the key that signs for an authority's persons now, None where there is none yet. Raises KeyUnavailable."""
        kept = next(iter(service_keys(session, authority_id, PUBLICATION, now=now)), None)
        if kept is None:
            return None
        if kept.reference not in self._opened:
            key = self._keystore.load(kept.reference)
            if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
                raise KeyUnavailable("a publication key is an RSA or elliptic-curve key")
            self._opened[kept.reference] = Signer(kept.certificate_der, key)
        return self._opened[kept.reference]
