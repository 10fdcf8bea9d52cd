"""The built-in certificate profiles: what each kind of certificate says, as plain values.

Sources: RFC 5280 sections 4.2.1.3 and 4.2.1.12; CA/Browser Forum S/MIME baseline requirements 7.1.2.3 (facts/ca.md section 3),
whose *strict* key usages the mail profiles follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.authorisation import ProfileName
from ca.errors import ProfileNotAllowed

YEAR = timedelta(days=365)


class KeyFamily(StrEnum):
    """What a subject's public key can do, which decides its key usage."""

    RSA = "RSA"
    EC = "EC"
    ED25519 = "Ed25519"


class SubjectKind(StrEnum):
    """Where the subject's name comes from."""

    PERSON = "person"  # CN = display name, else UPN
    MAILBOX = "mailbox"  # CN = primary address; the sponsor shape where the organisation is configured
    DEVICE = "device"  # CN = device name
    SERVICE = "service"  # CN = a name the service chose for itself


class AlternativeName(StrEnum):
    """One kind of subjectAltName entry a profile takes from the subject's names."""

    UPN = "upn"
    PRIMARY_EMAIL = "primary e-mail"
    ALL_EMAILS = "all e-mails"
    DNS = "DNS"
    DNS_OR_IP = "DNS or IP"  # an entry among the DNS names that is an IP address becomes an iPAddress
    URI = "URI"


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """What a kind of certificate says.

    Attributes:
        name: what the database, challenges and settings call it.
        subject: where the subject's name comes from.
        key_usage: by key family; a family that is absent is not allowed.
        extended_key_usage: none only where the certificate is an authority's or the RA's.
        validity: how long, backdating included.
        alternative_names: the kinds of subjectAltName; which of them must not be empty is ``required_names``.
        required_names: kinds the subject's record must have something for.
        security_identifier: whether the Microsoft SID extension is added where the record has a SID.
        ocsp_no_check: whether id-pkix-ocsp-nocheck is added (RFC 6960 section 4.2.2.2.1).
        is_authority: whether basicConstraints says CA:true.
    """

    name: ProfileName
    subject: SubjectKind
    key_usage: Mapping[KeyFamily, x509.KeyUsage]
    extended_key_usage: x509.ExtendedKeyUsage | None
    validity: timedelta
    alternative_names: tuple[AlternativeName, ...] = ()
    required_names: tuple[AlternativeName, ...] = ()
    security_identifier: bool = False
    ocsp_no_check: bool = False
    is_authority: bool = False


def key_family(key: object) -> KeyFamily | None:
    """Say which family a public key belongs to, None for one that no profile knows."""
    if isinstance(key, rsa.RSAPublicKey):
        return KeyFamily.RSA
    if isinstance(key, ec.EllipticCurvePublicKey):
        return KeyFamily.EC
    return KeyFamily.ED25519 if isinstance(key, ed25519.Ed25519PublicKey) else None


def profile_named(name: str) -> CertificateProfile:
    """Return a built-in profile.

    Raises:
        ProfileNotAllowed: there is none of that name.
    """
    profile = BUILT_IN.get(ProfileName(name))
    if profile is None:
        raise ProfileNotAllowed(f"there is no certificate profile {name!r}")
    return profile


def _usage(*bits: str) -> x509.KeyUsage:
    """Build a KeyUsage from the names RFC 5280 gives its bits."""
    return x509.KeyUsage(
        digital_signature="digitalSignature" in bits,
        content_commitment="nonRepudiation" in bits,
        key_encipherment="keyEncipherment" in bits,
        data_encipherment=False,
        key_agreement="keyAgreement" in bits,
        key_cert_sign="keyCertSign" in bits,
        crl_sign="cRLSign" in bits,
        encipher_only=False,
        decipher_only=False,
    )


_SIGN = _usage("digitalSignature")
_SIGN_OR_ENCIPHER = _usage("digitalSignature", "keyEncipherment")
_SIGN_OR_AGREE = _usage("digitalSignature", "keyAgreement")
_COMMIT = _usage("digitalSignature", "nonRepudiation")
_AUTHORITY = _usage("keyCertSign", "cRLSign")

# Ed25519 signs and does nothing else: it is allowed where an EC key, too, would be used for signatures alone.
_AUTHENTICATION = {KeyFamily.RSA: _SIGN_OR_ENCIPHER, KeyFamily.EC: _SIGN, KeyFamily.ED25519: _SIGN}
_DUAL = {KeyFamily.RSA: _SIGN_OR_ENCIPHER, KeyFamily.EC: _SIGN_OR_AGREE}

_CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
_EMAIL_PROTECTION = ExtendedKeyUsageOID.EMAIL_PROTECTION
_MAIL_ONLY = x509.ExtendedKeyUsage([_EMAIL_PROTECTION])


def _smime(name: str, key_usage: Mapping[KeyFamily, x509.KeyUsage], validity: timedelta) -> CertificateProfile:
    return CertificateProfile(
        name=ProfileName(name),
        subject=SubjectKind.MAILBOX,
        key_usage=key_usage,
        extended_key_usage=_MAIL_ONLY,
        validity=validity,
        alternative_names=(AlternativeName.ALL_EMAILS,),
        required_names=(AlternativeName.ALL_EMAILS,),
    )


