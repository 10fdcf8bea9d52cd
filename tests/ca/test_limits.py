"""What a chain lets an authority issue: every constraint of every authority counts."""

import ipaddress
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.authorisation import CaName
from ca.capability import can_issue
from ca.errors import ProfileNotAllowed
from ca.issuance import IssuingAuthority, build
from ca.keys import KeyAlgorithm
from ca.limits import Limits, limits_of, names_held, shown
from ca.profiles import DEVICE, IDENTITY, MAIL_ALL_IN_ONE, OCSP_RESPONDER, SCEP_RA, SMIME_DUAL
from ca.subject import SMTP_UTF8_MAILBOX, UPN
from foundation import tlv
from tests.ca.authorities import ANN, NOW, ORGANISATION, SERVICE
from tests.ca.foreign import Says, distinguished, foreign_root
from tests.ca.keystores import shared_key

CLIENT, MAIL, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
DC = NameOID.DOMAIN_COMPONENT


def as_read(text: str) -> x509.RFC822Name:
    """Return an rfc822Name as the library reads it from a certificate, where it judges nothing."""
    return x509.RFC822Name._init_without_validation(text)  # noqa: SLF001 - it builds no such name


def upn(text: str) -> x509.OtherName:
    return x509.OtherName(UPN, tlv.utf8_string(text))


def mailbox(text: str) -> x509.OtherName:
    return x509.OtherName(SMTP_UTF8_MAILBOX, tlv.utf8_string(text))


def directory(**parts: str) -> x509.DirectoryName:
    oids = {"O": NameOID.ORGANIZATION_NAME, "C": NameOID.COUNTRY_NAME, "CN": NameOID.COMMON_NAME, "DC": DC}
    return x509.DirectoryName(x509.Name([x509.NameAttribute(oids[key], value) for key, value in parts.items()]))


MAIL_NAME, DNS, URI = x509.RFC822Name, x509.DNSName, x509.UniformResourceIdentifier


@pytest.mark.parametrize(
    ("base", "name", "within"),
    [
        # RFC 5280 section 4.2.1.10, rfc822Name: a mailbox, a host, all hosts below one.
        (MAIL_NAME("ann@example.com"), MAIL_NAME("ann@EXAMPLE.com"), True),
        (MAIL_NAME("ann@example.com"), MAIL_NAME("bob@example.com"), False),
        (MAIL_NAME("example.com"), MAIL_NAME("ann@example.com"), True),
        (MAIL_NAME("example.com"), MAIL_NAME("ann@mail.example.com"), False),
        (MAIL_NAME(".example.com"), MAIL_NAME("ann@mail.example.com"), True),
        (MAIL_NAME(".example.com"), MAIL_NAME("ann@example.com"), False),
        (MAIL_NAME(".example.com"), MAIL_NAME("ann@badexample.com"), False),
        # As Microsoft's policy files write a host.
        (as_read("@example.com"), MAIL_NAME("ann@example.com"), True),
        (as_read("@example.com"), MAIL_NAME("ann@other.example"), False),
        (as_read(""), MAIL_NAME("ann@example.com"), True),
        (MAIL_NAME("xn--r8jz45g.jp"), mailbox("雪@xn--r8jz45g.jp"), True),
        (MAIL_NAME("example.com"), mailbox("雪@xn--r8jz45g.jp"), False),
        (DNS("example.com"), DNS("a.Example.com"), True),
        (DNS("example.com"), DNS("badexample.com"), False),
        (DNS(".example.com"), DNS("a.example.com"), True),
        (DNS(".example.com"), DNS("example.com"), False),
        (DNS(""), DNS("a.example.com"), True),
        (URI("example.com"), URI("https://example.com/x"), True),
        (URI(".example.com"), URI("https://a.example.com/x"), True),
        (URI("example.com"), URI("https://a.example.com/x"), False),
        (directory(O="Example"), directory(O="example", CN="Ann"), True),
        (directory(O="Example  Ltd"), directory(O="example ltd", CN="Ann"), True),
        (directory(O="Example"), directory(CN="Ann", O="Example"), False),
        (directory(O="Example", CN="Ann"), directory(O="Example"), False),
        (directory(), directory(CN="Ann"), True),
        (upn("@corp.example.com"), upn("ann@corp.example.com"), True),
        (upn(".example.com"), upn("ann@corp.example.com"), True),
        (upn("corp.example.com"), upn("ann@corp.example.com"), True),
        (upn("@corp.example.com"), upn("ann@example.com"), False),
        (x509.IPAddress(ipaddress.ip_network("192.0.2.0/24")), x509.IPAddress(ipaddress.ip_address("192.0.2.7")), True),
        (x509.IPAddress(ipaddress.ip_network("192.0.2.0/24")), x509.IPAddress(ipaddress.ip_address("198.51.100.7")), False),
        (x509.IPAddress(ipaddress.ip_network("192.0.2.0/24")), x509.IPAddress(ipaddress.ip_address("2001:db8::1")), False),
    ],
)
def test_names_lie_within_subtrees_as_verifiers_see_it(base: x509.GeneralName, name: x509.GeneralName, *, within: bool) -> None:
    assert Limits(permitted=((base,),)).permits(name) is within
    assert Limits(excluded=(base,)).permits(name) is not within


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (URI("example.com"), URI("urn:uuid:0b7bdd6d-9c7a-4b8c-8a26-0f4f1f1e9f55")),
        (URI("example.com"), URI("https://192.0.2.7/")),
        (upn("example.com"), x509.OtherName(UPN, b"\x30\x00")),
        (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))),
    ],
)
def test_what_cannot_be_compared_is_neither_permitted_nor_free(base: x509.GeneralName, name: x509.GeneralName) -> None:
    assert not Limits(permitted=((base,),)).permits(name)
    assert not Limits(excluded=(base,)).permits(name)


