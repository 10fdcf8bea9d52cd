"""A certificate as people read it: whose it is, what it says, what it is worth."""

import hashlib
from collections.abc import Mapping, Sequence
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
from foundation.errors import Conflict
from people.devices import names_of
from people.persons import find_person_for_enrolment, upns_of
from pkcs_import.encryption_certificates import escrowed
from pkcs_import.publication_holds import held_until
from scep import withheld
from scep.records import Enrolment
from signetry.administration.reach import EVERYTHING, Reach


class Encoding(StrEnum):
    """How a certificate is written to a file: PEM, DER, or PEM followed by its issuers'."""

    PEM = "pem"
    DER = "der"
    CHAIN = "chain"


class NotReleased(Conflict):
    """A certificate has not left the house yet, by any way."""


def summaries(session: Session, certificates: Sequence[CertificateSummary], reach: Reach = EVERYTHING) -> list[dict[str, Any]]:
    """Return what stands in a list: each record, with person and device by name. A device beyond ``reach`` has none."""
    upns = upns_of(session, {each.person_id for each in certificates if each.person_id})
    names = names_of(session, {each.device_id for each in certificates if each.device_id}, within=reach.group)
    kept = escrowed(session, {each.id for each in certificates})
    return [_listed(each, upns, names, is_escrowed=each.id in kept) for each in certificates]


def _listed(
    certificate: CertificateSummary, upns: Mapping[int, str], names: Mapping[int, str], *, is_escrowed: bool
) -> dict[str, Any]:
    fields = asdict(certificate)
    return {
        "serial": fields.pop("serial"),
        "status": str(fields.pop("status")),
        "person": upns.get(certificate.person_id or 0),
        "device": names.get(certificate.device_id or 0),
        "escrowed": is_escrowed,
        **fields,
    }


def full(session: Session, certificate: CertificateSummary, reach: Reach = EVERYTHING) -> dict[str, Any]:
    """Return all that is known of a certificate: whose it is first, then what it says, and how it came to be.

    A device beyond ``reach`` is not named.
    """
    der = encoded(session, certificate.id)
    parsed = x509.load_der_x509_certificate(der)
    certified = names_in(parsed)
    person = find_person_for_enrolment(session, certificate.person_id) if certificate.person_id else None
    names = names_of(session, {certificate.device_id} if certificate.device_id else (), within=reach.group)
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
        "device": names.get(certificate.device_id or 0),
        "escrowed": bool(escrowed(session, {certificate.id})),
        "held_until": held_until(session, {certificate.id}).get(certificate.id),
        "profile": certificate.profile,
        "authority": certificate.authority,
        "subject": certificate.subject,
        "emails": list(certified.emails),
        "upn": certified.upn,
        "dns_names": list(certified.dns_names),
        "uris": list(certified.uris),
        "sid": certified.sid,
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
    """Return the certificate as a file of this encoding.

    Raises:
        UnknownCertificate: there is none.
        NotReleased: it is withheld.
    """
    if withheld.is_withheld(session, certificate.id):
        raise NotReleased("the certificate is withheld until whoever decides about its endpoint has taken note of it")
    der = encoded(session, certificate.id)
    if encoding is Encoding.DER:
        return der
    issuers = aia.chain(session, certificate.authority) if encoding is Encoding.CHAIN else ()
    ders = [der, *(issuer.der for issuer in issuers if issuer.der != der)]
    return b"".join(x509.load_der_x509_certificate(each).public_bytes(serialization.Encoding.PEM) for each in ders)


def key_text(certificate: x509.Certificate) -> str:
    """Return family and size of the certified key: ``RSA 3072``, ``EC secp256r1``, ``Ed25519``."""
    return public_key_text(certificate.public_key())


def public_key_text(key: object) -> str:
    """Return family and size of a public key."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.removesuffix("PublicKey")
