"""The hierarchy as the database keeps it: making authorities, finding and loading them.

Every function runs in the caller's transaction. Keys are kept before their rows are written, under names that follow from the
database's state: when a crash comes between, or the transaction runs a second time, the same call finds the unused key and
takes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from sqlmodel import Session, col, select

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import CaName
from ca.authority_certificates import authority_name, sign_issuing, sign_request, sign_root
from ca.certificate import BuiltCertificate
from ca.constraints import Constraints
from ca.errors import AuthorityExists, KeyUnavailable, UnknownAuthority
from ca.issuance import IssuanceListener, IssuingAuthority, record
from ca.keys import KeyAlgorithm, KeyStore, PrivateKey, open_key
from ca.lineage import Standing, standings
from ca.records import Certificate, CertificationAuthority
from ca.rows import (
    certificates_over,
    chain_above,
    current_certificate,
    find_row,
    id_of,
    key_reference,
    newest_certificate,
    newest_or_none,
    row_named,
)
from ca.subject import Organisation

ROOT = CaName("root")
ISSUING = CaName("issuing")
ISSUING_ALGORITHMS = (
    KeyAlgorithm.RSA3072,
    KeyAlgorithm.RSA2048,
    KeyAlgorithm.RSA4096,
    KeyAlgorithm.P256,
    KeyAlgorithm.P384,
)


@dataclass(frozen=True, slots=True)
class NewAuthority:
    """What an authority to be made is called and which key it gets; ``constraints`` concern an issuing CA only."""

    name: CaName
    common_name: str
    algorithm: KeyAlgorithm
    organisation: Organisation | None = None
    constraints: Constraints = field(default=Constraints())


@dataclass(frozen=True, slots=True)
class AuthorityRecord:
    """An authority as lists show it: who, under whom, and its newest certificate."""

    id: int
    name: CaName
    issuer: CaName | None
    # One of ``KeyAlgorithm`` where the key is ours.
    key_algorithm: str
    subject: str
    serial: str
    not_after: datetime
    revoked_at: datetime | None
    certificate_der: bytes = field(repr=False)
    # False of an authority above ours whose key is somebody else's.
    is_ours: bool = True
    standing: Standing = Standing.ACTIVE
    # The issuing CA whose place it takes, or will take.
    succeeds: CaName | None = None


def root_algorithm(issuing: KeyAlgorithm) -> KeyAlgorithm:
    """Choose the root's key: RSA above an RSA issuing CA, as Debian's scepclient cannot read an EC root, else P-384."""
    return KeyAlgorithm.RSA4096 if issuing.is_rsa else KeyAlgorithm.P384


def create_root(
    session: Session,
    keystore: KeyStore,
    new: NewAuthority,
    *,
    public_url: str,
    actor: Actor,
    now: datetime,
    listeners: Sequence[IssuanceListener] = (),
) -> IssuingAuthority:
    """Make a root: its key, its row, its self-signed certificate.

    Raises:
        AuthorityExists: the name is taken.
    """
    row, key = _new_row(session, keystore, new, issuer_id=None, now=now)
    built = sign_root(authority_name(new.common_name, new.organisation), key, now=now)
    root = IssuingAuthority(
        id=id_of(row),
        name=new.name,
        certificate=x509.load_der_x509_certificate(built.der),
        certificate_der=built.der,
        private_key=key,
        crl_url=crl_url(public_url, new.name),
        ca_issuers_url=ca_issuers_url(public_url, new.name),
    )
    record(session, built, authority=root, authorisation=None, actor=actor, now=now, listeners=listeners, certifies=root.id)
    _report_created(session, new, built, actor=actor, now=now)
    return root


def create_issuing(
    session: Session,
    keystore: KeyStore,
    root: IssuingAuthority,
    new: NewAuthority,
    *,
    public_url: str,
    actor: Actor,
    now: datetime,
    listeners: Sequence[IssuanceListener] = (),
) -> IssuingAuthority:
    """Make an issuing CA under ``root``, an authority loaded for the same ``public_url``.

    Raises:
        AuthorityExists: the name is taken.
        KeyUnavailable: the algorithm is not one for an issuing CA.
    """
    _require_issuing_algorithm(new.algorithm)
    row, key = _new_row(session, keystore, new, issuer_id=root.id, now=now)
    name = authority_name(new.common_name, new.organisation)
    built = sign_issuing(root, name, key.public_key(), constraints=new.constraints, now=now)
    record(session, built, authority=root, authorisation=None, actor=actor, now=now, listeners=listeners, certifies=id_of(row))
    _report_created(session, new, built, actor=actor, now=now)
    return load_authority(session, keystore, new.name, public_url)


def create_awaiting(
    session: Session, keystore: KeyStore, new: NewAuthority, *, actor: Actor, now: datetime
) -> x509.CertificateSigningRequest:
    """Make an issuing CA whose certificate somebody else's authority is to make: its key, its row, and the request.

    ``new.constraints`` must be empty: whoever certifies it decides them.

    Raises:
        AuthorityExists: the name is taken.
        KeyUnavailable: the algorithm is not one for an issuing CA.
    """
    _require_issuing_algorithm(new.algorithm)
    _, key = _new_row(session, keystore, new, issuer_id=None, now=now)
    details = {"key_algorithm": new.algorithm}
    record_event(session, Event(actor, "ca.requested", f"ca:{new.name}", details=details), now=now)
    return sign_request(authority_name(new.common_name, new.organisation), key)


def certificate_request(session: Session, keystore: KeyStore, name: CaName, subject: x509.Name) -> x509.CertificateSigningRequest:
    """Make a request over an issuing CA's key, for an authority above it; once it has a certificate, in the same name.

    ``subject`` is what to ask for while it has none.

    Raises:
        UnknownAuthority: there is none of that name, or it is a root.
        ForeignAuthority, KeyUnavailable: its key is somebody else's, or cannot be opened.
    """
    row = row_named(session, name)
    reference = key_reference(row)
    newest = newest_or_none(session, row)
    if newest is not None:
        if row.issuer_id is None:
            raise UnknownAuthority(f"{name} is a root: it certifies itself")
        subject = newest.subject
    return sign_request(subject, keystore.load(reference))


def load_authority(session: Session, keystore: KeyStore, name: CaName, public_url: str) -> IssuingAuthority:
    """Load an authority with its key and its chain, to issue under the URLs of ``public_url``.

    Raises:
        UnknownAuthority: there is none of that name, or it has no certificate that is not revoked.
        CertificateAwaited: it has no certificate yet.
        ForeignAuthority: its key is somebody else's.
        KeyUnavailable: its key cannot be opened.
    """
    row = row_named(session, name)
    reference = key_reference(row)
    current = current_certificate(session, row)
    return _loaded(row, current, keystore.load(reference), public_url, chain_above(session, row))


def load_crl_issuer(session: Session, keystore: KeyStore, name: CaName, public_url: str) -> IssuingAuthority:
    """Load an authority to sign its CRL, and nothing else: under its newest certificate, even where that is revoked.

    Whoever does not check the authority itself still asks which of its certificates are good, and with an expired CRL would have
    to guess; and what it issued can still be revoked.

    Raises:
        UnknownAuthority, CertificateAwaited, ForeignAuthority, KeyUnavailable: as ``load_authority``.
    """
    row = row_named(session, name)
    reference = key_reference(row)
    return _loaded(row, newest_certificate(session, row), keystore.load(reference), public_url, ())


def authorities(session: Session) -> list[AuthorityRecord]:
    """List the authorities that have a certificate, in the order in which they were made, each with its newest."""
    rows = session.exec(select(CertificationAuthority).order_by(col(CertificationAuthority.id))).all()
    names = {row.id: CaName(row.name) for row in rows}
    standing = standings(session)
    found = []
    for row in rows:
        current = session.exec(certificates_over(id_of(row))).first()
        if current is None:
            continue
        found.append(
            AuthorityRecord(
                id=id_of(row),
                name=CaName(row.name),
                issuer=names.get(row.issuer_id),
                key_algorithm=row.key_algorithm,
                subject=current.subject,
                serial=current.serial,
                not_after=current.not_after,
                revoked_at=current.revoked_at,
                certificate_der=current.der,
                is_ours=row.key_reference is not None,
                standing=standing[id_of(row)],
                succeeds=names.get(row.succeeds_id),
            )
        )
    return found


def awaiting_certificate(session: Session) -> list[CaName]:
    """List the authorities that have a key and no certificate yet, in the order in which they were made."""
    certified = select(Certificate.certifies_id).where(col(Certificate.certifies_id).is_not(None))
    rows = select(CertificationAuthority.name).where(col(CertificationAuthority.id).not_in(certified))
    return [CaName(name) for name in session.exec(rows.order_by(col(CertificationAuthority.id)))]


def crl_url(public_url: str, name: CaName) -> str:
    """Return where an authority's CRL is published."""
    return f"{public_url.rstrip('/')}/crl/{name}.crl"


