"""An authority does not issue what its own certificate rules out."""

from dataclasses import replace

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.constraints import Constraints, constraints_of
from ca.errors import ProfileNotAllowed
from ca.issuance import IssuingAuthority, build
from ca.keys import KeyAlgorithm
from ca.limits import Limits
from ca.profiles import DEVICE, IDENTITY, OCSP_RESPONDER, SCEP_RA, SMIME_DUAL, CertificateProfile
from tests.ca.authorities import ANN, NOW, PHONE, SERVICE, YUKI, make_issuing
from tests.ca.keystores import shared_key

MAIL_ONLY = Constraints(frozenset({ExtendedKeyUsageOID.EMAIL_PROTECTION}), mail_domains=("example.com", ".sub.example.com"))
HOSTS_ONLY = Constraints(dns_domains=("example.com",))


def issue(issuing: IssuingAuthority, profile: CertificateProfile, names: object) -> None:
    """Issue on an RSA key."""
    build(issuing, profile, names, shared_key(KeyAlgorithm.RSA2048).public_key(), now=NOW)  # type: ignore[arg-type]


@pytest.fixture
def mail_ca(ec_root: IssuingAuthority) -> IssuingAuthority:
    return make_issuing(ec_root, shared_key(KeyAlgorithm.P256, 102), constraints=MAIL_ONLY)


@pytest.fixture
def host_ca(ec_root: IssuingAuthority) -> IssuingAuthority:
    return make_issuing(ec_root, shared_key(KeyAlgorithm.P256, 102), constraints=HOSTS_ONLY)


def test_limits_are_read_back_from_the_certificate_that_states_them(mail_ca: IssuingAuthority, host_ca: IssuingAuthority) -> None:
    assert constraints_of(mail_ca.certificate) == MAIL_ONLY
    assert constraints_of(host_ca.certificate) == HOSTS_ONLY


def test_an_authority_without_limits_has_none(ec_issuing: IssuingAuthority) -> None:
    assert constraints_of(ec_issuing.certificate) == Constraints()
    assert ec_issuing.limits == Limits()


def test_purposes_beyond_the_authoritys_are_refused(mail_ca: IssuingAuthority) -> None:
    issue(mail_ca, SMIME_DUAL, ANN)
    issue(mail_ca, SCEP_RA, SERVICE)
    issue(mail_ca, OCSP_RESPONDER, SERVICE)
    with pytest.raises(ProfileNotAllowed, match="purposes"):
        issue(mail_ca, IDENTITY, ANN)


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        ("ann@example.com", True),
        ("ann@EXAMPLE.com", True),
        ("雪@example.com", True),
        ("ann@a.sub.example.com", True),
        ("ann@sub.example.com", False),
        ("ann@notexample.com", False),
        ("ann@example.com.evil.example", False),
        ("雪@xn--r8jz45g.jp", False),
    ],
)
def test_mail_addresses_outside_the_permitted_domains_are_refused(
    mail_ca: IssuingAuthority, address: str, *, permitted: bool
) -> None:
    names = replace(ANN, emails=(address,))
    if permitted:
        issue(mail_ca, SMIME_DUAL, names)
        return
    with pytest.raises(ProfileNotAllowed, match="to certify"):
        issue(mail_ca, SMIME_DUAL, names)


def test_an_alias_is_held_to_the_limits_like_the_primary_address(mail_ca: IssuingAuthority) -> None:
    with pytest.raises(ProfileNotAllowed):
        issue(mail_ca, SMIME_DUAL, replace(YUKI, emails=("yuki@example.com", *YUKI.emails)))


@pytest.mark.parametrize(("host", "permitted"), [("example.com", True), ("a.Example.com", True), ("badexample.com", False)])
def test_hosts_outside_the_permitted_domains_are_refused(host_ca: IssuingAuthority, host: str, *, permitted: bool) -> None:
    names = replace(PHONE, dns_names=(host,))
    if permitted:
        issue(host_ca, DEVICE, names)
        return
    with pytest.raises(ProfileNotAllowed, match=host):
        issue(host_ca, DEVICE, names)
