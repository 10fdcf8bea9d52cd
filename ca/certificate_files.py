"""Certificates in files as other authorities hand them out: PEM with text around it, DER, PKCS #7, with a BOM or without.

AD CS writes a chain as PKCS #7 (``certnew.p7b``), in DER or in PEM; ``certutil -encode`` puts CERTIFICATE above whatever it
encodes, so the label counts for nothing. PowerShell redirects into UTF-16.
"""

import base64
import binascii
import codecs
import re
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs7

from ca.errors import UnreadableCertificates
from foundation.ber import normalise
from foundation.tlv import MalformedTlv

MAX_SIZE = 1024 * 1024
MAX_CERTIFICATES = 64

_MARKER = re.compile(rb"-----(BEGIN|END) ([A-Z0-9# ]{1,64})-----")
_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE", b"PKCS7", b"PKCS #7 SIGNED DATA", b"CMS")
_REQUESTS = (b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST")
# A SEQUENCE with a length of two bytes or more, as all of them are.
_BASE64 = re.compile(rb"\s*MI[A-Za-z0-9+/=\s]+")
_SEQUENCE = b"\x30"


def read_certificates(files: Iterable[bytes]) -> list[x509.Certificate]:
    """Return the certificates in ``files``, each once, in the order in which they stand there.

    Raises:
        UnreadableCertificates: a file is too large, holds no certificate, or one that cannot be read; or there are too many.
    """
    found: dict[x509.Certificate, None] = {}
    for data in files:
        found.update(dict.fromkeys(_in_file(data)))
        if len(found) > MAX_CERTIFICATES:
            raise UnreadableCertificates(f"more than {MAX_CERTIFICATES} certificates are no chain")
    return list(found)


def _in_file(data: bytes) -> list[x509.Certificate]:
    if len(data) > MAX_SIZE:
        raise UnreadableCertificates("the file is too large for a chain of certificates")
    if data.startswith(_SEQUENCE):
        return _decoded(data)
    text = _as_ascii(data)
    blocks = list(_blocks(text))
    encoded = [content for label, content in blocks if label in _LABELS]
    if not blocks and _BASE64.fullmatch(text):
        # Base64 without the lines around it, as web forms show it.
        encoded = [text]
    if not encoded and any(label in _REQUESTS for label, _ in blocks):
        raise UnreadableCertificates("the file holds a certificate request, not the certificate that was made from it")
    if not encoded:
        raise UnreadableCertificates("the file holds no certificate, neither PEM nor DER nor PKCS #7")
    return [certificate for content in encoded for certificate in _decoded(_from_base64(content))]


def _blocks(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield label and content of what stands between a BEGIN and its END, in one pass however many have no end."""
    label, start = b"", 0
    for marker in _MARKER.finditer(text):
        kind, named = marker.groups()
        if kind == b"BEGIN":
            label, start = named, marker.end()
        elif named == label:
            yield label, text[start : marker.start()]
            label = b""


def _as_ascii(data: bytes) -> bytes:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace").encode("ascii", errors="replace")
    return data.removeprefix(codecs.BOM_UTF8)


def _from_base64(content: bytes) -> bytes:
    # RFC 1421 headers, where somebody has them, end with an empty line; a certificate's base64 holds no colon.
    lines = [line for line in content.splitlines() if b":" not in line]
    try:
        return base64.b64decode(b"".join(b"".join(lines).split()), validate=True)
    except binascii.Error as error:
        raise UnreadableCertificates("a certificate's base64 is damaged") from error


def _decoded(der: bytes) -> list[x509.Certificate]:
    """Return the certificate that ``der`` is, or those in the PKCS #7 that it is."""
    for read in (_one, _several):
        try:
            return [_usable(certificate) for certificate in read(der)]
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
            continue
    raise UnreadableCertificates("the file holds something that is neither a certificate nor PKCS #7 with certificates")


def _one(der: bytes) -> Iterator[x509.Certificate]:
    yield x509.load_der_x509_certificate(der)


def _several(der: bytes) -> Iterator[x509.Certificate]:
    try:
        strict = normalise(der, max_size=MAX_SIZE)
    except MalformedTlv as error:
        raise ValueError("no DER or BER") from error
    yield from pkcs7.load_der_pkcs7_certificates(strict)


def _usable(certificate: x509.Certificate) -> x509.Certificate:
    """Return ``certificate`` once its parts have been decoded, which the library does when they are asked for."""
    try:
        _ = (certificate.subject, certificate.issuer, certificate.extensions, certificate.not_valid_after_utc)
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise UnreadableCertificates(f"a certificate among those given cannot be read: {error}") from error
    return certificate
