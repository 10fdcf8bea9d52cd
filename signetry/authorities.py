"""The authorities as the running processes hold them: loaded once, and again when the database says something changed.

Loading a key means decrypting a PKCS #8 file, which takes longer than an enrolment; a command beside the service (a re-issued
authority, a new RA key) must still be seen within a second. So the rows' highest numbers are compared once in a while.

Not every process looks at the same moment. What a client is told by one may be sent to another: GetCACert names nothing new
before all of them have looked.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlalchemy import func
from sqlmodel import Session, col, select

from ca import hierarchy
from ca.authorisation import CaName
from ca.errors import KeyUnavailable
from ca.issuance import IssuingAuthority
from ca.keys import KeyStore
from ca.lineage import lineage_of
from ca.ra_keys import load_ra_keys
from ca.records import Certificate, CertificationAuthority, ServiceKey
from ca.rows import chain_above, current_certificate, id_of, name_of, newest_or_none
from foundation.clock import Clock
from foundation.errors import SignetryError
from foundation.transactions import Transactions
from scep.algorithms import Digest
from scep.endpoint_keys import EndpointKeys
from scep.register import FormerIssuer
from scep.signing import Signer, certificates_only, sign
from signetry.timed_keys import KeyObserver, TimedKeyStore

_log = structlog.get_logger("signetry.authorities")

_LOOK_EVERY_SECONDS = 0.5
# Before an authority that could not be used is tried again.
_LEFT_OUT_FOR = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What answers where a lineage issues, and until when: the first of the RA's certificates expires, and no row tells of it.

    ``named_from`` is when (by ``time.monotonic``) GetCACert may name it.
    """

    keys: EndpointKeys
    until: datetime
    named_from: float = 0.0


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
        self._endpoints: dict[CaName, _Endpoint] = {}
        # What answered before the last change.
        self._endpoints_before: dict[CaName, _Endpoint] = {}
        self._issuers: Mapping[bytes, tuple[int, ...]] | None = None

    def authority(self, name: CaName) -> IssuingAuthority:
        """Return an authority with its private key.

        Raises:
            UnknownAuthority: there is none of this name.
            KeyUnavailable: its key cannot be loaded.
        """
        with self._lock:
            self._refresh()
            with self._transactions.reading() as session:
                return self._authority(session, name)

    def issuing_now(self, name: CaName) -> IssuingAuthority:
        """Return the CA that issues in the lineage of ``name``. Raises as ``authority``."""
        with self._lock:
            self._refresh()
            with self._transactions.reading() as session:
                return self._authority(session, CaName(lineage_of(session, name).active.name))

    def endpoint_keys(self, name: CaName) -> EndpointKeys:
        """Return what answers at an endpoint of the lineage of ``name``: the CA that issues, and the keys of its RA.

        The RA's newest key comes first; those of former CAs that are not retired come last, for requests that were made before.

        Raises:
            UnknownAuthority, KeyUnavailable: as for ``authority``.
        """
        with self._lock:
            self._refresh()
            endpoint = self._endpoints.get(name)
            if endpoint is None or endpoint.until <= self._clock.now():
                made = self._endpoint(name)
                endpoint = self._endpoints[name] = _after(self._endpoints_before.pop(name, None), made)
            if endpoint.keys.named_before is not None and endpoint.named_from <= time.monotonic():
                endpoint = self._endpoints[name] = replace(endpoint, keys=replace(endpoint.keys, named_before=None))
            return endpoint.keys

    def crl_issuer(self, authority_id: int) -> IssuingAuthority:
        """Return the authority of this row number to sign its CRL with; its own certificate may be revoked.

        Raises:
            UnknownAuthority, KeyUnavailable: as for ``authority``.
        """
        with self._lock:
            self._refresh()
            if authority_id not in self._crl_issuers:
                with self._transactions.reading() as session:
                    name = name_of(session, authority_id)
                    issuer = hierarchy.load_crl_issuer(session, self._ca_keystore, name, self._public_url)
                self._crl_issuers[authority_id] = issuer
            return self._crl_issuers[authority_id]

    def issuers(self) -> Mapping[bytes, tuple[int, ...]]:
        """Return the numbers of our authorities by their encoded names, as the certificates that they issue have them."""
        with self._lock:
            self._refresh()
            if self._issuers is None:
                with self._transactions.reading() as session:
                    self._issuers = _names(session)
            return self._issuers

    def _endpoint(self, name: CaName) -> _Endpoint:
        with self._transactions.reading() as session:
            lineage = lineage_of(session, name)
            authority = self._authority(session, CaName(lineage.active.name))
            # strongSwan is given the root alone and looks for what is between in the reply.
            signers = self._signers(session, authority.id, (authority.certificate_der,))
            if not signers:
                raise KeyUnavailable(f"authority {authority.name} has no RA key in force; the worker makes one")
            former: list[FormerIssuer] = []
            left_out: list[str] = []
            for row in lineage.former:
                # What issues now must not stand still for what has gone before.
                with _leaving_out(row.name, left_out):
                    current = current_certificate(session, row)
                    subject = x509.load_der_x509_certificate(current.der).subject.public_bytes()
                    # Along with an answer to what was sent to its RA goes the CA that has issued what is in the answer.
                    signers += self._signers(session, id_of(row), (current.der, authority.certificate_der))
                    former.append(FormerIssuer(id_of(row), subject, current.der))
            upcoming: bytes | None = None
            if lineage.successor is not None:
                with _leaving_out(lineage.successor.name, left_out):
                    upcoming = self._upcoming(session, authority, lineage.successor)
        keys = EndpointKeys(authority, tuple(signers), tuple(former), upcoming)
        ends = [each.certificate.not_valid_after_utc for each in signers]
        if left_out:
            ends.append(self._clock.now() + _LEFT_OUT_FOR)
        return _Endpoint(keys, min(ends))

    def _upcoming(self, session: Session, authority: IssuingAuthority, row: CertificationAuthority) -> bytes | None:
        """Return the answer to GetNextCACert: the certificates of a successor and its RA, signed by the CA that issues now.

        None while they are not complete. (RFC 8894 section 4.7.1)
        """
        if newest_or_none(session, row) is None:
            return None
        ra = load_ra_keys(session, self._ra_keystore, id_of(row), now=self._clock.now())
        if not ra:
            return None
        own = current_certificate(session, row).der
        bag = certificates_only((ra[0].certificate_der, own, *chain_above(session, row)))
        key = authority.private_key
        if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
            return None
        return sign(Signer.of(authority.certificate, key, authority.chain), bag, (), Digest.SHA256)

    def _signers(self, session: Session, authority_id: int, chain: tuple[bytes, ...]) -> list[Signer]:
        pairs = load_ra_keys(session, self._ra_keystore, authority_id, now=self._clock.now())
        return [Signer.of(pair.certificate, pair.private_key, chain) for pair in pairs]

    def _authority(self, session: Session, name: CaName) -> IssuingAuthority:
        if name not in self._by_name:
            self._by_name[name] = hierarchy.load_authority(session, self._ca_keystore, name, self._public_url)
        return self._by_name[name]

    def _refresh(self) -> None:
        if time.monotonic() - self._looked_at < _LOOK_EVERY_SECONDS:
            return
        # Noted before: what is committed after this moment may not be in what is read.
        looking_at = time.monotonic()
        with self._transactions.reading() as session:
            generation = _generation(session)
        self._looked_at = looking_at
        if generation != self._generation:
            self._generation = generation
            self._by_name.clear()
            self._crl_issuers.clear()
            self._endpoints_before |= self._endpoints
            self._endpoints.clear()
            self._issuers = None


