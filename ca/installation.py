"""Installing a certificate that somebody else's authority made for one of ours, together with the authorities above it.

``plan`` reads and judges; ``install`` does that in the caller's transaction and then writes, so that nothing partial is ever
stored. Authorities above ours become rows without a key. What is there already is left alone: installing the same again changes
nothing, and of several certificates over one key the one installed last is the current one.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from sqlmodel import Session, col, select

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import CaName
from ca.certificate import BuiltCertificate, spki_sha256
from ca.chain import Chain, find_chain, title
from ca.errors import ChainRefused
from ca.hierarchy import ROOT
from ca.issuance import IssuanceListener, IssuedCertificate
from ca.keys import KeyStore
from ca.limits import Limits, limits_of
from ca.profiles import ISSUING_CA, ROOT_CA
from ca.records import Certificate, CertificationAuthority
from ca.rows import KEY_IS_LOST, certificates_over, find_row, id_of, key_reference, lock_authorities, row_named
from ca.signatures import is_self_signed

_NAME_CHARACTERS = 60
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Member:
    """A certificate of the chain: whose it is, by the name of the authority here, and whether it is new here."""

    name: CaName
    certificate: x509.Certificate
    is_new: bool


@dataclass(frozen=True, slots=True)
class Installation:
    """What installing comes to: the authority's own certificate first, then those above it, the root last."""

    chain: tuple[Member, ...]
    warnings: tuple[str, ...]

    @property
    def own(self) -> Member:
        """The authority's own certificate."""
        return self.chain[0]

    @property
    def limits(self) -> Limits:
        """What the chain lets the authority issue."""
        return limits_of(member.certificate for member in self.chain)

    @property
    def changes_something(self) -> bool:
        """Whether any of it is new here."""
        return any(member.is_new for member in self.chain)


def plan(session: Session, keystore: KeyStore, name: CaName, given: Sequence[x509.Certificate], *, now: datetime) -> Installation:
    """Say what installing ``given`` for the authority ``name`` would come to; nothing is written.

    The certificate over its key may stand anywhere among ``given``, and what is above it may be known from before.

    Raises:
        UnknownAuthority: there is no authority of that name.
        ForeignAuthority, KeyUnavailable: its key is somebody else's, or cannot be opened.
        ChainRefused: it is a root, or verifiers would not accept what is given; the message says why.
    """
    row = row_named(session, name)
    own_key = keystore.load(key_reference(row)).public_key()
    recorded = session.exec(certificates_over(id_of(row))).all()
    if any(each.revocation_reason in KEY_IS_LOST for each in recorded):
        raise ChainRefused(f"the key of {name} is reported compromised: make another issuing CA (signetry ca create)")
    former = [x509.load_der_x509_certificate(each.der) for each in recorded]
    if any(is_self_signed(certificate) for certificate in former):
        raise ChainRefused(f"{name} is a root: no authority stands above it")
    current, superseded = _known(session)
    # What an authority above is recorded to have had before its current certificate is not what will be served above this one.
    usable = [each for each in given if each not in superseded or each.public_key() == own_key]
    found = find_chain(own_key, usable, current, now=now)
    own = found.certificates[0]
    if former and own.subject != former[0].subject:
        raise ChainRefused(
            f"the certificate names {title(own)}, and what {name} has issued names {title(former[0])} as its issuer: "
            "ask for one with the subject of the request"
        )
    warnings = found.warnings
    if own in superseded:
        warnings += (f"this certificate of {name} was installed before, and a later one is current: it stays so",)
    return Installation(tuple(_members(session, name, found)), warnings)


def install(
    session: Session,
    keystore: KeyStore,
    name: CaName,
    given: Sequence[x509.Certificate],
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[IssuanceListener] = (),
) -> Installation:
    """Install what ``plan`` comes to, in the caller's transaction. Raises as it does."""
    lock_authorities(session)
    installation = plan(session, keystore, name, given, now=now)
    above: CertificationAuthority | None = None
    for member in reversed(installation.chain):
        row = find_row(session, member.name)
        if row is None:
            row = CertificationAuthority(name=member.name, key_algorithm=_algorithm(member.certificate), created_at=now)
            session.add(row)
            session.flush()
        if member.is_new:
            row.issuer_id = above.id if above else None
            session.add(row)
            session.flush()
            _record(session, member, row, above or row, actor=actor, now=now, listeners=listeners)
        above = row
    return installation


