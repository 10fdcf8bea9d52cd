"""What a certificate is for, from its key usage and extended key usage, and what about it an archive should think twice of.

Source: RFC 5280 sections 4.2.1.3 and 4.2.1.12, RFC 8550 section 4.4; facts/mail_profiles.md section 6.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x448, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from foundation import tlv
from foundation.tlv import MalformedTlv

_UPN: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_SMTP_UTF8_MAILBOX: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")
# What lets its holder in somewhere: TLS, log-on to Windows with a smart card, Kerberos.
_CLIENT_AUTHENTICATION: Final = frozenset(
    {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SMARTCARD_LOGON,
        x509.ObjectIdentifier("1.3.6.1.5.2.3.4"),
    }
)
_MAIL: Final = frozenset({ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
_AGREES_ONLY: Final = (x25519.X25519PublicKey, x448.X448PublicKey)

Extension = TypeVar("Extension", bound=x509.ExtensionType)


class Purpose(StrEnum):
    """What a certificate is for."""

    SIGNING = "signing"
    ENCRYPTION = "encryption"
    BOTH = "both"
    AUTHENTICATION = "authentication"


class Concern(StrEnum):
    """What a key in an archive should not be able to do: whoever gets at the archive could do it as well."""

    CLIENT_AUTH = "clientAuth"
    UPN = "upn"
    NON_REPUDIATION = "nonRepudiation"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Whom a certificate names: mail addresses (SAN first, then those of the subject), and UPNs, as they are written in it."""

    mail: tuple[str, ...]
    upns: tuple[str, ...]


def purpose_of(certificate: x509.Certificate) -> Purpose:
    """Return what ``certificate`` is for: mail, to sign or to be encrypted to or both, or else authentication.

    An absent key usage allows everything its key can do, and so does an absent extended key usage.
    """
    if not _is_for_mail(certificate):
        return Purpose.AUTHENTICATION
    signs, is_encrypted_to = _signs(certificate), _is_encrypted_to(certificate)
    if signs and is_encrypted_to:
        return Purpose.BOTH
    if is_encrypted_to:
        return Purpose.ENCRYPTION
    return Purpose.SIGNING if signs else Purpose.AUTHENTICATION


def concerns_of(certificate: x509.Certificate) -> tuple[Concern, ...]:
    """Return what an archive should think twice of.

    A certificate that may sign and names no purpose, or any, lets its holder in as one for client authentication does.
    """
    found = []
    allowed = _extended(certificate)
    is_for_anything = allowed is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in allowed
    if (allowed or frozenset()) & _CLIENT_AUTHENTICATION or (is_for_anything and _signs(certificate)):
        found.append(Concern.CLIENT_AUTH)
    if addresses_of(certificate).upns:
        found.append(Concern.UPN)
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and usage.content_commitment:
        found.append(Concern.NON_REPUDIATION)
    return tuple(found)


def addresses_of(certificate: x509.Certificate) -> Addresses:
    """Return the mail addresses and UPNs in ``certificate``, without duplicates (compared without regard to case)."""
    names = _extension(certificate, x509.SubjectAlternativeName) or ()
    mail = [name.value for name in names if isinstance(name, x509.RFC822Name)]
    mail += _other_names(names, _SMTP_UTF8_MAILBOX)
    mail += [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)]
    return Addresses(_distinct(mail), _distinct(_other_names(names, _UPN)))


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _extended(certificate: x509.Certificate) -> frozenset[x509.ObjectIdentifier] | None:
    found = _extension(certificate, x509.ExtendedKeyUsage)
    return None if found is None else frozenset(found)


def _is_for_mail(certificate: x509.Certificate) -> bool:
    allowed = _extended(certificate)
    return allowed is None or bool(allowed & _MAIL)


def _signs(certificate: x509.Certificate) -> bool:
    usage = _extension(certificate, x509.KeyUsage)
    able = not isinstance(certificate.public_key(), _AGREES_ONLY)
    return able and (usage is None or usage.digital_signature or usage.content_commitment)


def _is_encrypted_to(certificate: x509.Certificate) -> bool:
    usage, key = _extension(certificate, x509.KeyUsage), certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return usage is None or usage.key_encipherment
    if isinstance(key, (ec.EllipticCurvePublicKey, *_AGREES_ONLY)):
        # RFC 8550 asks for keyAgreement; authorities exist that write keyEncipherment over elliptic curves as well.
        return usage is None or usage.key_agreement or usage.key_encipherment
    return False


def _other_names(names: Iterable[x509.GeneralName], oid: x509.ObjectIdentifier) -> list[str]:
    found = []
    for name in names:
        if not isinstance(name, x509.OtherName) or name.type_id != oid:
            continue
        try:
            element = tlv.read(name.value)
            found.append(tlv.text(element.tag, name.value[element.content : element.end]))
        except MalformedTlv:
            # Not a name anybody could be found by.
            continue
    return found


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    by_comparable: dict[str, str] = {}
    for text in texts:
        by_comparable.setdefault(text.casefold(), text)
    return tuple(by_comparable.values())
