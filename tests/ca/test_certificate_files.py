"""Certificates as other authorities' administrators hand them out."""

import base64
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from ca import certificate_files
from ca.certificate_files import MAX_SIZE, read_certificates
from ca.errors import UnreadableCertificates
from tests.ca.foreign import distinguished, foreign_root

ROOT = foreign_root()
BELOW = ROOT.authority("Foreign Sub CA")
BOTH = [BELOW.certificate, ROOT.certificate]
P7_DER = pkcs7.serialize_certificates(BOTH, Encoding.DER)
P7_PEM = pkcs7.serialize_certificates(BOTH, Encoding.PEM)
PEM = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in BOTH)
TEXT = (
    b"Bag Attributes\n    friendlyName: Sub CA\nsubject=CN = Foreign Sub CA\nissuer=CN = Foreign Root CA\n"
    + BOTH[0].public_bytes(Encoding.PEM)
    + b"\n\ns:/CN=Foreign Root CA\n"
    + BOTH[1].public_bytes(Encoding.PEM)
)


def labelled(label: str, der: bytes) -> bytes:
    """Return PEM with lines of 76 characters, as certutil writes it."""
    return f"-----BEGIN {label}-----\r\n".encode() + base64.encodebytes(der) + f"-----END {label}-----\r\n".encode()


@pytest.mark.parametrize(
    "data",
    [
        PEM,
        TEXT,
        PEM.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + PEM,
        PEM.decode().encode("utf-16"),
        P7_PEM,
        P7_DER,
        # certutil -encode puts CERTIFICATE above anything.
        labelled("CERTIFICATE", P7_DER),
        labelled("PKCS #7 SIGNED DATA", P7_DER),
        base64.encodebytes(P7_DER),
    ],
    ids=["PEM", "text around", "CRLF", "UTF-8 BOM", "UTF-16", "p7b", "p7b DER", "certutil", "PKCS #7 label", "bare base64"],
)
def test_a_chain_is_read_in_every_form(data: bytes) -> None:
    assert set(read_certificates([data])) == set(BOTH)


def test_one_certificate_is_read_as_der_and_pem() -> None:
    for encoding in (Encoding.DER, Encoding.PEM):
        assert read_certificates([BOTH[0].public_bytes(encoding)]) == BOTH[:1]


def test_several_files_make_one_heap_with_each_certificate_once() -> None:
    assert read_certificates([PEM, P7_DER, BOTH[1].public_bytes(Encoding.DER)]) == BOTH


def test_pkcs7_with_indefinite_lengths_is_read() -> None:
    # The outermost SEQUENCE with an indefinite length, as BER encoders write it.
    header = 2 + (P7_DER[1] & 0x7F)
    assert set(read_certificates([b"\x30\x80" + P7_DER[header:] + b"\0\0"])) == set(BOTH)


REQUEST = (
    x509.CertificateSigningRequestBuilder(distinguished("x"))
    .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    .public_bytes(Encoding.PEM)
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds no certificate"),
        (b"hello world", "holds no certificate"),
        (REQUEST, "a certificate request, not the certificate"),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "base64 is damaged"),
        (labelled("CERTIFICATE", b"\x30\x03\x02\x01\x01"), "neither a certificate nor PKCS #7"),
        (PEM[:300], "holds no certificate"),
        (b"\x30\x82\x01\x00", "neither a certificate nor PKCS #7"),
        (bytes(MAX_SIZE + 1), "too large"),
    ],
    ids=["empty", "text", "request", "damaged base64", "other DER", "cut off", "cut off DER", "too large"],
)
def test_what_holds_no_certificate_is_refused_in_clear_words(data: bytes, words: str) -> None:
    with pytest.raises(UnreadableCertificates, match=words):
        read_certificates([data])


def test_a_private_key_beside_the_certificate_is_passed_over() -> None:
    data = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + PEM
    assert read_certificates([data]) == BOTH


def test_beginnings_without_an_end_cost_no_more_than_other_bytes() -> None:
    line = b"-----BEGIN CERTIFICATE-----\n"
    started = time.process_time()
    with pytest.raises(UnreadableCertificates, match="holds no certificate"):
        read_certificates([line * (MAX_SIZE // len(line))])
    assert time.process_time() - started < 5
    assert read_certificates([line + PEM]) == BOTH


def test_there_is_a_bound_on_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_files, "MAX_CERTIFICATES", 1)
    with pytest.raises(UnreadableCertificates, match="no chain"):
        read_certificates([PEM])


def test_a_certificate_of_a_version_that_does_not_exist_is_refused() -> None:
    der = BOTH[0].public_bytes(Encoding.DER)
    # The version stands first: [0] { INTEGER 2 }.
    assert der.count(bytes.fromhex("a003020102")) == 1
    with pytest.raises(UnreadableCertificates):
        read_certificates([der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020155"))])


@given(st.sampled_from([P7_DER, PEM, BOTH[0].public_bytes(Encoding.DER)]), st.integers(0), st.integers(0, 255))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_file_is_read_or_refused(data: bytes, at: int, value: int) -> None:
    damaged = bytearray(data)
    damaged[at % len(data)] = value
    try:
        read_certificates([bytes(damaged)])
    except UnreadableCertificates:
        return
