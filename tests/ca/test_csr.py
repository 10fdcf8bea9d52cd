"""Certificate requests: what they ask for, and that they are signed with the key they carry."""

import contextlib
import ipaddress
import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.csr import parse_csr
from ca.errors import BadCertificateRequest, BadProofOfPossession
from ca.names import RequestedNames
from foundation import tlv
from tests.foundation.ber_encoding import to_ber
from tests.fuzz.mutations import mutate

KEY = ec.generate_private_key(ec.SECP256R1())
ECDSA_WITH_SHA256 = tlv.sequence(tlv.object_identifier("1.2.840.10045.4.3.2"))
UPN = "1.3.6.1.4.1.311.20.2.3"
SMTP_UTF8_MAILBOX = "1.3.6.1.5.5.7.8.9"
SID_EXTENSION = "1.3.6.1.4.1.311.25.2"
SID = "S-1-5-21-1004336348-1177238915-682003330-512"
SAN = "2.5.29.17"
PKCS9_EXTENSIONS, MICROSOFT_EXTENSIONS = "1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14"
CHALLENGE = "1.2.840.113549.1.9.7"


def name(*attributes: tuple[str, int, bytes]) -> bytes:
    """Return a Name of (OID, string tag, content)."""
    return tlv.sequence(
        *(tlv.set_of(tlv.sequence(tlv.object_identifier(oid), tlv.tlv(tag, content))) for oid, tag, content in attributes)
    )


def attribute(oid: str, *values: bytes) -> bytes:
    return tlv.sequence(tlv.object_identifier(oid), tlv.set_of(*values))


def extensions(*pairs: tuple[str, bytes], request: str = PKCS9_EXTENSIONS) -> bytes:
    """Return an extensionRequest attribute of (OID, value)."""
    encoded = (tlv.sequence(tlv.object_identifier(oid), tlv.octet_string(value)) for oid, value in pairs)
    return attribute(request, tlv.sequence(*encoded))


def other_name(oid: str, value: bytes) -> bytes:
    return tlv.explicit(0, tlv.object_identifier(oid) + tlv.explicit(0, value))


def sid_extension(sid: str) -> bytes:
    return tlv.sequence(other_name("1.3.6.1.4.1.311.25.2.1", tlv.octet_string(sid.encode())))


def request(*attributes: bytes, subject: bytes = b"\x30\x00", sort: bool = True) -> bytes:
    """Return a request by hand, its attributes sorted or as given."""
    spki = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ordered = sorted(attributes) if sort else attributes
    info = tlv.sequence(tlv.integer(0), subject, spki, tlv.explicit(0, b"".join(ordered)))
    return tlv.sequence(info, ECDSA_WITH_SHA256, tlv.bit_string(KEY.sign(info, ec.ECDSA(hashes.SHA256()))))


