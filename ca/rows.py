"""Authorities and the certificates over their keys, as the modules of the hierarchy read them from the database."""

from cryptography import x509
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from ca.authorisation import CaName
from ca.errors import CertificateAwaited, ForeignAuthority, UnknownAuthority
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevocationReason

KEY_IS_LOST = (RevocationReason.KEY_COMPROMISE, RevocationReason.CA_COMPROMISE)


def find_row(session: Session, name: CaName) -> CertificationAuthority | None:
    """Return an authority's row."""
    return session.exec(select(CertificationAuthority).where(col(CertificationAuthority.name) == name)).first()


def row_named(session: Session, name: CaName) -> CertificationAuthority:
    """Return an authority's row.

    Raises:
        UnknownAuthority: there is none of that name.
    """
    row = find_row(session, name)
    if row is None:
        raise UnknownAuthority(f"there is no authority {name!r}")
    return row


def name_of(session: Session, authority_id: int) -> CaName:
    """Return what the authority of this number is called. Raises UnknownAuthority."""
    name = session.exec(select(CertificationAuthority.name).where(col(CertificationAuthority.id) == authority_id)).one_or_none()
    if name is None:
        raise UnknownAuthority(f"there is no authority number {authority_id}")
    return CaName(name)


def key_reference(row: CertificationAuthority) -> str:
    """Return the name of an authority's key.

    Raises:
        ForeignAuthority: the key is somebody else's.
    """
    if row.key_reference is None:
        raise ForeignAuthority(f"the key of authority {row.name!r} is somebody else's")
    return row.key_reference


def lock_authorities(session: Session) -> None:
    """Keep others who change the hierarchy waiting until the transaction ends; on SQLite the transaction itself does.

    Certificates are issued meanwhile: a row that refers to an authority needs its key only.
    """
    session.execute(select(CertificationAuthority.id).order_by(col(CertificationAuthority.id)).with_for_update(key_share=True))


def id_of(row: CertificationAuthority) -> int:
    """Return the number of a row that has been written."""
    if row.id is None:
        raise UnknownAuthority(f"authority {row.name!r} has not been written yet")
    return row.id


def certificates_over(authority_id: int) -> SelectOfScalar[Certificate]:
    """Select the certificates over an authority's own key, newest first."""
    return select(Certificate).where(col(Certificate.certifies_id) == authority_id).order_by(col(Certificate.id).desc())


def newest_certificate(session: Session, row: CertificationAuthority) -> Certificate:
    """Return the newest certificate over an authority's key, revoked or not.

    Raises:
        CertificateAwaited: there is none yet.
    """
    newest = session.exec(certificates_over(id_of(row))).first()
    if newest is None:
        raise CertificateAwaited(
            f"authority {row.name!r} has no certificate yet: have its request signed (signetry ca csr {row.name} prints it), "
            f"then run signetry ca install FILE --name {row.name}"
        )
    return newest


def newest_or_none(session: Session, row: CertificationAuthority) -> x509.Certificate | None:
    """Return the newest certificate over an authority's key, revoked or not, None while it is awaited."""
    newest = session.exec(certificates_over(id_of(row))).first()
    return None if newest is None else x509.load_der_x509_certificate(newest.der)


def current_certificate(session: Session, row: CertificationAuthority) -> Certificate:
    """Return the newest certificate over an authority's key that is not revoked.

    Raises:
        CertificateAwaited: there is none yet.
        UnknownAuthority: all of them are revoked, or one of them because the key is lost.
    """
    newest_certificate(session, row)
    certificates = session.exec(certificates_over(id_of(row))).all()
    # All of them are over one key: where that is compromised, the certificates before it are no better than the one revoked.
    if any(certificate.revocation_reason in KEY_IS_LOST for certificate in certificates):
        raise UnknownAuthority(f"the key of authority {row.name!r} is reported compromised")
    current = next((certificate for certificate in certificates if certificate.revoked_at is None), None)
    if current is None:
        raise UnknownAuthority(f"authority {row.name!r} has no certificate in force")
    return current


def issuer_of(session: Session, row: CertificationAuthority) -> CertificationAuthority | None:
    """Return the authority above, None of a root and of one whose certificate is awaited."""
    return session.get(CertificationAuthority, row.issuer_id) if row.issuer_id is not None else None


def chain_above(session: Session, row: CertificationAuthority) -> tuple[bytes, ...]:
    """Return the certificates above an authority in DER, its issuer first and the root last."""
    above = issuer_of(session, row)
    return () if above is None else (current_certificate(session, above).der, *chain_above(session, above))
