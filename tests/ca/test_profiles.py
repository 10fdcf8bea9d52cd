"""Certificates of each profile say what the profile's row in the documentation says."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509

from ca.authorisation import ProfileName
from ca.errors import NamesMissing, ProfileNotAllowed, WeakKey
from ca.issuance import IssuingAuthority, build
from ca.keys import KeyAlgorithm
from ca.profiles import (
    BUILT_IN,
    DEVICE,
    DEVICE_PROFILES,
    IDENTITY,
    ISSUING_CA,
    MAIL_ALL_IN_ONE,
    OCSP_RESPONDER,
    PERSON_PROFILES,
    PROFILE_SIGNER,
    ROOT_CA,
    SCEP_RA,
    SMIME_DUAL,
    SMIME_ENCRYPTION,
    SMIME_SIGNING,
    TLS_SERVER,
    CertificateProfile,
    KeyFamily,
    profile_named,
)
from tests.ca import assertions
from tests.ca.authorities import ANN, NOW, PHONE, SERVICE
from tests.ca.keystores import shared_key

RSA, EC, ED25519 = KeyAlgorithm.RSA2048, KeyAlgorithm.P256, KeyAlgorithm.ED25519


def certificate(issuer: IssuingAuthority, profile: CertificateProfile, algorithm: KeyAlgorithm) -> x509.Certificate:
    """Issue to Ann, her phone or the service, whichever the profile is for."""
    names = ANN if profile.name in PERSON_PROFILES else PHONE if profile.name in DEVICE_PROFILES else SERVICE
    return assertions.load(build(issuer, profile, names, shared_key(algorithm).public_key(), now=NOW).der)


@pytest.mark.parametrize("algorithm", [RSA, EC])
@pytest.mark.parametrize(
    ("profile", "assert_is"),
    [
        (IDENTITY, assertions.assert_is_identity),
        (SMIME_ENCRYPTION, assertions.assert_is_smime_encryption),
        (SMIME_DUAL, assertions.assert_is_smime_dual),
        (MAIL_ALL_IN_ONE, assertions.assert_is_mail_all_in_one),
        (DEVICE, assertions.assert_is_device),
        (TLS_SERVER, assertions.assert_is_tls_server),
    ],
)
def test_profiles_whose_usage_follows_the_key(
    ec_issuing: IssuingAuthority,
    profile: CertificateProfile,
    assert_is: Callable[..., None],
    algorithm: KeyAlgorithm,
) -> None:
    assert_is(certificate(ec_issuing, profile, algorithm), rsa=algorithm is RSA)


@pytest.mark.parametrize("algorithm", [RSA, EC])
@pytest.mark.parametrize(
    ("profile", "assert_is"),
    [
        (SMIME_SIGNING, assertions.assert_is_smime_signing),
        (PROFILE_SIGNER, assertions.assert_is_profile_signer),
        (OCSP_RESPONDER, assertions.assert_is_ocsp_responder),
    ],
)
def test_profiles_that_only_sign(
    ec_issuing: IssuingAuthority,
    profile: CertificateProfile,
    assert_is: Callable[..., None],
    algorithm: KeyAlgorithm,
) -> None:
    assert_is(certificate(ec_issuing, profile, algorithm))


def test_the_ra_has_an_rsa_key_and_no_other(ec_issuing: IssuingAuthority) -> None:
    assertions.assert_is_scep_ra(certificate(ec_issuing, SCEP_RA, RSA))
    with pytest.raises(WeakKey):
        certificate(ec_issuing, SCEP_RA, EC)


@pytest.mark.parametrize("profile", BUILT_IN.values(), ids=lambda profile: profile.name)
def test_ed25519_is_allowed_only_where_a_key_does_nothing_but_sign(profile: CertificateProfile) -> None:
    usages = profile.key_usage
    if KeyFamily.ED25519 in usages:
        assert not usages[KeyFamily.ED25519].key_agreement
        assert not usages[KeyFamily.ED25519].key_encipherment
        assert usages[KeyFamily.EC] == usages[KeyFamily.ED25519]


def test_a_profile_without_ed25519_refuses_it(ec_issuing: IssuingAuthority) -> None:
    assertions.assert_is_smime_signing(certificate(ec_issuing, SMIME_SIGNING, ED25519))
    with pytest.raises(WeakKey, match="must be one of: EC, RSA"):
        certificate(ec_issuing, SMIME_DUAL, ED25519)


@pytest.mark.parametrize("profile", [ROOT_CA, ISSUING_CA], ids=lambda profile: profile.name)
def test_nobody_enrols_as_an_authority(ec_issuing: IssuingAuthority, profile: CertificateProfile) -> None:
    with pytest.raises(ProfileNotAllowed):
        certificate(ec_issuing, profile, EC)


@pytest.mark.parametrize(
    ("profile", "lacking", "said"),
    [
        (SMIME_DUAL, {"emails": ()}, "needs a mail address"),
        (MAIL_ALL_IN_ONE, {"emails": ()}, "needs a mail address"),
        (IDENTITY, {"upn": ""}, "needs a user principal name"),
    ],
)
def test_a_record_that_lacks_a_name_is_told_which(
    ec_issuing: IssuingAuthority,
    profile: CertificateProfile,
    lacking: dict[str, Any],
    said: str,
) -> None:
    names = replace(ANN, **lacking)
    with pytest.raises(NamesMissing, match=said):
        build(ec_issuing, profile, names, shared_key(EC).public_key(), now=NOW)


def test_profiles_are_found_by_name_and_only_known_ones() -> None:
    assert profile_named("identity") is IDENTITY
    with pytest.raises(ProfileNotAllowed, match="'vpn'"):
        profile_named("vpn")


def test_only_profiles_of_persons_and_devices_can_be_enrolled_for() -> None:
    service = {
        ProfileName(name) for name in ("scep-ra", "tls-server", "profile-signer", "ocsp-responder", "root-ca", "issuing-ca")
    }
    assert set(BUILT_IN) - service == {*PERSON_PROFILES, *DEVICE_PROFILES}
