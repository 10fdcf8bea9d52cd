"""An authority's chain as files for others: PEM, certs-only PKCS #7, and Microsoft's serialized certificate store. Pure.

The store (``.sst``) is what Exchange Online takes (``Set-SmimeConfig -SMIMECertificateIssuingCA``). Its format, little-endian
(facts/mail_profiles.md section 6; wine dlls/crypt32/serialize.c)::

    DWORD 0, "CERT"
    for each certificate: DWORD 32 (CERT_CERT_PROP_ID), DWORD 1, DWORD length, the DER
    twelve zero bytes
"""

import struct
from collections.abc import Sequence
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

_SST_MAGIC = struct.pack("<I4s", 0, b"CERT")
_SST_END = bytes(12)
_CERT_CERT_PROP_ID = 32
_SST_ENCODING = 1  # X509_ASN_ENCODING


class ChainFormat(StrEnum):
    """The forms in which a chain is exported."""

    PEM = "pem"
    P7C = "p7c"
    SST = "sst"

    @property
    def media_type(self) -> str:
        """What HTTP calls it."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    ChainFormat.PEM: "application/pem-certificate-chain",
    ChainFormat.P7C: "application/pkcs7-mime",
    ChainFormat.SST: "application/vnd.ms-pki.certstore",
}


def exported(chain: Sequence[bytes], form: ChainFormat) -> bytes:
    """Return ``chain``, certificates in DER, as one file."""
    if form is ChainFormat.SST:
        return serialized_store(chain)
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    if form is ChainFormat.P7C:
        return pkcs7.serialize_certificates(certificates, Encoding.DER)
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def serialized_store(certificates: Sequence[bytes]) -> bytes:
    """Return certificates in DER as a serialized store."""
    entries = (struct.pack("<III", _CERT_CERT_PROP_ID, _SST_ENCODING, len(der)) + der for der in certificates)
    return _SST_MAGIC + b"".join(entries) + _SST_END
