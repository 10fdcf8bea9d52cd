"""A certificate as people read it: whose it is, what it says, what it is worth."""

import hashlib
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlmodel import Session, col, select

from audit.records import AuditEvent
from ca.certified import names_in
from ca.selection import CertificateSummary, encoded
from crl import aia
from people.devices import find_device_for_enrolment
from people.persons import find_person_for_enrolment
from scep.records import Enrolment


class Encoding(StrEnum):
    """How a certificate is written to a file: PEM, DER, or PEM followed by its issuers'."""

    PEM = "pem"
    DER = "der"
    CHAIN = "chain"


def summary(session: Session, certificate: CertificateSummary) -> dict[str, Any]:
    """Return what stands in a list: the record, with person and device by name."""
    person = find_person_for_enrolment(session, certificate.person_id) if certificate.person_id else None
    device = find_device_for_enrolment(session, certificate.device_id) if certificate.device_id else None
    fields = asdict(certificate)
    return {
        "serial": fields.pop("serial"),
        "status": str(fields.pop("status")),
        "person": person and person.upn,
        "device": device and device.name,
        **fields,
    }


def full(session: Session, certificate: CertificateSummary) -> dict[str, Any]:
    """Return all that is known of a certificate: whose it is first, then what it says, and how it came to be."""
    der = encoded(session, certificate.id)
    parsed = x509.load_der_x509_certificate(der)
    names = names_in(parsed)
    person = find_person_for_enrolment(session, certificate.person_id) if certificate.person_id else None
    device = find_device_for_enrolment(session, certificate.device_id) if certificate.device_id else None
    enrolment = session.exec(select(Enrolment).where(col(Enrolment.certificate_id) == certificate.id)).first()
    issued = session.exec(
        select(AuditEvent)
        .where(col(AuditEvent.subject) == f"certificate:{certificate.serial}", col(AuditEvent.action) == "certificate.issued")
        .limit(1)
    ).first()
    return {
        "serial": certificate.serial,
        "status": str(certificate.status),
        "reason": certificate.reason and str(certificate.reason),
        "revoked_at": certificate.revoked_at,
        "invalidity_date": certificate.invalidity_date,
        "person": person and person.upn,
        "name": person and person.display_name,
        "mail": person and person.email,
        "device": device and device.name,
        "profile": certificate.profile,
        "authority": certificate.authority,
        "subject": certificate.subject,
        "emails": list(names.emails),
        "upn": names.upn,
        "dns_names": list(names.dns_names),
        "uris": list(names.uris),
        "sid": names.sid,
        "key": key_text(parsed),
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "issued_at": certificate.issued_at,
        "issued_by": issued and issued.actor,
        "origin": issued and issued.origin,
        "granted_by": issued and issued.details.get("granted_by"),
        "endpoint": enrolment and enrolment.endpoint,
        "transaction_id": enrolment and enrolment.transaction_id,
        "sha256": hashlib.sha256(der).hexdigest(),
    }


def exported(session: Session, certificate: CertificateSummary, encoding: Encoding) -> bytes:
    """Return the certificate as a file of this encoding. Raises UnknownCertificate."""
    der = encoded(session, certificate.id)
    if encoding is Encoding.DER:
        return der
    issuers = aia.chain(session, certificate.authority) if encoding is Encoding.CHAIN else ()
    ders = [der, *(issuer.der for issuer in issuers if issuer.der != der)]
    return b"".join(x509.load_der_x509_certificate(each).public_bytes(serialization.Encoding.PEM) for each in ders)


def key_text(certificate: x509.Certificate) -> str:
    """Return family and size of the certified key: ``RSA 3072``, ``EC secp256r1``, ``Ed25519``."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.removesuffix("PublicKey")