def _known(session: Session) -> tuple[list[x509.Certificate], set[x509.Certificate]]:
    """Return the current certificates of all authorities, and those that are so no more: followed by another, or revoked."""
    query = (
        select(Certificate.certifies_id, Certificate.der, Certificate.revoked_at)
        .where(col(Certificate.certifies_id).is_not(None))
        .order_by(col(Certificate.id).desc())
    )
    current: dict[int | None, x509.Certificate] = {}
    superseded = set[x509.Certificate]()
    for authority_id, der, revoked_at in session.exec(query):
        certificate = x509.load_der_x509_certificate(der)
        if revoked_at is None and authority_id not in current:
            current[authority_id] = certificate
        else:
            superseded.add(certificate)
    return [*current.values()], superseded


def _members(session: Session, name: CaName, chain: Chain) -> Iterable[Member]:
    taken = set(session.exec(select(CertificationAuthority.name)))
    for position, certificate in enumerate(chain.certificates):
        owner = name if position == 0 else _owner(session, certificate)
        if owner is None:
            owner = _new_name(certificate, taken, is_top=position == len(chain.certificates) - 1)
            taken.add(owner)
            yield Member(owner, certificate, is_new=True)
        else:
            yield Member(owner, certificate, is_new=not _is_recorded(session, owner, certificate))


def _owner(session: Session, certificate: x509.Certificate) -> CaName | None:
    """Return the authority that has this certificate's name and key."""
    query = (
        select(CertificationAuthority.name, Certificate.der)
        .join(Certificate, col(Certificate.certifies_id) == col(CertificationAuthority.id))
        .where(col(Certificate.spki_sha256) == _key_hash(certificate))
    )
    for name, der in session.exec(query):
        if x509.load_der_x509_certificate(der).subject == certificate.subject:
            return CaName(name)
    return None


def _is_recorded(session: Session, name: CaName, certificate: x509.Certificate) -> bool:
    row = row_named(session, name)
    encoded = certificate.public_bytes(serialization.Encoding.DER)
    return any(each.der == encoded for each in session.exec(certificates_over(id_of(row))))


def _new_name(certificate: x509.Certificate, taken: set[str], *, is_top: bool) -> CaName:
    """Return a name for an authority that is new here, as it can stand in URLs: from its common name, ``root`` for the top."""
    if is_top and ROOT not in taken:
        return ROOT
    common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(common_names[0].value) if common_names else ""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", errors="ignore").decode().lower()
    base = _NOT_IN_NAMES.sub("-", plain).strip("-")[: _NAME_CHARACTERS - 4].strip("-") or "authority"
    candidates = (base, *(f"{base}-{number}" for number in range(2, 1000)))
    # A name that ends like this would stand where the delta CRL of another one is.
    return CaName(next(each for each in candidates if each not in taken and not each.endswith("-delta") and each != ROOT))


def _record(
    session: Session,
    member: Member,
    row: CertificationAuthority,
    issuer: CertificationAuthority,
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[IssuanceListener],
) -> None:
    certificate = member.certificate
    built = BuiltCertificate(
        profile=(ROOT_CA if issuer is row else ISSUING_CA).name,
        serial=f"{certificate.serial_number:032x}",
        der=certificate.public_bytes(serialization.Encoding.DER),
        subject=certificate.subject.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        spki_sha256=_key_hash(certificate),
    )
    written = Certificate(
        authority_id=id_of(issuer),
        serial=built.serial,
        profile=built.profile,
        subject=built.subject,
        certifies_id=row.id,
        spki_sha256=built.spki_sha256,
        not_before=built.not_before,
        not_after=built.not_after,
        issued_at=now,
        der=built.der,
    )
    _require_new_serial(session, written, certificate)
    session.add(written)
    session.flush()
    details = {"serial": built.serial, "subject": built.subject, "issuer": certificate.issuer.rfc4514_string()}
    record_event(session, Event(actor, "ca.installed", f"ca:{member.name}", details=details), now=now)
    issued = IssuedCertificate(
        id=written.id or 0,
        authority_id=id_of(issuer),
        authority=CaName(issuer.name),
        certificate=built,
        person=None,
        device=None,
        certifies=row.id,
    )
    for listener in listeners:
        listener(session, issued)


def _require_new_serial(session: Session, written: Certificate, certificate: x509.Certificate) -> None:
    same = select(Certificate.id).where(
        col(Certificate.authority_id) == written.authority_id, col(Certificate.serial) == written.serial
    )
    if session.exec(same).first() is not None:
        raise ChainRefused(f"{title(certificate)} has the serial number of another certificate of its issuer")


def _key_hash(certificate: x509.Certificate) -> str:
    return spki_sha256(certificate.public_key())  # type: ignore[arg-type] # of any kind: only its encoding is looked at


def _algorithm(certificate: x509.Certificate) -> str:
    """Return what the list of authorities says of a key, in the words of ``KeyAlgorithm`` where it has some."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521"}.get(key.curve.name, key.curve.name)
    return type(key).__name__.removesuffix("PublicKey").lower()
