"""Reading back the names in a certificate: what issuance wrote, whatever the profile."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.authorisation import SubjectNames
from ca.certified import names_in
from ca.profiles import BUILT_IN, CertificateProfile
from ca.subject import SECURITY_IDENTIFIER, UPN, alternative_names, security_identifier
from foundation import tlv
from foundation.errors import BadRequest

KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emails=mallory@example.com")])
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def certificate(*extensions: x509.ExtensionType) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256())


def written(profile: CertificateProfile, names: SubjectNames) -> x509.Certificate:
    extensions: list[x509.ExtensionType] = []
    if general_names := alternative_names(profile, names):
        extensions.append(x509.SubjectAlternativeName(general_names))
    if profile.security_identifier and names.sid:
        extensions.append(security_identifier(names.sid))
    return certificate(*extensions)


EVERYTHING = SubjectNames(
    display_name="Alice",
    upn="älice@corp.example.com",
    emails=("alice@example.com", "用户@xn--fsqu00a.example", "a.smith@example.com"),
    sid="S-1-5-21-1004336348-1177238915-682003330-1103",
    device_name="phone",
    dns_names=("phone.example.com", "xn--fsqu00a.example"),
    uris=("urn:uuid:0b7bdd6d-9c7a-4b8c-8a26-0f4f1f1e9f55",),
)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("identity", SubjectNames(upn=EVERYTHING.upn, emails=EVERYTHING.emails[:1], sid=EVERYTHING.sid)),
        ("smime-signing", SubjectNames(emails=EVERYTHING.emails)),
        ("smime-encryption", SubjectNames(emails=EVERYTHING.emails)),
        ("smime-dual", SubjectNames(emails=EVERYTHING.emails)),
        ("mail-all-in-one", SubjectNames(upn=EVERYTHING.upn, emails=EVERYTHING.emails, sid=EVERYTHING.sid)),
        ("device", SubjectNames(dns_names=EVERYTHING.dns_names, uris=EVERYTHING.uris)),
        ("scep-ra", SubjectNames()),
    ],
)
def test_every_profile_is_read_back_as_it_was_written(profile: str, expected: SubjectNames) -> None:
    made = written(next(each for each in BUILT_IN.values() if each.name == profile), EVERYTHING)
    assert names_in(made) == expected


def test_the_subject_vouches_for_nothing() -> None:
    assert names_in(certificate()) == SubjectNames()


def test_names_of_other_kinds_are_passed_over() -> None:
    others = [
        x509.DirectoryName(NAME),
        x509.RegisteredID(UPN),
        x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), tlv.utf8_string("mallory@example.com")),
    ]
    assert names_in(certificate(x509.SubjectAlternativeName(others))) == SubjectNames()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x30\x00",
        b"\x30\x02\xa0\x00",
        b"\x04\x01x",
        security_identifier("S-1-5").value[:-1] + b"\xff",
        tlv.sequence(tlv.explicit(0, UPN.dotted_string.encode())),
    ],
)
def test_a_malformed_identifier_is_an_error_of_ours(value: bytes) -> None:
    """A certificate of ours never holds one; reading must not end in a defect all the same."""
    with pytest.raises(BadRequest):
        names_in(certificate(x509.UnrecognizedExtension(SECURITY_IDENTIFIER, value)))


@settings(max_examples=50)
@given(
    st.lists(st.from_regex(r"[a-z0-9._-]{1,20}@example\.com", fullmatch=True), max_size=5),
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=40),
)
def test_whatever_addresses_and_upn_there_are_come_back(emails: list[str], local_part: str) -> None:
    names = SubjectNames(upn=f"{local_part}@example.com", emails=("first@example.com", *emails))
    profile = next(each for each in BUILT_IN.values() if each.name == "mail-all-in-one")
    assert names_in(written(profile, names)) == names