def test_a_constraint_binds_its_own_kind_of_name_only() -> None:
    limits = Limits(permitted=((MAIL_NAME("example.com"),),))
    assert limits.permits(DNS("elsewhere.example"))
    assert limits.permits(upn("ann@elsewhere.example"))
    assert not limits.permits(MAIL_NAME("ann@elsewhere.example"))


def test_every_authority_of_the_chain_must_permit_a_name() -> None:
    limits = Limits(permitted=((MAIL_NAME(".example.com"),), (MAIL_NAME("a.example.com"), MAIL_NAME("example.com"))))
    assert limits.permits(MAIL_NAME("ann@a.example.com"))
    assert not limits.permits(MAIL_NAME("ann@example.com"))
    assert not limits.permits(MAIL_NAME("ann@b.example.com"))


def test_purposes_are_those_that_every_authority_has() -> None:
    root = foreign_root(says=Says(purposes=[CLIENT, MAIL, SERVER]))
    policy = root.authority("Policy CA", Says(purposes=[MAIL, SERVER]))
    wide = policy.authority("Wide CA", Says(purposes=[ANY]))
    limits = limits_of([wide.certificate, policy.certificate, root.certificate])
    assert len(limits.purposes) == 2
    assert [can_issue(limits, each, None) for each in (SMIME_DUAL, IDENTITY, MAIL_ALL_IN_ONE)] == [True, False, False]
    assert can_issue(limits, SCEP_RA, None)
    assert can_issue(limits, OCSP_RESPONDER, None)
    # Two that have nothing in common leave nothing, which is not the same as no limit.
    nothing = limits_of([policy.authority("Odd CA", Says(purposes=[CLIENT])).certificate, policy.certificate])
    assert not any(can_issue(nothing, each, None) for each in (SMIME_DUAL, IDENTITY, MAIL_ALL_IN_ONE, DEVICE))


def under(*permitted: x509.GeneralName, excluded: tuple[x509.GeneralName, ...] = ()) -> IssuingAuthority:
    """Return an issuing CA of ours under a constrained root."""
    key = shared_key(KeyAlgorithm.P256, 110)
    root = foreign_root(says=Says(permitted=permitted, excluded=excluded))
    own = root.certify(distinguished("Our CA"), key.public_key())
    return IssuingAuthority(
        1, CaName("issuing"), own, own.public_bytes(Encoding.DER), key, chain=(root.certificate.public_bytes(Encoding.DER),)
    )


def subject(authority: IssuingAuthority, *, organisation: bool = False) -> str:
    """Issue to Ann; return her subject."""
    public = shared_key(KeyAlgorithm.RSA2048).public_key()
    built = build(authority, SMIME_DUAL, ANN, public, now=NOW, organisation=ORGANISATION if organisation else None)
    return built.subject


