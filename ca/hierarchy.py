"""The hierarchy as the database keeps it: making authorities, certifying them again, finding and loading them.

Every function runs in the caller's transaction. Keys are kept before their rows are written, under names that follow from the
database's state: when a crash comes between, or the transaction runs a second time, the same call finds the unused key and
takes it.
"""

from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import CaName
from ca.authority_certificates import authority_name, sign_again, sign_issuing, sign_root
from ca.certificate import BuiltCertificate
from ca.constraints import Constraints
from ca.errors import AuthorityExists, KeyUnavailable, UnknownAuthority
from ca.issuance import IssuingAuthority, record
from ca.keys import KeyAlgorithm, KeyStore, PrivateKey, algorithm_of
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevocationReason
from ca.subject import Organisation

_KEY_IS_LOST = (RevocationReason.KEY_COMPROMISE, RevocationReason.CA_COMPROMISE)
ROOT = CaName("root")
ISSUING = CaName("issuing")
_ISSUING_ALGORITHMS = (
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
    key_algorithm: KeyAlgorithm
    subject: str
    serial: str
    not_after: datetime
    revoked_at: datetime | None
    certificate_der: bytes = field(repr=False)


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
) -> IssuingAuthority:
    """Make a root: its key, its row, its self-signed certificate.

    Raises:
        AuthorityExists: the name is taken.
    """
    row, key = _new_row(session, keystore, new, issuer_id=None, now=now)
    built = sign_root(authority_name(new.common_name, new.organisation), key, now=now)
    root = IssuingAuthority(
        id=_id(row),
        name=new.name,
        certificate=x509.load_der_x509_certificate(built.der),
        certificate_der=built.der,
        private_key=key,
        crl_url=crl_url(public_url, new.name),
        ca_issuers_url=ca_issuers_url(public_url, new.name),
    )
    record(session, built, authority=root, authorisation=None, actor=actor, now=now, certifies=root.id)
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
) -> IssuingAuthority:
    """Make an issuing CA under ``root``, an authority loaded for the same ``public_url``.

    Raises:
        AuthorityExists: the name is taken.
        KeyUnavailable: the algorithm is not one for an issuing CA.
    """
    if new.algorithm not in _ISSUING_ALGORITHMS:
        raise KeyUnavailable(f"the key of an issuing CA is one of {', '.join(_ISSUING_ALGORITHMS)}, not {new.algorithm}")
    row, key = _new_row(session, keystore, new, issuer_id=root.id, now=now)
    name = authority_name(new.common_name, new.organisation)
    built = sign_issuing(root, name, key.public_key(), constraints=new.constraints, now=now)
    record(session, built, authority=root, authorisation=None, actor=actor, now=now, certifies=_id(row))
    _report_created(session, new, built, actor=actor, now=now)
    return load_authority(session, keystore, new.name, public_url)


def reissue_issuing(
    session: Session,
    keystore: KeyStore,
    name: CaName,
    public_url: str,
    *,
    actor: Actor,
    now: datetime,
) -> IssuingAuthority:
    """Certify an issuing CA's key again because ``public_url`` changed; its previous certificate stays valid.

    Raises:
        UnknownAuthority: there is no issuing CA of that name.
    """
    row = _row(session, name)
    above = _issuer(session, row)
    if above is None:
        raise UnknownAuthority(f"{name} is a root: its certificate holds no URL")
    root = load_authority(session, keystore, CaName(above.name), public_url)
    current = x509.load_der_x509_certificate(_current_certificate(session, row).der)
    built = sign_again(root, current, keystore.load(_key_reference(row)).public_key(), now=now)
    record(session, built, authority=root, authorisation=None, actor=actor, now=now, certifies=row.id)
    details = {"serial": built.serial, "public_url": public_url}
    record_event(session, Event(actor, "ca.reissued", f"ca:{name}", details=details), now=now)
    return load_authority(session, keystore, name, public_url)


def is_reissue_due(session: Session, name: CaName, public_url: str) -> bool:
    """Say whether an issuing CA's current certificate points elsewhere than ``public_url`` for its issuer's CRL."""
    row = _row(session, name)
    above = _issuer(session, row)
    if above is None:
        return False
    current = x509.load_der_x509_certificate(_current_certificate(session, row).der)
    points = current.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    wanted = x509.UniformResourceIdentifier(crl_url(public_url, CaName(above.name)))
    return all(wanted not in (point.full_name or ()) for point in points)