def built(private_key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, **options: object) -> bytes:
    """Return a request made by the library."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ann")])
    digest = None if isinstance(private_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(private_key, digest, **options).public_bytes(serialization.Encoding.DER)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_names_of_every_kind_are_collected() -> None:
    names = tlv.sequence(
        tlv.tlv(0x81, b"ann@example.com"),
        tlv.tlv(0x82, b"phone.example.com"),
        tlv.tlv(0x86, b"urn:uuid:7c4b"),
        tlv.tlv(0x87, ipaddress.ip_address("192.0.2.1").packed),
        tlv.tlv(0x88, b"\x2a\x03"),
        other_name(UPN, tlv.utf8_string("ann@corp.example.com")),
        other_name(SMTP_UTF8_MAILBOX, tlv.utf8_string("zoë@example.com")),
        other_name("1.2.3.4", tlv.utf8_string("?")),
        tlv.explicit(4, name(("2.5.4.3", 0x0C, b"ann"))),
    )
    subject = name(
        ("2.5.4.3", 0x0C, b"first"),
        ("2.5.4.11", 0x13, b"unit one"),
        ("2.5.4.11", 0x13, b"unit two"),
        ("1.2.840.113549.1.9.1", 0x16, b"ann@example.net"),
        ("2.5.4.3", 0x0C, b"ann"),
    )
    parsed = parse_csr(request(extensions((SAN, names), (SID_EXTENSION, sid_extension(SID))), subject=subject))
    assert parsed.requested == RequestedNames(
        common_name="ann",
        emails=("ann@example.net", "ann@example.com", "zoë@example.com"),
        upns=("ann@corp.example.com",),
        dns_names=("phone.example.com",),
        uris=("urn:uuid:7c4b",),
        sids=(SID,),
        other=("IP address 192.0.2.1", "registered ID 1.2.3", "otherName 1.2.3.4", "directory name"),
        wants_ca=False,
        organisational_units=("unit one", "unit two"),
    )
    assert parsed.subject[1] == ("2.5.4.11", "unit one")


@pytest.mark.parametrize("oid", [PKCS9_EXTENSIONS, MICROSOFT_EXTENSIONS])
def test_extensions_count_in_the_standard_attribute_and_in_microsofts(oid: str) -> None:
    parsed = parse_csr(request(extensions((SAN, tlv.sequence(tlv.tlv(0x81, b"ann@example.com"))), request=oid)))
    assert parsed.requested.emails == ("ann@example.com",)


def test_names_hidden_in_a_second_extension_request_count_too() -> None:
    first = extensions((SAN, tlv.sequence(tlv.tlv(0x81, b"ann@example.com"))))
    second = extensions((SAN, tlv.sequence(tlv.tlv(0x81, b"boss@example.com"))), request=MICROSOFT_EXTENSIONS)
    assert set(parse_csr(request(first, second)).requested.emails) == {"ann@example.com", "boss@example.com"}


@pytest.mark.parametrize(
    ("value", "wants_ca"),
    [
        (tlv.sequence(tlv.boolean(value=True)), True),
        (tlv.sequence(tlv.tlv(tlv.BOOLEAN, b"\x01"), tlv.integer(3)), True),
        (tlv.sequence(tlv.boolean(value=False)), False),
        (tlv.sequence(), False),
    ],
)
def test_a_wish_to_be_a_ca_is_noticed(value: bytes, *, wants_ca: bool) -> None:
    assert parse_csr(request(extensions(("2.5.29.19", value)))).requested.wants_ca is wants_ca


def test_requested_usages_are_passed_over() -> None:
    unknown = extensions(("2.5.29.15", b"\x03\x02\x01\x06"), ("2.5.29.37", b"nonsense"))
    assert parse_csr(request(unknown)).requested == RequestedNames()


@pytest.mark.parametrize(
    ("tag", "content"),
    [(0x0C, b"sesame"), (0x13, b"sesame"), (0x16, b"sesame"), (0x14, b"sesame"), (0x1E, "sesame".encode("utf-16-be"))],
)
def test_a_challenge_of_any_string_type_is_read_and_not_shown(tag: int, content: bytes) -> None:
    parsed = parse_csr(request(attribute(CHALLENGE, tlv.tlv(tag, content))))
    assert parsed.challenge == "sesame"
    assert "sesame" not in repr(parsed)


def test_a_blank_challenge_is_an_absent_one() -> None:
    assert parse_csr(request(attribute(CHALLENGE, tlv.printable_string("")))).challenge is None
    assert parse_csr(request()).challenge is None


def test_a_long_challenge_is_read_up_to_its_bound() -> None:
    """Those of Intune have some thousand characters."""
    assert parse_csr(request(attribute(CHALLENGE, tlv.printable_string("x" * 16384)))).challenge == "x" * 16384
    with pytest.raises(BadCertificateRequest, match="too long"):
        parse_csr(request(attribute(CHALLENGE, tlv.printable_string("x" * 16385))))


def test_two_challenges_are_refused() -> None:
    with pytest.raises(BadCertificateRequest, match="challengePassword"):
        parse_csr(request(attribute(CHALLENGE, tlv.printable_string("a"), tlv.printable_string("b"))))
    with pytest.raises(BadCertificateRequest, match="challengePassword"):
        parse_csr(request(attribute(CHALLENGE, tlv.printable_string("a")), attribute(CHALLENGE, tlv.printable_string("b"))))


def test_missorted_attributes_are_read_and_verified_as_received() -> None:
    """The order in which strongSwan writes them."""
    san = extensions((SAN, tlv.sequence(tlv.tlv(0x81, b"ann@example.com"))))
    challenge = attribute(CHALLENGE, tlv.printable_string("sesame"))
    for order in ((san, challenge), (challenge, san)):
        parsed = parse_csr(request(*order, sort=False))
        assert (parsed.challenge, parsed.requested.emails) == ("sesame", ("ann@example.com",))


def test_an_at_sign_in_a_printable_string_is_read() -> None:
    """As certmonger writes it."""
    assert parse_csr(request(subject=name(("2.5.4.3", 0x13, b"ann@example.com")))).requested.common_name == "ann@example.com"


def test_a_subject_that_is_no_text_is_no_reason_to_refuse() -> None:
    assert parse_csr(request(subject=name(("2.5.4.3", 0x13, b"Zo\xeb")))).requested.common_name == "Zoë"


def test_a_request_in_ber_is_read() -> None:
    der = request(attribute(CHALLENGE, tlv.printable_string("sesame")))
    parsed = parse_csr(to_ber(der, segment=10))
    assert (parsed.challenge, parsed.der) == ("sesame", to_ber(der, segment=10))


def test_lengths_in_long_form_are_verified_as_received() -> None:
    spki = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = tlv.integer(0) + tlv.sequence() + spki + tlv.explicit(0, b"")
    info = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    signature = tlv.bit_string(KEY.sign(info, ec.ECDSA(hashes.SHA256())))
    assert parse_csr(tlv.sequence(info, ECDSA_WITH_SHA256, signature)).requested == RequestedNames()


def test_requests_without_attributes_are_read() -> None:
    spki = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    info = tlv.sequence(tlv.integer(0), tlv.sequence(), spki)
    signature = tlv.bit_string(KEY.sign(info, ec.ECDSA(hashes.SHA256())))
    parsed = parse_csr(tlv.sequence(info, ECDSA_WITH_SHA256, signature))
    assert (parsed.spki_der, parsed.challenge) == (spki, None)


def test_rsa_ed25519_and_pss_requests_verify(rsa_key: rsa.RSAPrivateKey) -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    for der in (built(rsa_key), built(ed25519.Ed25519PrivateKey.generate()), built(rsa_key, rsa_padding=pss)):
        assert parse_csr(der).requested.common_name == "ann"


def test_sha1_still_shows_possession_and_md5_does_not(rsa_key: rsa.RSAPrivateKey) -> None:
    spki = rsa_key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    info = tlv.sequence(tlv.integer(0), tlv.sequence(), spki, tlv.explicit(0, b""))
    for oid, digest, accepted in (("5", hashes.SHA1(), True), ("4", hashes.MD5(), False)):  # noqa: S303 - as old clients do
        algorithm = tlv.sequence(tlv.object_identifier("1.2.840.113549.1.1." + oid), tlv.null())
        der = tlv.sequence(info, algorithm, tlv.bit_string(rsa_key.sign(info, padding.PKCS1v15(), digest)))
        if accepted:
            parse_csr(der)
            continue
        with pytest.raises(BadProofOfPossession):
            parse_csr(der)


def test_a_request_signed_with_another_key_is_refused() -> None:
    der = request(subject=name(("2.5.4.3", 0x0C, b"ann")))
    with pytest.raises(BadProofOfPossession):
        parse_csr(der.replace(b"\x0c\x03ann", b"\x0c\x03bob"))


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30\x00", id="an empty SEQUENCE"),
        pytest.param(b"\x30" * 70000, id="too large"),
        pytest.param(request() + b"\0", id="bytes follow"),
        pytest.param(tlv.sequence(request()[tlv.read(request()).content :], tlv.null()), id="a fourth member"),
        pytest.param(
            request(attribute(CHALLENGE, tlv.printable_string("a"))).replace(b"\xa0", b"\xa1"), id="attributes under [1]"
        ),
        pytest.param(request(extensions((SAN, b"\x04\x00"))), id="a SAN that is no SEQUENCE"),
        pytest.param(request(extensions((SAN, tlv.sequence() + b"\0"))), id="bytes follow the SAN"),
        pytest.param(request(extensions((SAN, tlv.sequence(*[tlv.tlv(0x82, b"a")] * 129)))), id="129 names"),
        pytest.param(request(extensions((SAN, tlv.sequence(tlv.explicit(0, b"\x05\x00"))))), id="an otherName without a type"),
        pytest.param(request(extensions((SID_EXTENSION, tlv.sequence()[:1]))), id="a SID extension cut short"),
        pytest.param(
            request(extensions((SID_EXTENSION, tlv.sequence(other_name("1.2.3", tlv.octet_string(b"S-1")))))),
            id="a SID extension without a SID",
        ),
        pytest.param(request(attribute(CHALLENGE, tlv.octet_string(b"sesame"))), id="a challenge that is no string"),
        pytest.param(request(subject=name(*[("2.5.4.11", 0x0C, b"x")] * 129)), id="129 subject attributes"),
    ],
)
def test_malformed_requests_are_refused(der: bytes) -> None:
    with pytest.raises(BadCertificateRequest):
        parse_csr(der)


def test_a_request_that_only_the_library_could_verify_is_refused_in_a_version_it_does_not_know() -> None:
    der = built(ed25519.Ed25519PrivateKey.generate())
    assert der.count(b"\x02\x01\x00") == 1
    with pytest.raises(BadProofOfPossession):
        parse_csr(der.replace(b"\x02\x01\x00", b"\x02\x01\x07"))


def test_an_oversized_rsa_key_is_refused_before_it_is_used(rsa_key: rsa.RSAPrivateKey) -> None:
    numbers = tlv.sequence(tlv.integer((1 << 9000) + 1), tlv.integer(65537))
    rsa_encryption = tlv.sequence(tlv.object_identifier("1.2.840.113549.1.1.1"), tlv.null())
    info = tlv.sequence(tlv.integer(0), tlv.sequence(), tlv.sequence(rsa_encryption, tlv.bit_string(numbers)))
    algorithm = tlv.sequence(tlv.object_identifier("1.2.840.113549.1.1.11"), tlv.null())
    signature = rsa_key.sign(info, padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(BadCertificateRequest, match="RSA key"):
        parse_csr(tlv.sequence(info, algorithm, tlv.bit_string(signature)))


FULL = request(
    extensions(
        (SAN, tlv.sequence(tlv.tlv(0x81, b"ann@example.com"), other_name(UPN, tlv.utf8_string("ann@example.com")))),
        (SID_EXTENSION, sid_extension(SID)),
        ("2.5.29.19", tlv.sequence(tlv.boolean(value=False))),
    ),
    attribute(CHALLENGE, tlv.printable_string("sesame")),
    subject=name(("2.5.4.3", 0x0C, b"ann"), ("2.5.4.11", 0x1E, b"\0u")),
)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_declared_errors_only(data: bytes) -> None:
    with pytest.raises(BadCertificateRequest):
        parse_csr(data)


@settings(max_examples=400)
@given(st.integers(0, 2**32))
def test_mutated_requests_raise_declared_errors_only(seed: int) -> None:
    with contextlib.suppress(BadCertificateRequest, BadProofOfPossession):
        parse_csr(mutate(random.Random(seed), FULL))


@settings(max_examples=400)
@given(st.integers(0, 2**32))
def test_mutated_extensions_in_signed_requests_raise_declared_errors_only(seed: int) -> None:
    """The signature holds, so that the inner decoders are reached."""
    source = random.Random(seed)
    names = tlv.sequence(tlv.tlv(0x81, b"ann@example.com"), other_name(UPN, tlv.utf8_string("ann@example.com")))
    wanted = extensions((SAN, mutate(source, names)), (SID_EXTENSION, mutate(source, sid_extension(SID))))
    with contextlib.suppress(BadCertificateRequest):
        parse_csr(request(wanted, subject=source.choice((mutate(source, name(("2.5.4.3", 0x0C, b"ann"))), tlv.sequence()))))
