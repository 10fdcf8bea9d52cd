"""What may be certified over a key that somebody else keeps as well."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.issuance import IssuingAuthority, build
from ca.keys import KeyAlgorithm
from ca.profiles import BUILT_IN, SMIME_ENCRYPTION, AlternativeName, CertificateProfile
from pkcs_import.errors import NotForEscrow
from pkcs_import.escrow import require_certificate_for_escrow, require_profile_for_escrow
from tests.ca.authorities import ANN, PHONE, SERVICE
from tests.ca.keystores import shared_key

# What each profile that would is refused for.
REFUSED = {
    "identity": "clientAuth",
    "smime-signing": "nonRepudiation",
    "smime-dual": "digitalSignature",
    "mail-all-in-one": "clientAuth",
    "device": "clientAuth",
    "scep-ra": "anything",
    "tls-server": "1.3.6.1.5.5.7.3.1",
    "profile-signer": "digitalSignature",
    "ocsp-responder": "1.3.6.1.5.5.7.3.9",
    "root-ca": "anything",
    "issuing-ca": "anything",
}
WITH_UPN = replace(SMIME_ENCRYPTION, alternative_names=(AlternativeName.UPN, AlternativeName.ALL_EMAILS))
WITH_SID = replace(SMIME_ENCRYPTION, security_identifier=True)
WITH_CLIENT_AUTH = replace(
    SMIME_ENCRYPTION,
    extended_key_usage=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.CLIENT_AUTH]),
)


def certificate(issuing: IssuingAuthority, profile: CertificateProfile) -> x509.Certificate:
    algorithm = KeyAlgorithm.RSA2048 if profile.name == "scep-ra" else KeyAlgorithm.P256
    names = replace(ANN, device_name=PHONE.device_name, dns_names=SERVICE.dns_names)
    built = build(issuing, profile, names, shared_key(algorithm, 200).public_key(), now=issuing.certificate.not_valid_before_utc)
    return x509.load_der_x509_certificate(built.der)


def test_of_all_profiles_only_that_for_encryption_is_for_escrow() -> None:
    assert REFUSED.keys() | {SMIME_ENCRYPTION.name} == set(BUILT_IN)
    require_profile_for_escrow(SMIME_ENCRYPTION)


@pytest.mark.parametrize(("name", "what"), REFUSED.items())
def test_a_profile_that_says_more_is_refused_for_what_it_says(name: str, what: str) -> None:
    with pytest.raises(NotForEscrow, match=f"{name} is for {what}: not over a key that is kept here"):
        require_profile_for_escrow(BUILT_IN[name])  # type: ignore[index] # its names are text


@pytest.mark.parametrize(
    ("profile", "what"), [(WITH_UPN, "names a UPN"), (WITH_SID, "names a SID"), (WITH_CLIENT_AUTH, "is for clientAuth")]
)
def test_a_profile_for_encryption_that_says_more_is_refused_as_well(
    issuing: IssuingAuthority, profile: CertificateProfile, what: str
) -> None:
    with pytest.raises(NotForEscrow, match=what):
        require_profile_for_escrow(profile)
    # And the certificate itself, however it came about.
    with pytest.raises(NotForEscrow, match=what):
        require_certificate_for_escrow(certificate(issuing, profile))


def test_a_certificate_for_encryption_passes(issuing: IssuingAuthority) -> None:
    require_certificate_for_escrow(certificate(issuing, SMIME_ENCRYPTION))


@pytest.mark.parametrize("name", sorted(set(REFUSED) - {"root-ca", "issuing-ca"}))
def test_a_certificate_of_any_other_profile_is_refused(issuing: IssuingAuthority, name: str) -> None:
    with pytest.raises(NotForEscrow):
        require_certificate_for_escrow(certificate(issuing, BUILT_IN[name]))  # type: ignore[index] # its names are text