def ca_issuers_url(public_url: str, name: CaName) -> str:
    """Return where an authority's certificate is published."""
    return f"{public_url.rstrip('/')}/aia/{name}.cer"


def _new_row(
    session: Session,
    keystore: KeyStore,
    new: NewAuthority,
    *,
    issuer_id: int | None,
    now: datetime,
) -> tuple[CertificationAuthority, PrivateKey]:
    if find_row(session, new.name) is not None:
        raise AuthorityExists(f"there is already an authority {new.name!r}")
    # The algorithm is part of the name, so that another attempt with another one does not meet the key of this one.
    reference = f"{new.name}-{new.algorithm}"
    key = open_key(keystore, reference, new.algorithm)
    row = CertificationAuthority(
        name=new.name,
        issuer_id=issuer_id,
        key_reference=reference,
        key_algorithm=new.algorithm,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row, key


def _require_issuing_algorithm(algorithm: KeyAlgorithm) -> None:
    if algorithm not in ISSUING_ALGORITHMS:
        raise KeyUnavailable(f"the key of an issuing CA is one of {', '.join(ISSUING_ALGORITHMS)}, not {algorithm}")


def _loaded(
    row: CertificationAuthority, certificate: Certificate, key: PrivateKey, public_url: str, chain: tuple[bytes, ...]
) -> IssuingAuthority:
    name = CaName(row.name)
    return IssuingAuthority(
        id=id_of(row),
        name=name,
        certificate=x509.load_der_x509_certificate(certificate.der),
        certificate_der=certificate.der,
        private_key=key,
        crl_url=crl_url(public_url, name),
        ca_issuers_url=ca_issuers_url(public_url, name),
        chain=chain,
    )


def _report_created(session: Session, new: NewAuthority, built: BuiltCertificate, *, actor: Actor, now: datetime) -> None:
    details = {"serial": built.serial, "subject": built.subject, "key_algorithm": new.algorithm}
    record_event(session, Event(actor, "ca.created", f"ca:{new.name}", details=details), now=now)