def test_what_the_root_above_excludes_is_not_issued() -> None:
    with pytest.raises(ProfileNotAllowed, match=r"to certify ann\.lee@example\.com"):
        subject(under(excluded=(MAIL_NAME("example.com"),)))
    public = shared_key(KeyAlgorithm.RSA2048).public_key()
    authority = under(upn("@corp.example.com"))
    build(authority, IDENTITY, ANN, public, now=NOW)
    with pytest.raises(ProfileNotAllowed, match=r"to certify ann@elsewhere\.example"):
        build(authority, IDENTITY, replace(ANN, upn="ann@elsewhere.example"), public, now=NOW)


@pytest.mark.parametrize(
    ("common_name", "permitted"),
    [
        ("Ann Lee", True),
        ("annlee", True),
        ("Ann Lee jr.", True),
        ("-ann.lee", True),
        ("ann..lee", True),
        ("山.田", True),
        ("phone.example.com", True),
        ("ann.lee", False),
        ("J.R.Lee", False),
        ("a_nn.lee-1", False),
        ("phone.example.net", False),
    ],
)
def test_a_common_name_like_a_host_is_held_to_dns_constraints_as_openssl_does(
    tmp_path: Path, common_name: str, *, permitted: bool
) -> None:
    held = under(DNS("example.com"))
    public = shared_key(KeyAlgorithm.RSA2048).public_key()
    names = replace(ANN, display_name=common_name)
    # The same without the root: nothing holds it to anything, and OpenSSL judges the result.
    leaf = build(replace(held, chain=()), IDENTITY, names, public, now=NOW)
    for name, der in (("leaf", leaf.der), ("own", held.certificate_der), ("root", held.chain[0])):
        (tmp_path / f"{name}.pem").write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
    at = str(int(NOW.timestamp()) + 3600)
    command = ["openssl", "verify", "-attime", at, "-CAfile", "root.pem", "-untrusted", "own.pem", "leaf.pem"]
    judged = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (judged.returncode == 0) == permitted, judged.stderr
    if permitted:
        build(held, IDENTITY, names, public, now=NOW)
        return
    assert "permitted subtree violation" in judged.stderr
    with pytest.raises(ProfileNotAllowed, match=f"to certify {common_name}"):
        build(held, IDENTITY, names, public, now=NOW)


def test_a_common_name_beside_a_host_is_only_a_name() -> None:
    subject_only = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ann.lee")])
    assert [*names_held(subject_only, [DNS("phone.example.com")])] == [x509.DirectoryName(subject_only), DNS("phone.example.com")]
    assert [*names_held(x509.Name([]), [])] == []


def test_below_a_permitted_directory_name_subjects_begin_with_it() -> None:
    plain = under(directory(C="DE", O="Example GmbH"))
    assert subject(plain) == "CN=ann.lee@example.com,O=Example GmbH,C=DE"
    # Its attributes take the place of ours of the same types.
    sponsor = subject(plain, organisation=True)
    assert sponsor.endswith(",O=Example GmbH,C=DE")
    assert "Example Corporation" not in sponsor
    ra = build(plain, SCEP_RA, SERVICE, shared_key(KeyAlgorithm.RSA2048).public_key(), now=NOW)
    assert ra.subject == "CN=Example service,O=Example GmbH,C=DE"
    # One that lies there already stays as it is.
    fitting = under(directory(C="US"))
    assert subject(fitting, organisation=True).endswith("O=Example Corporation,C=US")


def test_a_subject_that_no_permitted_name_helps_is_refused() -> None:
    authority = under(directory(O="Example"), excluded=(directory(O="Example"),))
    with pytest.raises(ProfileNotAllowed, match=r"to certify CN=ann\.lee@example\.com"):
        subject(authority)
    assert not can_issue(authority.limits, SMIME_DUAL, None)


def test_names_are_shown_as_people_know_them() -> None:
    assert shown(upn("ann@example.com")) == "ann@example.com"
    assert shown(x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\5\0")) == "a name of type 1.2.3"
    assert shown(directory()) == "an empty name"
    assert shown(directory(O="Example", CN="Ann")) == "CN=Ann,O=Example"


def test_hosts_that_constraints_name_are_told() -> None:
    limits = Limits(permitted=((MAIL_NAME(".example.com"), upn("@corp.example.com")), (MAIL_NAME("ann@a.example.com"),)))
    assert limits.mail_hosts == ("mail.example.com", "corp.example.com", "a.example.com")
    assert Limits().mail_hosts == ()
