"""Building a full CRL around revokedCertificates entries that were encoded at revocation.

The library signs an empty CRL with the right issuer, dates and extensions; the entries are spliced into its TBSCertList, and the
result is signed with the same key. A million entries take about a second this way (``benchmarks/crl_build.py``) where the
library's own builder takes the better part of a minute and its documented loop, quadratic, hours (facts/ca.md section 7).

Source: RFC 5280 section 5. There is no issuingDistributionPoint: the CRL covers all certificates of its issuer and all reasons,
which is what its absence says.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ca.keys import PrivateKey, signature_hash
from crl.errors import DefectiveCrl
from foundation import tlv

# The tag of [0] EXPLICIT crlExtensions, the last element of a TBSCertList.
_EXTENSIONS = 0xA0


@dataclass(frozen=True, slots=True)
class CrlContent:
    """What a CRL says of itself. Times are whole seconds."""

    number: int
    this_update: datetime
    next_update: datetime


@dataclass(frozen=True, slots=True)
class Entries:
    """revokedCertificates entries, encoded one after the other as they are to stand in the CRL."""

    encoded: bytes | bytearray
    count: int

    @classmethod
    def collect(cls, entries: Iterable[bytes]) -> Self:
        """Take entries as ``ca.revocation.encode_entry`` makes them, no serial twice."""
        encoded = bytearray()
        count = 0
        for entry in entries:
            encoded += entry
            count += 1
        return cls(encoded, count)


@dataclass(frozen=True, slots=True)
class BuiltCrl:
    """A signed CRL that was read back and found right."""

    content: CrlContent
    entry_count: int
    der: bytes


def build(
    issuer: x509.Certificate,
    private_key: PrivateKey,
    entries: Entries,
    content: CrlContent,
) -> BuiltCrl:
    """Sign the CRL that lists ``entries`` and read it back.

    RSA signs PKCS #1 v1.5 with SHA-256, a curve with the hash of its size (``ca.keys.signature_hash``).

    Raises:
        DefectiveCrl: what came out does not verify, or has other contents than it was given.
    """
    empty = _builder(issuer, content).sign(private_key, signature_hash(private_key))
    tbs = _with_entries(empty.tbs_certlist_bytes, entries.encoded)
    signature_algorithm = _second_field(empty.public_bytes(Encoding.DER))
    der = tlv.sequence(tbs, signature_algorithm, tlv.bit_string(_sign(private_key, tbs)))
    del tbs
    _check(der, issuer, content, entries.count)
    return BuiltCrl(content, entries.count, der)


def _builder(issuer: x509.Certificate, content: CrlContent) -> x509.CertificateRevocationListBuilder:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(content.this_update)
        .next_update(content.next_update)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.CRLNumber(content.number), critical=False)
    )


def _with_entries(tbs: bytes, entries: bytes | bytearray) -> bytes:
    """Return ``tbs``, a TBSCertList without entries, with these; ``revokedCertificates`` stays away when there are none."""
    if not entries:
        return tbs
    outer = tlv.read(tbs)
    extensions = tlv.children(tbs, outer)[-1]
    if extensions.tag != _EXTENSIONS:
        raise DefectiveCrl("the empty CRL does not end in its extensions")
    head = tbs[outer.content : extensions.start]
    revoked = tlv.header(tlv.SEQUENCE, len(entries))
    tail = tbs[extensions.start :]
    length = len(head) + len(revoked) + len(entries) + len(tail)
    return b"".join((tlv.header(tlv.SEQUENCE, length), head, revoked, entries, tail))


def _second_field(certificate_list: bytes) -> bytes:
    """Return the signatureAlgorithm of a CertificateList, as encoded."""
    field = tlv.children(certificate_list, tlv.read(certificate_list))[1]
    return certificate_list[field.start : field.end]


def _sign(key: PrivateKey, tbs: bytes) -> bytes:
    algorithm = signature_hash(key)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(tbs)
    if algorithm is None:
        raise DefectiveCrl("a key of this kind needs a hash to sign with")
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(tbs, padding.PKCS1v15(), algorithm)
    return key.sign(tbs, ec.ECDSA(algorithm))


def _check(der: bytes, issuer: x509.Certificate, content: CrlContent, count: int) -> None:
    """Read the CRL as a relying party does: nothing is published on the word of our own encoder."""
    crl = x509.load_der_x509_crl(der)
    if not crl.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]
        raise DefectiveCrl("the CRL does not verify under its issuer's certificate; has the key been exchanged?")
    number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    if (number, crl.last_update_utc, crl.next_update_utc) != (content.number, content.this_update, content.next_update):
        raise DefectiveCrl("the CRL's number or dates are not the intended ones")
    if len(crl) != count:
        raise DefectiveCrl(f"the CRL lists {len(crl)} certificates instead of {count}")
