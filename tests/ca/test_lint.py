"""A certificate of every profile, on every key it allows, under an RSA and an EC authority, held against pkilint.

Findings are allowed one by one, each with its reason; anything else fails.
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.authorisation import SubjectNames
from ca.constraints import Constraints
from ca.issuance import IssuingAuthority, build
from ca.keys import KeyAlgorithm
from ca.profiles import BUILT_IN, MAIL_ALL_IN_ONE, SMIME_DUAL, CertificateProfile, SubjectKind, key_family
from ca.subject import Organisation
from tests.ca.authorities import ANN, NOW, ORGANISATION, PHONE, SERVICE, YUKI, make_issuing, make_root
from tests.ca.keystores import shared_key
from tests.ca.linting import Finding, lint_pkix, lint_smime

SUBJECT_KEYS = (KeyAlgorithm.RSA2048, KeyAlgorithm.P256, KeyAlgorithm.P384, KeyAlgorithm.P521, KeyAlgorithm.ED25519)

# A private CA has not been audited against the baseline requirements and must not assert their policy identifiers.
NO_RESERVED_POLICY = "cabf.smime.certificate_policies_extension_missing"
# pkilint does not know P-521, which section 6.1.5 of the requirements allows beside P-256 and P-384.
P521_UNKNOWN = Finding(
    "cabf.smime.prohibited_spki_algorithm_encoding", "Prohibited encoding: 301006072a8648ce3d020106052b81040023"
)
# mail-all-in-one names the person, as a log-on certificate does, where the mailbox kind allows an address only.
PERSON_AS_COMMON_NAME = "cabf.smime.common_name_value_unknown_source"
# pkilint takes URLs for the only URIs; RFC 5280 section 4.2.1.6 asks for a scheme and something after it, which a URN has.
URN_UNKNOWN = Finding("pkix.invalid_uri_syntax", f'Invalid URI syntax: "{PHONE.uris[0]}"')


@cache
def issuer(kind: str) -> IssuingAuthority:
    """Return an issuing CA with a key of ``kind``."""
    if kind == "rsa":
        return make_issuing(make_root(shared_key(KeyAlgorithm.RSA2048, 100)), shared_key(KeyAlgorithm.RSA2048, 101))
    return make_issuing(make_root(shared_key(KeyAlgorithm.P384, 100)), shared_key(KeyAlgorithm.P384, 101))


def subjects(profile: CertificateProfile) -> Iterator[tuple[SubjectNames, Organisation | None]]:
    """Yield who gets certificates of ``profile``, in the mailbox and in the sponsor shape."""
    if profile.subject is SubjectKind.MAILBOX:
        yield from ((person, organisation) for person in (ANN, YUKI) for organisation in (None, ORGANISATION))
    elif profile.subject is SubjectKind.PERSON:
        yield from ((ANN, None), (YUKI, None))
    else:
        yield (PHONE if profile.subject is SubjectKind.DEVICE else SERVICE), None


def cases() -> Iterator[tuple[CertificateProfile, KeyAlgorithm]]:
    """Yield every profile of end entities with every key it allows."""
    for profile in BUILT_IN.values():
        for algorithm in SUBJECT_KEYS:
            if not profile.is_authority and key_family(shared_key(algorithm).public_key()) in profile.key_usage:
                yield profile, algorithm


@pytest.mark.parametrize("issuer_kind", ["rsa", "ec"])
@pytest.mark.parametrize(("profile", "algorithm"), [pytest.param(*case, id=f"{case[0].name}-{case[1]}") for case in cases()])
def test_certificates_of_every_profile_are_clean(profile: CertificateProfile, algorithm: KeyAlgorithm, issuer_kind: str) -> None:
    public_key = shared_key(algorithm).public_key()
    for names, organisation in subjects(profile):
        built = build(issuer(issuer_kind), profile, names, public_key, now=NOW, organisation=organisation)
        assert lint_pkix(built.der) - ({URN_UNKNOWN} if profile.subject is SubjectKind.DEVICE else set()) == set()
        if profile.subject is SubjectKind.MAILBOX:
            level = "SPONSORED" if organisation else "MAILBOX"
            for generation in ("STRICT", "MULTIPURPOSE"):
                findings = lint_smime(built.der, f"{level}-{generation}")
                assert unexplained(findings, algorithm) == set()
        elif profile is MAIL_ALL_IN_ONE:
            findings = lint_smime(built.der, "MAILBOX-MULTIPURPOSE")
            assert {found for found in unexplained(findings, algorithm) if found.code != PERSON_AS_COMMON_NAME} == set()


def unexplained(findings: set[Finding], algorithm: KeyAlgorithm) -> set[Finding]:
    """Drop what the private policy and the linter's own gaps explain; the first must be there, or nothing was linted."""
    policy = {found for found in findings if found.code == NO_RESERVED_POLICY}
    assert policy
    return findings - policy - ({P521_UNKNOWN} if algorithm is KeyAlgorithm.P521 else set())


@pytest.mark.parametrize("issuer_kind", ["rsa", "ec"])
def test_the_authorities_own_certificates_are_clean(issuer_kind: str) -> None:
    issuing = issuer(issuer_kind)
    assert lint_pkix(issuing.certificate_der) == set()
    assert lint_pkix(issuing.chain[0]) == set()


def test_a_constrained_authoritys_certificate_is_clean() -> None:
    root = make_root(shared_key(KeyAlgorithm.P384, 100))
    purposes = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION})
    constraints = Constraints(purposes, mail_domains=("example.com",), dns_domains=("example.com",))
    issuing = make_issuing(root, shared_key(KeyAlgorithm.P256, 102), constraints=constraints)
    assert lint_pkix(issuing.certificate_der) == set()


def test_the_linter_finds_what_is_wrong_with_a_bad_certificate() -> None:
    key = shared_key(KeyAlgorithm.RSA2048).public_key()
    too_long = build(issuer("ec"), SMIME_DUAL, ANN, key, now=NOW, validity=timedelta(days=900))
    assert codes(too_long.der) == {NO_RESERVED_POLICY, "cabf.smime.certificate_validity_period_exceeds_825_days"}
    log_on = build(issuer("ec"), MAIL_ALL_IN_ONE, ANN, key, now=NOW)
    assert codes(log_on.der) == {
        NO_RESERVED_POLICY,
        PERSON_AS_COMMON_NAME,
        "cabf.smime.prohibited_othername_type_present",
        "cabf.smime.prohibited_eku_present",
    }


def codes(der: bytes) -> set[str]:
    """Return what the strictest kind has against a certificate."""
    return {found.code for found in lint_smime(der, "MAILBOX-STRICT")}
