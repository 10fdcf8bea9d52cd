"""The authorities as the running processes hold them: loaded once, and again when the database says something changed.

Loading a key means decrypting a PKCS #8 file, which takes longer than an enrolment; a command beside the service (a re-issued
authority, a new RA key) must still be seen within a second. So the rows' highest numbers are compared once in a while.
"""

import threading
import time
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from ca import hierarchy
from ca.authorisation import CaName
from ca.errors import KeyUnavailable, UnknownAuthority
from ca.issuance import IssuingAuthority
from ca.keys import KeyStore
from ca.ra_keys import load_ra_keys
from ca.records import Certificate, CertificationAuthority, ServiceKey
from foundation.clock import Clock
from foundation.transactions import Transactions
from scep.responder import EndpointKeys
from scep.signing import Signer
from signetry.timed_keys import KeyObserver, TimedKeyStore

_LOOK_EVERY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _RaKeys:
    """The RA's keys, newest first, and when the first of their certificates expires: no row tells of that."""

    signers: tuple[Signer, ...]
    until: datetime


class Authorities:
    """A cache over ``ca.hierarchy``; safe to use from several threads. An ``observer`` is told of each use of a key."""

    def __init__(
        self,
        transactions: Transactions,
        keystore: KeyStore,
        clock: Clock,
        public_url: str,
        *,
        observer: KeyObserver | None = None,
    ) -> None:
        self._transactions = transactions
        self._ca_keystore = keystore if observer is None else TimedKeyStore(keystore, "ca", observer)
        self._ra_keystore = keystore if observer is None else TimedKeyStore(keystore, "ra", observer)
        self._clock = clock
        self._public_url = public_url
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._generation: tuple[int, ...] = ()
        self._by_name: dict[CaName, IssuingAuthority] = {}
        self._crl_issuers: dict[int, IssuingAuthority] = {}
        self._ra: dict[CaName, _RaKeys] = {}

    def authority(self, name: CaName) -> IssuingAuthority:
        """Return an authority with its private key.

        Raises:
            UnknownAuthority: there is none of this name.
            KeyUnavailable: its key cannot be loaded.
        """
        with self._lock:
            self._refresh()
            return self._authority(name)

    def endpoint_keys(self, name: CaName) -> EndpointKeys:
        """Return the issuing CA ``name`` and its RA's keys, newest first.

        Raises:
            UnknownAuthority, KeyUnavailable: as for ``authority``.
        """
        with self._lock:
            self._refresh()
            authority = self._authority(name)
            now = self._clock.now()
            ra = self._ra.get(name)
            if ra is None or ra.until <= now:
                ra = self._ra[name] = self._ra_keys(authority, now)
            return EndpointKeys(authority, ra.signers)

    def crl_issuer(self, authority_id: int) -> IssuingAuthority:
        """Return the authority of this row number to sign its CRL with; its own certificate may be revoked.

        Raises:
            UnknownAuthority, KeyUnavailable: as for ``authority``.
        """
        with self._lock:
            self._refresh()
            if authority_id not in self._crl_issuers:
                with self._transactions.reading() as session:
                    name = _name(session, authority_id)
                    issuer = hierarchy.load_crl_issuer(session, self._ca_keystore, name, self._public_url)
                self._crl_issuers[authority_id] = issuer
            return self._crl_issuers[authority_id]

    def _ra_keys(self, authority: IssuingAuthority, now: datetime) -> "_RaKeys":
        with self._transactions.reading() as session:
            pairs = load_ra_keys(session, self._ra_keystore, authority, now=now)
        if not pairs:
            raise KeyUnavailable(f"authority {authority.name} has no RA key in force; the worker makes one")
        # strongSwan is given the root alone and looks for what is between in the reply.
        chain = (authority.certificate_der,)
        signers = tuple(Signer.of(pair.certificate, pair.private_key, chain) for pair in pairs)
        return _RaKeys(signers, min(pair.certificate.not_valid_after_utc for pair in pairs))

    def _authority(self, name: CaName) -> IssuingAuthority:
        if name not in self._by_name:
            with self._transactions.reading() as session:
                self._by_name[name] = hierarchy.load_authority(session, self._ca_keystore, name, self._public_url)
        return self._by_name[name]

    def _refresh(self) -> None:
        if time.monotonic() - self._looked_at < _LOOK_EVERY_SECONDS:
            return
        with self._transactions.reading() as session:
            generation = _generation(session)
        self._looked_at = time.monotonic()
        if generation != self._generation:
            self._generation = generation
            self._by_name.clear()
            self._crl_issuers.clear()
            self._ra.clear()


def _name(session: Session, authority_id: int) -> CaName:
    name = session.exec(select(CertificationAuthority.name).where(col(CertificationAuthority.id) == authority_id)).one_or_none()
    if name is None:
        raise UnknownAuthority(f"there is no authority number {authority_id}")
    return CaName(name)


def _generation(session: Session) -> tuple[int, ...]:
    """Return numbers that change whenever an authority, a certificate over it or another of its keys is added, or one revoked."""
    authorities = session.exec(select(func.max(CertificationAuthority.id))).one()
    own = session.exec(
        select(func.count(col(Certificate.id)), func.count(col(Certificate.revoked_at))).where(
            col(Certificate.certifies_id).is_not(None),
        ),
    ).one()
    service_keys = session.exec(
        select(func.count(col(ServiceKey.id)), func.count(col(Certificate.revoked_at))).join(
            Certificate,
            col(ServiceKey.certificate_id) == col(Certificate.id),
        ),
    ).one()
    return (authorities or 0, *own, *service_keys)
