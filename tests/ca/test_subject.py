"""Subjects and alternative names, by profile."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from ca.authorisation import SubjectNames
from ca.errors import NamesMissing
from ca.profiles import DEVICE, IDENTITY, MAIL_ALL_IN_ONE, SCEP_RA, SMIME_DUAL, TLS_SERVER
from ca.subject import Organisation, alternative_names, security_identifier, subject_name
from tests.ca.authorities import ANN, ORGANISATION, PHONE, SERVICE, YUKI


def test_an_identity_is_named_by_display_name_or_else_by_upn() -> None:
    assert subject_name(IDENTITY, ANN).rfc4514_string() == "CN=Ann Lee"
    assert subject_name(IDENTITY, replace(ANN, display_name="")).rfc4514_string() == "CN=ann@corp.example.com"


def test_a_mailbox_is_named_by_its_primary_address() -> None:
    assert subject_name(SMIME_DUAL, ANN).rfc4514_string() == "CN=ann.lee@example.com"


def test_a_sponsored_mailbox_names_the_organisation_and_the_person() -> None:
    subject = subject_name(SMIME_DUAL, ANN, ORGANISATION)
    assert [(attribute.oid.dotted_string, attribute.value) for attribute in subject] == [
        ("2.5.4.6", "US"),
        ("2.5.4.10", "Example Corporation"),
        ("2.5.4.97", "NTRUS+DE-1234567"),
        ("2.5.4.42", "Ann"),
        ("2.5.4.4", "Lee"),
        ("2.5.4.3", "ann.lee@example.com"),
    ]


@pytest.mark.parametrize(
    ("lacking", "organisation"),
    [
        ({"given_name": ""}, ORGANISATION),
        ({"surname": ""}, ORGANISATION),
        ({}, Organisation("Example Corporation")),
        ({}, None),
    ],
)
def test_the_sponsor_shape_needs_every_part_of_it(lacking: dict[str, Any], organisation: Organisation | None) -> None:
    assert subject_name(SMIME_DUAL, replace(ANN, **lacking), organisation).rfc4514_string() == "CN=ann.lee@example.com"


def test_only_mailboxes_take_the_sponsor_shape() -> None:
    assert subject_name(IDENTITY, ANN, ORGANISATION).rfc4514_string() == "CN=Ann Lee"


def test_organisational_units_go_where_the_endpoint_allowed_them() -> None:
    subject = subject_name(IDENTITY, ANN, None, ("mdm-id-7", "", "x" * 100))
    assert subject.rfc4514_string() == f"CN=Ann Lee,OU={'x' * 64},OU=mdm-id-7"


def test_a_subject_without_any_name_is_refused() -> None:
    for profile in (IDENTITY, DEVICE, SCEP_RA, SMIME_DUAL):
        with pytest.raises(NamesMissing, match="needs a"):
            subject_name(profile, SubjectNames())


def test_an_address_too_long_for_a_common_name_is_named_otherwise() -> None:
    ascii_address = "a" * 60 + "@example.com"
    assert (
        subject_name(SMIME_DUAL, SubjectNames(emails=(ascii_address,))).rfc4514_string()
        == f"1.2.840.113549.1.9.1={ascii_address}"
    )
    assert not list(subject_name(SMIME_DUAL, SubjectNames(emails=("雪" * 20 + "@example.com",))))


def test_alternative_names_of_each_kind() -> None:
    upn = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x14ann@corp.example.com")
    primary, alias = map(x509.RFC822Name, ANN.emails)
    assert alternative_names(IDENTITY, ANN) == [upn, primary]
    assert alternative_names(MAIL_ALL_IN_ONE, ANN) == [upn, primary, alias]
    assert alternative_names(SMIME_DUAL, ANN) == [primary, alias]
    assert alternative_names(DEVICE, PHONE) == [x509.DNSName(PHONE.dns_names[0]), x509.UniformResourceIdentifier(PHONE.uris[0])]
    assert alternative_names(TLS_SERVER, SERVICE) == [x509.DNSName("pki.example.com"), x509.IPAddress(ip_address("192.0.2.7"))]
    assert alternative_names(SCEP_RA, SERVICE) == []


def test_a_device_may_go_without_alternative_names() -> None:
    assert alternative_names(DEVICE, SubjectNames(device_name="router")) == []


def test_a_non_ascii_local_part_becomes_a_smtp_utf8_mailbox_with_an_a_label_domain() -> None:
    internationalised, plain = alternative_names(SMIME_DUAL, YUKI)
    address = "雪@xn--r8jz45g.jp".encode()
    assert internationalised == x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), bytes([0x0C, len(address)]) + address)
    assert plain == x509.RFC822Name("yuki@example.com")


def test_the_security_identifier_is_encoded_as_domain_controllers_expect_it() -> None:
    # SEQUENCE { [0] { OID 1.3.6.1.4.1.311.25.2.1, [0] { OCTET STRING } } }
    sid = b"S-1-5-21-1-2-3-500"
    oid = bytes.fromhex("060a2b060104018237190201")
    value = oid + b"\xa0\x14\x04\x12" + sid
    extension = security_identifier(sid.decode())
    assert extension.oid.dotted_string == "1.3.6.1.4.1.311.25.2"
    assert extension.value == bytes([0x30, len(value) + 2, 0xA0, len(value)]) + value


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_any_display_name_fits_a_common_name_and_is_cut_between_characters(name: str) -> None:
    ((attribute,),) = (list(subject_name(IDENTITY, SubjectNames(display_name=name))),)
    assert 1 <= len(str(attribute.value).encode()) <= 64
    assert name.startswith(str(attribute.value))
    assert name == attribute.value or len(name.encode()) > 64
