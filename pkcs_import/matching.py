"""Which certificates of a PKCS #12 belong to which of its keys, and which of them are a certificate's chain.

Keys and certificates are matched by their public keys. The attributes that are to say so (localKeyId) are absent in files of some
programs, and wrong in others.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ca.signatures import is_issued_by
from pkcs_import.container import ContainedKey, Container
from pkcs_import.errors import KeyMismatch, NoCertificate, NoPrivateKey
from pkcs_import.private_keys import public_half

_MAX_CHAIN: Final = 10


@dataclass(frozen=True, slots=True)
class MatchedCertificate:
    """A certificate over a key of the same file. ``chain`` is DER, its issuer first, as far as the file has it."""

    der: bytes = field(repr=False)
    certificate: x509.Certificate
    chain: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """A key and the certificates over it, the one that ends last first; there is at least one."""

    key: ContainedKey
    certificates: tuple[MatchedCertificate, ...]


@dataclass(frozen=True, slots=True)
class _Readable:
    """A certificate of the file that can be read. ``spki`` is None where its key is of a kind that is not read here."""

    der: bytes
    certificate: x509.Certificate
    subject: bytes
    issuer: bytes
    spki: bytes | None
    is_authority: bool


def identities(container: Container) -> list[Identity]:
    """Return the keys that have certificates, in the order of the file; a key without one is left out.

    Raises:
        NoPrivateKey: there is no key.
        NoCertificate: there is no certificate that could be over any of the keys.
        KeyMismatch: there are some, but they are over other keys.
    """
    if not container.keys:
        raise NoPrivateKey("there is no private key in the file")
    readable = [found for found in map(_read, container.certificates) if found is not None]
    by_subject: dict[bytes, list[_Readable]] = {}
    for each in readable:
        by_subject.setdefault(each.subject, []).append(each)
    found = []
    for key in container.keys:
        over = [each for each in readable if each.spki == key.spki]
        over.sort(key=lambda each: each.certificate.not_valid_after_utc, reverse=True)
        if over:
            matched = (MatchedCertificate(each.der, each.certificate, _chain(each, by_subject)) for each in over)
            found.append(Identity(key, tuple(matched)))
    if not found:
        raise _unmatched(container, readable)
    return found


def _unmatched(container: Container, readable: Sequence[_Readable]) -> NoCertificate | KeyMismatch:
    if not container.certificates:
        return NoCertificate("there is no certificate in the file")
    if not readable:
        return NoCertificate("no certificate in the file can be read")
    if all(each.is_authority for each in readable):
        return NoCertificate("there are only certificates of authorities in the file, none over its private key")
    return KeyMismatch("the private key and the certificate in the file do not belong together")


def _read(der: bytes) -> _Readable | None:
    """Return the certificate with all its extensions read, or None where that fails."""
    try:
        with warnings.catch_warnings():
            # Certificates from elsewhere have serial numbers, dates and names that RFC 5280 forbids. They are not ours to refuse.
            warnings.simplefilter("ignore", UserWarning)
            certificate = x509.load_der_x509_certificate(der)
            constraints = _constraints(certificate)
            subject, issuer = certificate.subject.public_bytes(), certificate.issuer.public_bytes()
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            return _Readable(der, certificate, subject, issuer, _spki(certificate), constraints is not None and constraints.ca)
    except (ValueError, TypeError, x509.InvalidVersion):
        # TypeError is what the library has for names with a BIT STRING in them.
        return None


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None
    except (x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise ValueError("extensions that cannot be read") from error


def _spki(certificate: x509.Certificate) -> bytes | None:
    try:
        return public_half(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return None


def _chain(leaf: _Readable, by_subject: Mapping[bytes, Sequence[_Readable]]) -> tuple[bytes, ...]:
    """Return the certificates above ``leaf``, as far as each is signed by the next; of several the one that ends last."""
    chain: list[bytes] = []
    current = leaf
    while len(chain) < _MAX_CHAIN and current.issuer != current.subject:
        issuers = [each for each in by_subject.get(current.issuer, ()) if each.der != leaf.der and each.der not in chain]
        issuers = [each for each in issuers if _issued(each, current)]
        if not issuers:
            break
        current = max(issuers, key=lambda each: each.certificate.not_valid_after_utc)
        chain.append(current.der)
    return tuple(chain)


def _issued(issuer: _Readable, certificate: _Readable) -> bool:
    """Return whether the certificate is signed by the issuer, whose name is known to be the right one."""
    return is_issued_by(certificate.certificate, issuer.certificate) or _is_beyond_verifying(certificate.certificate)


def _is_beyond_verifying(certificate: x509.Certificate) -> bool:
    """Return whether the signature is of a kind that nobody verifies any more, MD2 for one, or nobody here does yet.

    Then names are all there is to go by. Whether the chain is trusted is judged elsewhere.
    """
    try:
        _ = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return True
    return False
