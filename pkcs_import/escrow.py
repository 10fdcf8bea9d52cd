"""What a certificate over a key that is made here may say: that mail is encrypted to it, and nothing else.

Whoever gets at the archive has the key. So it must not sign, log on anywhere or stand for an account (design.md section 5); the
profile is held to that before a key is made, and the certificate once more before it is recorded.
"""

from typing import Final, TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.profiles import AlternativeName, CertificateProfile
from ca.subject import SECURITY_IDENTIFIER, UPN
from pkcs_import.errors import NotForEscrow

_PURPOSES: Final = frozenset({ExtendedKeyUsageOID.EMAIL_PROTECTION})
_NAMES: Final = frozenset({AlternativeName.PRIMARY_EMAIL, AlternativeName.ALL_EMAILS})

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def require_profile_for_escrow(profile: CertificateProfile) -> None:
    """Return if a certificate of ``profile`` may be over a key that is made here.

    Raises:
        NotForEscrow: it would be for something else as well; the message says for what.
    """
    _require_purposes(profile.name, profile.extended_key_usage)
    for usage in profile.key_usage.values():
        _require_usage(profile.name, usage)
    others = [name for name in profile.alternative_names if name not in _NAMES]
    if others or profile.security_identifier:
        name = "SID" if not others else "UPN" if AlternativeName.UPN in others else str(others[0])
        raise NotForEscrow(f"profile {profile.name} names a {name}: not over a key that is kept here")


def require_certificate_for_escrow(certificate: x509.Certificate) -> None:
    """Return if ``certificate`` may be over a key that is made here. Raises NotForEscrow."""
    shown, extensions = "the certificate", certificate.extensions
    _require_purposes(shown, _found(extensions, x509.ExtendedKeyUsage))
    usage = _found(extensions, x509.KeyUsage)
    if usage is None:
        raise NotForEscrow(f"{shown} may be used for anything: not over a key that is kept here")
    _require_usage(shown, usage)
    names = _found(extensions, x509.SubjectAlternativeName)
    for name in names or ():
        if isinstance(name, x509.OtherName) and name.type_id == UPN:
            raise NotForEscrow(f"{shown} names a UPN: not over a key that is kept here")
    if any(extension.oid == SECURITY_IDENTIFIER for extension in extensions):
        raise NotForEscrow(f"{shown} names a SID: not over a key that is kept here")


def _require_purposes(shown: str, purposes: x509.ExtendedKeyUsage | None) -> None:
    others = [each for each in purposes or () if each not in _PURPOSES]
    if purposes is None or others:
        what = _purpose_name(others[0]) if others else "anything"
        raise NotForEscrow(f"{shown} is for {what}: not over a key that is kept here")


def _require_usage(shown: str, usage: x509.KeyUsage) -> None:
    signs = {
        "digitalSignature": usage.digital_signature,
        "nonRepudiation": usage.content_commitment,
        "keyCertSign": usage.key_cert_sign,
        "cRLSign": usage.crl_sign,
    }
    # The weightiest last: of several it is the one to be named.
    found = [name for name, is_set in signs.items() if is_set]
    if found:
        name = "nonRepudiation" if "nonRepudiation" in found else found[0]
        raise NotForEscrow(f"{shown} is for {name}: not over a key that is kept here")


def _purpose_name(purpose: x509.ObjectIdentifier) -> str:
    return "clientAuth" if purpose == ExtendedKeyUsageOID.CLIENT_AUTH else purpose.dotted_string


def _found(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
