"""Imported encryption certificates for the directories, and what holds back those that are made here."""

from collections.abc import Collection
from functools import partial

from cryptography import x509
from sqlmodel import Session

from ca.authorisation import CaName
from ca.lineage import lineages_of
from ca.names import comparable_address
from ca.rows import id_of
from foundation import tlv
from ldap_publish.foreign import ForeignCertificate, ForeignSource
from pkcs_import import publication_holds
from pkcs_import.encryption_certificates import ImportedCertificate, imported, persons_with_imported
from pkcs_import.purpose import addresses_of
from scep import withheld


def foreign_source(issuing_ca: CaName) -> ForeignSource:
    """Return where directories find imported certificates; ``issuing_ca`` signs for them where values are signed."""
    return ForeignSource(certificates=partial(_certificates, issuing_ca), persons=persons_with_imported)


def unpublished(session: Session) -> frozenset[int]:
    """Return the ids of all certificates that are published nowhere: nobody holds them, or devices wait for their keys."""
    return withheld.certificate_ids(session) | publication_holds.certificate_ids(session)


def _certificates(issuing_ca: CaName, session: Session, persons: Collection[int]) -> dict[int, list[ForeignCertificate]]:
    found = imported(session, persons)
    if not found:
        return {}
    signer = next((id_of(lineage.active) for lineage in lineages_of(session, [issuing_ca])), None)
    return {person: [_foreign(each, signer) for each in certificates] for person, certificates in found.items()}


def _foreign(certificate: ImportedCertificate, signer: int | None) -> ForeignCertificate:
    named = addresses_of(x509.load_der_x509_certificate(certificate.der)).mail
    return ForeignCertificate(
        der=certificate.der,
        chain=_parts(certificate.chain),
        serial=certificate.serial,
        key=certificate.spki_sha256,
        addresses=frozenset(map(comparable_address, named)),
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        signed_by=signer,
    )


def _parts(chain: bytes) -> tuple[bytes, ...]:
    """Return the certificates of a chain that is kept as DER after DER."""
    parts, offset = [], 0
    while offset < len(chain):
        end = tlv.read(chain, offset).end
        parts.append(chain[offset:end])
        offset = end
    return tuple(parts)
