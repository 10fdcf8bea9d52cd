"""Authorities that are not ours, made with the library alone, so that they can be as odd as other people's are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from ca.keys import KeyAlgorithm, PrivateKey, PublicKey, generate_key
from tests.ca.authorities import NOW

YEARS = timedelta(days=365)
_USAGE = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "encipher_only": False,
    "decipher_only": False,
}


def distinguished(common_name: str, *organisation: str) -> x509.Name:
    """Return a name: the organisation, if any, and the common name."""
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organisation]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass(frozen=True)
class Says:
    """What a certificate says; the default is a sound authority's."""

    is_authority: bool | None = True
    path_length: int | None = None
    signs_certificates: bool = True
    signs_crls: bool = True
    purposes: Sequence[x509.ObjectIdentifier] = ()
    permitted: Sequence[x509.GeneralName] = ()
    excluded: Sequence[x509.GeneralName] = ()
    not_before: datetime = NOW - timedelta(days=1)
    not_after: datetime = NOW + 5 * YEARS
    has_key_identifier: bool = True
    serial: int | None = None
    more: Sequence[tuple[x509.ExtensionType, bool]] = ()

    def extensions(self, key: PublicKey) -> list[tuple[x509.ExtensionType, bool]]:
        """Return the extensions over ``key``."""
        found: list[tuple[x509.ExtensionType, bool]] = []
        if self.is_authority is not None:
            constraints = x509.BasicConstraints(self.is_authority, self.path_length if self.is_authority else None)
            found.append((constraints, True))
        usage = x509.KeyUsage(key_cert_sign=self.signs_certificates, crl_sign=self.signs_crls, **_USAGE)
        found.append((usage, True))
        if self.purposes:
            found.append((x509.ExtendedKeyUsage(self.purposes), False))
        if self.permitted or self.excluded:
            found.append((x509.NameConstraints(list(self.permitted) or None, list(self.excluded) or None), True))
        if self.has_key_identifier:
            found.append((x509.SubjectKeyIdentifier.from_public_key(key), False))
        return [*found, *self.more]


SOUND = Says()


@dataclass(frozen=True)
class Foreign:
    """Somebody else's authority."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    def certify(self, name: x509.Name, key: PublicKey, says: Says = SOUND) -> x509.Certificate:
        """Make a certificate."""
        return _sign(self.certificate.subject, self.key, name, key, says)

    def authority(self, common_name: str, says: Says = SOUND, *, key: PrivateKey | None = None) -> "Foreign":
        """Make an authority below."""
        key = key or generate_key(KeyAlgorithm.P256)
        return Foreign(self.certify(distinguished(common_name), key.public_key(), says), key)


def foreign_root(common_name: str = "Foreign Root CA", says: Says = SOUND, *, key: PrivateKey | None = None) -> Foreign:
    """Make a root."""
    key = key or generate_key(KeyAlgorithm.P256)
    name = distinguished(common_name)
    return Foreign(_sign(name, key, name, key.public_key(), says), key)


def _sign(issuer: x509.Name, signing: PrivateKey, name: x509.Name, key: PublicKey, says: Says) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=name,
        public_key=key,
        serial_number=says.serial or x509.random_serial_number(),
        not_valid_before=says.not_before,
        not_valid_after=says.not_after,
    )
    for extension, critical in says.extensions(key):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signing, hashes.SHA256())