IDENTITY = CertificateProfile(
    name=ProfileName("identity"),
    subject=SubjectKind.PERSON,
    key_usage=_AUTHENTICATION,
    extended_key_usage=x509.ExtendedKeyUsage([_CLIENT_AUTH]),
    validity=YEAR,
    alternative_names=(AlternativeName.UPN, AlternativeName.PRIMARY_EMAIL),
    required_names=(AlternativeName.UPN,),
    security_identifier=True,
)
SMIME_SIGNING = _smime("smime-signing", dict.fromkeys(KeyFamily, _COMMIT), YEAR)
SMIME_ENCRYPTION = _smime(
    "smime-encryption",
    {KeyFamily.RSA: _usage("keyEncipherment"), KeyFamily.EC: _usage("keyAgreement")},
    2 * YEAR,
)
SMIME_DUAL = _smime("smime-dual", _DUAL, YEAR)
# EAS log-on and S/MIME in one, as many MDMs deploy it. The UPN makes it a log-on certificate, so it carries the SID as well:
# domain controllers refuse such a certificate without it (ESC9, 10 and 16 in facts/ca.md section 5).
MAIL_ALL_IN_ONE = CertificateProfile(
    name=ProfileName("mail-all-in-one"),
    subject=SubjectKind.PERSON,
    key_usage=_DUAL,
    extended_key_usage=x509.ExtendedKeyUsage([_CLIENT_AUTH, _EMAIL_PROTECTION]),
    validity=YEAR,
    alternative_names=(AlternativeName.UPN, AlternativeName.ALL_EMAILS),
    required_names=(AlternativeName.UPN, AlternativeName.ALL_EMAILS),
    security_identifier=True,
)
DEVICE = CertificateProfile(
    name=ProfileName("device"),
    subject=SubjectKind.DEVICE,
    key_usage=_AUTHENTICATION,
    extended_key_usage=x509.ExtendedKeyUsage([_CLIENT_AUTH]),
    validity=YEAR,
    alternative_names=(AlternativeName.DNS, AlternativeName.URI),
)
# No extended key usage: clients choose the RA's certificate by its key usage (facts/scep.md section 3), and OpenSSL's
# PKCS7_verify, which certmonger calls, refuses a signer whose extended key usage lacks emailProtection.
SCEP_RA = CertificateProfile(
    name=ProfileName("scep-ra"),
    subject=SubjectKind.SERVICE,
    key_usage={KeyFamily.RSA: _SIGN_OR_ENCIPHER},
    extended_key_usage=None,
    validity=timedelta(days=90),
)
TLS_SERVER = CertificateProfile(
    name=ProfileName("tls-server"),
    subject=SubjectKind.SERVICE,
    key_usage={KeyFamily.RSA: _SIGN_OR_ENCIPHER, KeyFamily.EC: _SIGN},
    extended_key_usage=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    # Apple's platforms refuse server certificates of more than 825 days, and of a shorter time from roots they ship.
    validity=YEAR,
    alternative_names=(AlternativeName.DNS_OR_IP,),
    required_names=(AlternativeName.DNS_OR_IP,),
)
# Signs configuration profiles (CMS). Apple checks the chain only; emailProtection is what CMS verifiers elsewhere ask for.
PROFILE_SIGNER = CertificateProfile(
    name=ProfileName("profile-signer"),
    subject=SubjectKind.SERVICE,
    key_usage={KeyFamily.RSA: _SIGN, KeyFamily.EC: _SIGN},
    extended_key_usage=_MAIL_ONLY,
    validity=YEAR,
)
OCSP_RESPONDER = CertificateProfile(
    name=ProfileName("ocsp-responder"),
    subject=SubjectKind.SERVICE,
    key_usage={KeyFamily.RSA: _SIGN, KeyFamily.EC: _SIGN},
    extended_key_usage=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]),
    # Short, because nocheck means that nobody will ever ask whether it was revoked.
    validity=timedelta(days=30),
    ocsp_no_check=True,
)
ROOT_CA = CertificateProfile(
    name=ProfileName("root-ca"),
    subject=SubjectKind.SERVICE,
    key_usage={KeyFamily.RSA: _AUTHORITY, KeyFamily.EC: _AUTHORITY},
    extended_key_usage=None,
    validity=20 * YEAR,
    is_authority=True,
)
ISSUING_CA = CertificateProfile(
    name=ProfileName("issuing-ca"),
    subject=SubjectKind.SERVICE,
    key_usage={KeyFamily.RSA: _AUTHORITY, KeyFamily.EC: _AUTHORITY},
    extended_key_usage=None,
    validity=10 * YEAR,
    is_authority=True,
)

BUILT_IN: Mapping[ProfileName, CertificateProfile] = {
    profile.name: profile
    for profile in (
        IDENTITY,
        SMIME_SIGNING,
        SMIME_ENCRYPTION,
        SMIME_DUAL,
        MAIL_ALL_IN_ONE,
        DEVICE,
        SCEP_RA,
        TLS_SERVER,
        PROFILE_SIGNER,
        OCSP_RESPONDER,
        ROOT_CA,
        ISSUING_CA,
    )
}
# What an enrolment may be for; the others are for the service itself and no challenge can name them.
PERSON_PROFILES = tuple(profile.name for profile in (IDENTITY, SMIME_SIGNING, SMIME_ENCRYPTION, SMIME_DUAL, MAIL_ALL_IN_ONE))
DEVICE_PROFILES = (DEVICE.name,)
