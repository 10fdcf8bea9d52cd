"""Certificates of authorities, without a database."""

from datetime import timedelta

import pytest

from ca.authority_certificates import authority_name, sign_again, sign_issuing
from ca.constraints import Constraints
from ca.errors import BadAuthorityName
from ca.issuance import IssuingAuthority
from ca.keys import KeyAlgorithm
from ca.subject import Organisation
from tests.ca.assertions import assert_is_issuing_ca, assert_is_root, load
from tests.ca.authorities import NOW, ORGANISATION
from tests.ca.keystores import shared_key


def test_authorities_are_what_they_are(ec_issuing: IssuingAuthority, rsa_issuing: IssuingAuthority) -> None:
    for issuing in (ec_issuing, rsa_issuing):
        assert_is_issuing_ca(issuing.certificate)
        assert_is_root(load(issuing.chain[0]))


def test_a_name_holds_what_is_known() -> None:
    assert authority_name("Root", None).rfc4514_string() == "CN=Root"
    assert authority_name("Root", Organisation("Example")).rfc4514_string() == "CN=Root,O=Example"
    assert authority_name("Root", ORGANISATION).rfc4514_string() == "CN=Root,O=Example Corporation,C=US"


@pytest.mark.parametrize("common_name", ["", "x" * 65, "山" * 22])
def test_a_common_name_that_does_not_fit_is_refused(common_name: str) -> None:
    with pytest.raises(BadAuthorityName, match="1 to 64 bytes"):
        authority_name(common_name, None)


def test_an_issuing_ca_is_not_named_as_its_root(ec_root: IssuingAuthority) -> None:
    key = shared_key(KeyAlgorithm.P256).public_key()
    with pytest.raises(BadAuthorityName, match="name of its root"):
        sign_issuing(ec_root, ec_root.certificate.subject, key, constraints=Constraints(), now=NOW)


def test_an_ed25519_key_is_no_authoritys(ec_root: IssuingAuthority) -> None:
    key = shared_key(KeyAlgorithm.ED25519).public_key()
    with pytest.raises(ValueError, match="RSA or elliptic-curve"):
        sign_issuing(ec_root, authority_name("Issuing", None), key, constraints=Constraints(), now=NOW)


def test_an_issuing_ca_ends_with_its_root_at_the_latest(ec_root: IssuingAuthority) -> None:
    later = ec_root.certificate.not_valid_after_utc - timedelta(days=1000)
    key = shared_key(KeyAlgorithm.P256).public_key()
    built = sign_issuing(ec_root, authority_name("Issuing", None), key, constraints=Constraints(), now=later)
    assert built.not_after == ec_root.certificate.not_valid_after_utc


def test_a_certificate_made_again_keeps_its_end(ec_root: IssuingAuthority, ec_issuing: IssuingAuthority) -> None:
    key = ec_issuing.private_key.public_key()
    built = sign_again(ec_root, ec_issuing.certificate, key, now=NOW + timedelta(days=900))
    assert built.not_after == ec_issuing.certificate.not_valid_after_utc
    assert built.subject == ec_issuing.certificate.subject.rfc4514_string()
