"""The certificates of authorities themselves: a root that signs itself, and an issuing CA under it. Pure; nothing is stored.

Source: RFC 5280 sections 4.2.1.9 and 4.2.1.10; S/MIME baseline requirements 7.1.2.1 and 7.1.2.2 (a root carries neither a path
length nor an extended key usage).
"""

from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from ca.certificate import BuiltCertificate, key_identifier, sign, validity_period
from ca.constraints import Constraints
from ca.errors import BadAuthorityName
from ca.issuance import IssuingAuthority
from ca.keys import PrivateKey, PublicKey, signature_hash
from ca.profiles import ISSUING_CA, ROOT_CA, CertificateProfile, key_family
from ca.subject import COMMON_NAME_BYTES, Organisation
from ca.tbs import Intent

# RFC 5280 section 4.2.1.4: without it in the issuing CA's certificate, no policy asserted below it could ever be valid.
_ANY_POLICY = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.5.29.32.0"), None)])
# Extensions that say where the issuer publishes; the others carry over when a certificate is made anew.
_WHEREABOUTS = (x509.AuthorityKeyIdentifier, x509.CRLDistributionPoints, x509.AuthorityInformationAccess)


def authority_name(common_name: str, organisation: Organisation | None) -> x509.Name:
    """Build an authority's own name: country and organisation where known, and the common name.

    Raises:
        BadAuthorityName: the common name is empty or longer than 64 bytes of UTF-8.
    """
    if not 1 <= len(common_name.encode()) <= COMMON_NAME_BYTES:
        raise BadAuthorityName(f"the common name of an authority has 1 to {COMMON_NAME_BYTES} bytes of UTF-8: {common_name!r}")
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation.name))
        if organisation.country:
            attributes.insert(0, x509.NameAttribute(NameOID.COUNTRY_NAME, organisation.country.upper()))
    return x509.Name(attributes)


def sign_root(name: x509.Name, key: PrivateKey, *, now: datetime) -> BuiltCertificate:
    """Make a root's self-signed certificate."""
    public_key = key.public_key()
    not_before, not_after = validity_period(now, ROOT_CA.validity, issuer=None)
    intent = Intent(
        profile=ROOT_CA.name,
        issuer=name,
        subject=name,
        public_key=public_key,
        not_before=not_before,
        not_after=not_after,
        extensions=tuple(_basics(ROOT_CA, public_key, path_length=None)),
    )
    return sign(intent, key, key.public_key())


def sign_issuing(
    root: IssuingAuthority,
    name: x509.Name,
    public_key: PublicKey,
    *,
    constraints: Constraints,
    now: datetime,
) -> BuiltCertificate:
    """Make the certificate of an issuing CA, which may certify end entities only (path length 0).

    Raises:
        BadAuthorityName: it would have the root's own name, and verifiers would take it for a root.
    """
    if name == root.certificate.subject:
        raise BadAuthorityName("an issuing CA cannot have the name of its root")
    not_before, not_after = validity_period(now, ISSUING_CA.validity, issuer=root.certificate)
    extensions = [*_basics(ISSUING_CA, public_key, path_length=0), (_ANY_POLICY, False), *constraints.extensions()]
    intent = Intent(
        profile=ISSUING_CA.name,
        issuer=root.certificate.subject,
        subject=name,
        public_key=public_key,
        not_before=not_before,
        not_after=not_after,
        extensions=(*extensions, *root.pointers),
    )
    return sign(intent, root.private_key, root.public_key)


def sign_again(root: IssuingAuthority, current: x509.Certificate, public_key: PublicKey, *, now: datetime) -> BuiltCertificate:
    """Make an issuing CA's certificate anew: the same name, key, limits and end; a new serial, and the root's URLs of today.

    What was issued under the current one verifies under the new one just as well: subject and key identifier do not change.
    """
    not_before, _ = validity_period(now, ISSUING_CA.validity, issuer=root.certificate)
    kept = [(each.value, each.critical) for each in current.extensions if not isinstance(each.value, _WHEREABOUTS)]
    intent = Intent(
        profile=ISSUING_CA.name,
        issuer=root.certificate.subject,
        subject=current.subject,
        public_key=public_key,
        not_before=not_before,
        not_after=current.not_valid_after_utc,
        extensions=(*kept, *root.pointers),
    )
    return sign(intent, root.private_key, root.public_key)


def sign_request(name: x509.Name, key: PrivateKey) -> x509.CertificateSigningRequest:
    """Make the request for an issuing CA's certificate that somebody else's authority is to sign (RFC 2986).

    It asks for what an issuing CA needs, path length 0 included; whoever signs decides.
    """
    builder = x509.CertificateSigningRequestBuilder(name)
    for extension, critical in _basics(ISSUING_CA, key.public_key(), path_length=0):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, signature_hash(key))


def _basics(
    profile: CertificateProfile,
    public_key: PublicKey,
    *,
    path_length: int | None,
) -> list[tuple[x509.ExtensionType, bool]]:
    family = key_family(public_key)
    if family is None or family not in profile.key_usage:
        raise ValueError("an authority's key is RSA or elliptic-curve")
    return [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (profile.key_usage[family], True),
        (x509.SubjectKeyIdentifier(key_identifier(public_key)), False),
    ]