def load_authority(session: Session, keystore: KeyStore, name: CaName, public_url: str) -> IssuingAuthority:
    """Load an authority with its key and its chain, to issue under the URLs of ``public_url``.

    Raises:
        UnknownAuthority: there is none of that name, or it has no certificate that is not revoked.
        KeyUnavailable: its key cannot be opened.
    """
    row = _row(session, name)
    current = _current_certificate(session, row)
    return IssuingAuthority(
        id=_id(row),
        name=name,
        certificate=x509.load_der_x509_certificate(current.der),
        certificate_der=current.der,
        private_key=keystore.load(_key_reference(row)),
        crl_url=crl_url(public_url, name),
        ca_issuers_url=ca_issuers_url(public_url, name),
        chain=_chain(session, row),
    )


def authorities(session: Session) -> list[AuthorityRecord]:
    """List the authorities in the order in which they were made, each with its newest certificate."""
    rows = session.exec(select(CertificationAuthority).order_by(col(CertificationAuthority.id))).all()
    names = {row.id: CaName(row.name) for row in rows}
    found = []
    for row in rows:
        current = session.exec(_certificates_over(_id(row))).first()
        if current is None:
            continue
        found.append(
            AuthorityRecord(
                id=_id(row),
                name=CaName(row.name),
                issuer=names.get(row.issuer_id),
                key_algorithm=KeyAlgorithm(row.key_algorithm),
                subject=current.subject,
                serial=current.serial,
                not_after=current.not_after,
                revoked_at=current.revoked_at,
                certificate_der=current.der,
            )
        )
    return found


def crl_url(public_url: str, name: CaName) -> str:
    """Return where an authority's CRL is published."""
    return f"{public_url.rstrip('/')}/crl/{name}.crl"


def ca_issuers_url(public_url: str, name: CaName) -> str:
    """Return where an authority's certificate is published."""
    return f"{public_url.rstrip('/')}/aia/{name}.cer"


def open_key(keystore: KeyStore, reference: str, algorithm: KeyAlgorithm) -> PrivateKey:
    """Return the key of a row about to be written: a new one, or the one an interrupted attempt left behind."""
    if not keystore.exists(reference):
        return keystore.generate(reference, algorithm)
    key = keystore.load(reference)
    if algorithm_of(key.public_key()) is not algorithm:
        raise KeyUnavailable(f"the key {reference!r} is not of algorithm {algorithm}")
    return key


def _new_row(
    session: Session,
    keystore: KeyStore,
    new: NewAuthority,
    *,
    issuer_id: int | None,
    now: datetime,
) -> tuple[CertificationAuthority, PrivateKey]:
    taken = session.exec(select(CertificationAuthority.id).where(col(CertificationAuthority.name) == new.name)).first()
    if taken is not None:
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


def _report_created(session: Session, new: NewAuthority, built: BuiltCertificate, *, actor: Actor, now: datetime) -> None:
    details = {"serial": built.serial, "subject": built.subject, "key_algorithm": new.algorithm}
    record_event(session, Event(actor, "ca.created", f"ca:{new.name}", details=details), now=now)


def _row(session: Session, name: CaName) -> CertificationAuthority:
    row = session.exec(select(CertificationAuthority).where(col(CertificationAuthority.name) == name)).first()
    if row is None:
        raise UnknownAuthority(f"there is no authority {name!r}")
    return row


def _key_reference(row: CertificationAuthority) -> str:
    if row.key_reference is None:
        raise KeyUnavailable(f"the key of authority {row.name!r} is somebody else's")
    return row.key_reference


def _id(row: CertificationAuthority) -> int:
    if row.id is None:
        raise UnknownAuthority(f"authority {row.name!r} has not been written yet")
    return row.id


def _certificates_over(authority_id: int) -> SelectOfScalar[Certificate]:
    """Select the certificates over an authority's own key, newest first."""
    return select(Certificate).where(col(Certificate.certifies_id) == authority_id).order_by(col(Certificate.id).desc())


def _current_certificate(session: Session, row: CertificationAuthority) -> Certificate:
    certificates = session.exec(_certificates_over(_id(row))).all()
    # All of them are over one key: where that is compromised, the certificates before it are no better than the one revoked.
    if any(certificate.revocation_reason in _KEY_IS_LOST for certificate in certificates):
        raise UnknownAuthority(f"the key of authority {row.name!r} is reported compromised")
    current = next((certificate for certificate in certificates if certificate.revoked_at is None), None)
    if current is None:
        raise UnknownAuthority(f"authority {row.name!r} has no certificate in force")
    return current


def _issuer(session: Session, row: CertificationAuthority) -> CertificationAuthority | None:
    return session.get(CertificationAuthority, row.issuer_id) if row.issuer_id is not None else None


def _chain(session: Session, row: CertificationAuthority) -> tuple[bytes, ...]:
    above = _issuer(session, row)
    return () if above is None else (_current_certificate(session, above).der, *_chain(session, above))
