"""The certificates that messages carry, some of which no library would have."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from scep.certificate import read_certificate, subject_key_identifier
from scep.client import named, throwaway_signer
from scep.errors import MalformedMessage

SUBJECT_ALTERNATIVE_NAME = bytes.fromhex("0603551d11")
ISSUER_ALTERNATIVE_NAME = bytes.fromhex("0603551d12")


@pytest.mark.parametrize(
    ("replaced", "by"),
    [
        pytest.param(ISSUER_ALTERNATIVE_NAME, SUBJECT_ALTERNATIVE_NAME, id="an extension twice"),
        pytest.param(b"\x82\x02aa", b"\xa5\x02\x05\x00", id="a name of a kind the library does not know"),
    ],
)
def test_unreadable_extensions_leave_the_key_to_identify_a_certificate(
    rsa_key: rsa.RSAPrivateKey, replaced: bytes, by: bytes
) -> None:
    model = throwaway_signer(rsa_key, named("x")).certificate
    certificate = (
        x509.CertificateBuilder(model.issuer, model.subject, rsa_key.public_key(), 5)
        .not_valid_before(model.not_valid_before_utc)
        .not_valid_after(model.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("aa")]), critical=False)
        .add_extension(x509.IssuerAlternativeName([x509.DNSName("bb")]), critical=False)
        .sign(rsa_key, hashes.SHA256())
    )
    carried = read_certificate(certificate.public_bytes(Encoding.DER).replace(replaced, by))
    assert carried.x509 is not None
    assert subject_key_identifier(carried.x509) == x509.SubjectKeyIdentifier.from_public_key(rsa_key.public_key()).digest


def test_a_key_that_takes_long_to_verify_with_is_refused(rsa_key: rsa.RSAPrivateKey) -> None:
    numbers = rsa_key.public_key().public_numbers()
    ordinary = throwaway_signer(rsa_key, named("x")).certificate
    assert read_certificate(ordinary.public_bytes(Encoding.DER)).public_key == rsa_key.public_key()
    costly = rsa.RSAPublicNumbers(numbers.n - 2, numbers.n).public_key()
    certificate = (
        x509.CertificateBuilder(ordinary.issuer, ordinary.subject, costly, 5)
        .not_valid_before(ordinary.not_valid_before_utc)
        .not_valid_after(ordinary.not_valid_after_utc)
        .sign(rsa_key, hashes.SHA256())
    )
    with pytest.raises(MalformedMessage, match="oversized"):
        read_certificate(certificate.public_bytes(Encoding.DER))
