"""One assertion for each certificate profile: what a certificate of it says, written out apart from the code that makes it."""

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
EMAIL_PROTECTION = ExtendedKeyUsageOID.EMAIL_PROTECTION
UPN = "1.3.6.1.4.1.311.20.2.3"
SMTP_UTF8_MAILBOX = "1.3.6.1.5.5.7.8.9"
SID = x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2")
KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


def load(der: bytes) -> x509.Certificate:
    """Parse a certificate."""
    return x509.load_der_x509_certificate(der)


def assert_is_identity(certificate: x509.Certificate, *, rsa: bool) -> None:
    """``identity``: client authentication with a UPN."""
    _assert_end_entity(certificate, {"digital_signature"} | ({"key_encipherment"} if rsa else set()), [CLIENT_AUTH])
    assert kinds(certificate)[0] == UPN


def assert_is_smime_signing(certificate: x509.Certificate) -> None:
    """``smime-signing``: S/MIME signatures that commit."""
    _assert_end_entity(certificate, {"digital_signature", "content_commitment"}, [EMAIL_PROTECTION])
    _assert_only_mail_names(certificate)


def assert_is_smime_encryption(certificate: x509.Certificate, *, rsa: bool) -> None:
    """``smime-encryption``: S/MIME decryption and nothing else."""
    _assert_end_entity(certificate, {"key_encipherment"} if rsa else {"key_agreement"}, [EMAIL_PROTECTION], days=730)
    _assert_only_mail_names(certificate)


def assert_is_smime_dual(certificate: x509.Certificate, *, rsa: bool) -> None:
    """``smime-dual``: S/MIME signatures and decryption with one key."""
    _assert_end_entity(certificate, {"digital_signature", "key_encipherment" if rsa else "key_agreement"}, [EMAIL_PROTECTION])
    _assert_only_mail_names(certificate)


def assert_is_mail_all_in_one(certificate: x509.Certificate, *, rsa: bool) -> None:
    """``mail-all-in-one``: log-on and S/MIME in one."""
    usages = {"digital_signature", "key_encipherment" if rsa else "key_agreement"}
    _assert_end_entity(certificate, usages, [CLIENT_AUTH, EMAIL_PROTECTION])
    assert kinds(certificate)[0] == UPN
    assert set(kinds(certificate)[1:]) <= {"rfc822Name", SMTP_UTF8_MAILBOX}
    assert len(kinds(certificate)) > 1


def assert_is_device(certificate: x509.Certificate, *, rsa: bool) -> None:
    """``device``: client authentication of a device."""
    _assert_end_entity(certificate, {"digital_signature"} | ({"key_encipherment"} if rsa else set()), [CLIENT_AUTH])
    assert set(kinds(certificate)) <= {"dNSName", "uniformResourceIdentifier"}
    assert not has(certificate, SID)


def assert_is_scep_ra(certificate: x509.Certificate) -> None:
    """``scep-ra``: signs and decrypts SCEP messages; no extended key usage."""
    _assert_end_entity(certificate, {"digital_signature", "key_encipherment"}, None, days=90)
    assert not kinds(certificate)


def assert_is_tls_server(certificate: x509.Certificate, *, rsa: bool) -> None:
    """``tls-server``: serves HTTPS under DNS names and IP addresses."""
    usages = {"digital_signature"} | ({"key_encipherment"} if rsa else set())
    _assert_end_entity(certificate, usages, [ExtendedKeyUsageOID.SERVER_AUTH])
    assert set(kinds(certificate)) <= {"dNSName", "iPAddress"}
    assert kinds(certificate)


def assert_is_profile_signer(certificate: x509.Certificate) -> None:
    """``profile-signer``: signs configuration profiles."""
    _assert_end_entity(certificate, {"digital_signature"}, [EMAIL_PROTECTION])
    assert not kinds(certificate)


