"""Which of a person's certificates are published."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from ca.issuance import IssuingAuthority, build
from ca.keys import KeyAlgorithm
from ca.profiles import IDENTITY, MAIL_ALL_IN_ONE, SMIME_DUAL, SMIME_ENCRYPTION, SMIME_SIGNING, CertificateProfile
from ca.revocation import RevocationReason
from ldap_publish.directory import Policy
from ldap_publish.wanted import HeldCertificate, can_be_encrypted_to, chosen, profiles_of
from tests.ca.authorities import ANN, NOW, make_issuing, make_root
from tests.ca.keystores import shared_key


def der_of(issuing: IssuingAuthority, profile: CertificateProfile, algorithm: KeyAlgorithm = KeyAlgorithm.P256) -> bytes:
    return build(issuing, profile, ANN, shared_key(algorithm, 200).public_key(), now=NOW).der


def held(
    number: int, der: bytes | None, *, renews: int | None = None, device: int | None = None, profile: str = "p"
) -> HeldCertificate:
    begins, ends = NOW - timedelta(minutes=5), NOW + timedelta(days=9)
    reason = RevocationReason.SUPERSEDED if der is None else None
    return HeldCertificate(number, 2, f"{number:x}", profile, device, renews, begins, ends, f"key {number}", reason, der)


def compromised(number: int, *, renews: int | None = None, device: int | None = None) -> HeldCertificate:
    return replace(held(number, None, renews=renews, device=device), revocation_reason=RevocationReason.KEY_COMPROMISE)


def numbers(certificates: list[HeldCertificate], policy: Policy = Policy.ENCRYPTION) -> list[int]:
    return [each.id for each in chosen(certificates, policy, NOW)]


def test_mail_is_encrypted_with_what_the_key_usage_and_the_purpose_allow(issuing: IssuingAuthority) -> None:
    yes = [(SMIME_ENCRYPTION, KeyAlgorithm.P256), (SMIME_DUAL, KeyAlgorithm.RSA2048), (MAIL_ALL_IN_ONE, KeyAlgorithm.P256)]
    no = [(SMIME_SIGNING, KeyAlgorithm.RSA2048), (IDENTITY, KeyAlgorithm.RSA2048)]
    assert all(can_be_encrypted_to(der_of(issuing, *each)) for each in yes)
    assert not any(can_be_encrypted_to(der_of(issuing, *each)) for each in no)


def test_a_profile_is_looked_at_where_a_certificate_of_it_can_be_published() -> None:
    assert profiles_of(Policy.ENCRYPTION) == {"smime-encryption", "smime-dual", "mail-all-in-one"}
    assert profiles_of(Policy.ALL) == {"identity", "smime-signing", "smime-encryption", "smime-dual", "mail-all-in-one", "device"}


def test_a_renewal_supersedes_over_however_many_steps(issuing: IssuingAuthority) -> None:
    der = der_of(issuing, SMIME_DUAL)
    assert numbers([held(1, der), held(2, der, renews=1), held(3, der, renews=2)]) == [3]
    # The one in the middle is revoked; what renews it still stands for what it renewed.
    assert numbers([held(1, der), held(2, None, renews=1), held(3, der, renews=2)]) == [3]
    # The last one is revoked, and its predecessor is current again.
    assert numbers([held(1, der), held(2, der, renews=1), held(3, None, renews=2)]) == [2]


def test_the_newer_one_for_a_device_supersedes_and_those_of_other_devices_do_not(issuing: IssuingAuthority) -> None:
    der = der_of(issuing, SMIME_DUAL)
    assert numbers([held(1, der, device=7), held(2, der, device=8), held(3, der, device=7), held(4, der), held(5, der)]) == [
        2,
        3,
        4,
        5,
    ]
    assert numbers([held(1, der, device=7), held(2, None, device=7)]) == [1]


def test_what_a_compromised_one_superseded_does_not_come_back(issuing: IssuingAuthority) -> None:
    der = der_of(issuing, SMIME_DUAL)
    assert numbers([held(1, der), compromised(2, renews=1)]) == []
    assert numbers([held(1, der, device=7), held(2, der, device=8), compromised(3, device=7)]) == [2]
    # What comes after it, over a key of its own, counts as ever.
    assert numbers([held(1, der), compromised(2, renews=1), held(3, der, renews=2)]) == [3]
    assert numbers([compromised(1, device=7), held(2, der, device=7)]) == [2]


def test_no_certificate_over_a_compromised_key_is_published(issuing: IssuingAuthority) -> None:
    der = der_of(issuing, SMIME_DUAL)
    lost = compromised(2)
    for policy in Policy:
        assert numbers([held(1, der), lost, replace(held(3, der, renews=1), key=lost.key)], policy) == [1]


def test_only_one_of_the_same_profile_supersedes(issuing: IssuingAuthority) -> None:
    der = der_of(issuing, SMIME_DUAL)
    assert numbers([held(1, der, device=7), held(2, der, device=7, profile="q", renews=1)]) == [1, 2]


def test_what_is_not_in_force_is_not_published(issuing: IssuingAuthority) -> None:
    der = der_of(issuing, SMIME_DUAL)
    certificate = held(1, der)
    for moment in (certificate.not_before - timedelta(seconds=1), certificate.not_after):
        assert chosen([certificate], Policy.ENCRYPTION, moment) == []
    assert chosen([certificate], Policy.ENCRYPTION, certificate.not_before) == [certificate]
    assert numbers([held(1, None), held(2, der)], Policy.ALL) == [2]


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 12), st.sampled_from([None, 7, 8]), st.sampled_from(["p", "q"])), max_size=12
    )
)
def test_where_anything_is_good_something_is_published(rows: list[tuple[bool, int, int | None, str]]) -> None:
    """Whoever has a good certificate can be written to: whatever supersedes another is published, or superseded, itself."""
    der = der_of(make_issuing(make_root(shared_key(KeyAlgorithm.P384, 100)), shared_key(KeyAlgorithm.P256, 100)), SMIME_DUAL)
    certificates = [
        held(number, der if good else None, renews=renews or None, device=device, profile=profile)
        for number, (good, renews, device, profile) in enumerate(rows, start=1)
    ]
    published = numbers(certificates)
    good_profiles = {each.profile for each in certificates if each.der is not None}
    assert {each.profile for each in certificates if each.id in published} == good_profiles
    assert all(each.der is not None for each in certificates if each.id in published)