def _after(before: _Endpoint | None, made: _Endpoint) -> _Endpoint:
    """Return what was ``made``, to be named only once the other processes must have seen it, too.

    Where what was named ``before`` can be used no more, there is nothing to wait for.
    """
    if before is None:
        return made
    named = before.keys.named_before or before.keys
    if named.bag == made.keys.bag or all(signer.certificate_der != named.bag[0] for signer in made.keys.ra):
        return made
    is_waiting = before.keys.bag == made.keys.bag
    named_from = before.named_from if is_waiting else time.monotonic() + _LOOK_EVERY_SECONDS
    return replace(made, keys=replace(made.keys, named_before=named), named_from=named_from)


def _names(session: Session) -> Mapping[bytes, tuple[int, ...]]:
    found: dict[bytes, tuple[int, ...]] = {}
    for record in hierarchy.authorities(session):
        if record.is_ours:
            name = x509.load_der_x509_certificate(record.certificate_der).subject.public_bytes()
            found[name] = (*found.get(name, ()), record.id)
    return found


@contextmanager
def _leaving_out(name: str, left_out: list[str]) -> Iterator[None]:
    """Let an authority be ``left_out`` that cannot be used now."""
    try:
        yield
    except SignetryError as error:
        left_out.append(name)
        _log.warning("authority beside the issuing one left out", authority=name, reason=str(error))


def _generation(session: Session) -> tuple[int, ...]:
    """Return numbers that change whenever the authorities do.

    That is when one is added, takes over or is retired, when one is certified or gets another key, and when that is revoked.
    """
    authorities = session.exec(
        select(
            func.count(col(CertificationAuthority.id)),
            func.count(col(CertificationAuthority.activated_at)),
            func.count(col(CertificationAuthority.retired_at)),
        )
    ).one()
    own = session.exec(
        select(func.count(col(Certificate.id)), func.count(col(Certificate.revoked_at))).where(
            # Not "IS NOT NULL": SQLite would read every certificate there is for that, twice a second, instead of the index.
            col(Certificate.certifies_id) > 0,
        ),
    ).one()
    service_keys = session.exec(
        select(func.count(col(ServiceKey.id)), func.count(col(Certificate.revoked_at))).join(
            Certificate,
            col(ServiceKey.certificate_id) == col(Certificate.id),
        ),
    ).one()
    return (*authorities, *own, *service_keys)