def assert_is_ocsp_responder(certificate: x509.Certificate) -> None:
    """``ocsp-responder``: answers for its issuer, and is not asked after itself."""
    _assert_end_entity(certificate, {"digital_signature"}, [ExtendedKeyUsageOID.OCSP_SIGNING], days=30)
    assert has(certificate, ExtensionOID.OCSP_NO_CHECK)


def assert_is_root(certificate: x509.Certificate) -> None:
    """A root: signs itself, without a path length, an extended key usage or a pointer to anybody."""
    _assert_authority(certificate, path_length=None)
    assert certificate.issuer == certificate.subject
    certificate.verify_directly_issued_by(certificate)
    assert not has(certificate, ExtensionOID.EXTENDED_KEY_USAGE)
    assert not has(certificate, ExtensionOID.CRL_DISTRIBUTION_POINTS)
    assert not has(certificate, ExtensionOID.AUTHORITY_INFORMATION_ACCESS)
    assert lifetime_days(certificate) == 20 * 365


def assert_is_issuing_ca(certificate: x509.Certificate) -> None:
    """An issuing CA: certifies end entities only, and says where its issuer publishes."""
    _assert_authority(certificate, path_length=0)
    assert has(certificate, ExtensionOID.CRL_DISTRIBUTION_POINTS)
    assert has(certificate, ExtensionOID.AUTHORITY_INFORMATION_ACCESS)


def kinds(certificate: x509.Certificate) -> list[str]:
    """Return the kinds of subjectAltName in order: RFC 5280's names, and for an otherName its dotted OID."""
    if not has(certificate, ExtensionOID.SUBJECT_ALTERNATIVE_NAME):
        return []
    short: dict[type, str] = {
        x509.RFC822Name: "rfc822Name",
        x509.DNSName: "dNSName",
        x509.UniformResourceIdentifier: "uniformResourceIdentifier",
        x509.IPAddress: "iPAddress",
    }
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [name.type_id.dotted_string if isinstance(name, x509.OtherName) else short[type(name)] for name in names]


def has(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bool:
    """Say whether the certificate has an extension."""
    return any(extension.oid == oid for extension in certificate.extensions)


def lifetime_days(certificate: x509.Certificate) -> float:
    """Return the validity in days, both ends counted."""
    seconds = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds() + 1
    return seconds / 86400


def key_usages(certificate: x509.Certificate) -> set[str]:
    """Return the set key usages, by cryptography's names."""
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    return {name for name in KEY_USAGES if getattr(usage, name)}


def _assert_end_entity(
    certificate: x509.Certificate,
    usages: set[str],
    purposes: list[x509.ObjectIdentifier] | None,
    *,
    days: int = 365,
) -> None:
    assert key_usages(certificate) == usages
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).critical
    assert not has(certificate, ExtensionOID.BASIC_CONSTRAINTS)
    if purposes is None:
        assert not has(certificate, ExtensionOID.EXTENDED_KEY_USAGE)
    else:
        assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == purposes
    assert lifetime_days(certificate) == days
    _assert_identifiers(certificate)
    crl = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [name.value for point in crl for name in point.full_name or ()] == ["http://pki.example.com/crl/issuing.crl"]
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [item.access_location.value for item in access] == ["http://pki.example.com/aia/issuing.cer"]


def _assert_authority(certificate: x509.Certificate, *, path_length: int | None) -> None:
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=path_length)
    assert key_usages(certificate) == {"key_cert_sign", "crl_sign"}
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).critical
    assert len(certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest) == 20


def _assert_identifiers(certificate: x509.Certificate) -> None:
    assert len(certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest) == 20
    issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier
    assert issuer.authority_cert_issuer is None
    assert issuer.authority_cert_serial_number is None


def _assert_only_mail_names(certificate: x509.Certificate) -> None:
    assert set(kinds(certificate)) <= {"rfc822Name", SMTP_UTF8_MAILBOX}
    assert kinds(certificate)
    (common_name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert "@" in str(common_name.value)
    assert not has(certificate, SID)
