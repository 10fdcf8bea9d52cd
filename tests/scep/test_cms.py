"""SignedData: read, verified, written."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation import tlv
from scep.algorithms import ECDSA_IDENTIFIERS, Digest
from scep.certificate import read_certificate
from scep.cms import CONTENT_TYPE, MESSAGE_DIGEST, SignedMessage, read_certificates, read_signed_data
from scep.errors import AlgorithmRefused, BadSignature, MalformedMessage, ScepRefusal
from scep.signing import Signer, attribute, certificates_only, sign
from tests.foundation.ber_encoding import to_ber
from tests.scep.messages import CA, CLIENT, RA, signer_of, windows_throwaway_certificate
from tests.scep.surgery import rebuilt
from tests.vectors.scep.capture import key

NOTE = attribute("1.2.3.4", tlv.utf8_string("note"))


def verified(der: bytes) -> SignedMessage:
    signed = read_signed_data(der)
    signed.verify(signed.signer().public_key)
    return signed


@pytest.fixture(scope="module")
def ec_signer() -> Signer:
    private_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "elliptic")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(7)
        .not_valid_before(CA.certificate.not_valid_before_utc)
        .not_valid_after(CA.certificate.not_valid_after_utc)
        .sign(private_key, hashes.SHA256())
    )
    return Signer.of(certificate, private_key)


@pytest.mark.parametrize("digest", [digest for digest in Digest if digest is not Digest.MD5])
def test_what_is_signed_verifies_with_every_digest(digest: Digest) -> None:
    signed = read_signed_data(sign(CLIENT, b"content", [NOTE], digest))
    assert signed.verify(signed.signer().public_key) is digest
    assert signed.content == b"content"
    assert signed.signer().der == CLIENT.certificate_der


@pytest.mark.parametrize("digest", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
def test_ecdsa_signers_verify(ec_signer: Signer, digest: Digest) -> None:
    assert verified(sign(ec_signer, b"content", [], digest)).signer().serial_number == 7


def test_ecdsa_signers_that_name_their_key_type_as_the_algorithm_verify(ec_signer: Signer) -> None:
    der = sign(ec_signer, b"content", [], Digest.SHA256)
    plain = tlv.sequence(tlv.object_identifier("1.2.840.10045.2.1"))
    patched = rebuilt(der, ECDSA_IDENTIFIERS[Digest.SHA256], plain)
    assert verified(patched).signature_oid == "1.2.840.10045.2.1"


def test_ber_verifies_as_the_der_it_stands_for() -> None:
    der = sign(CLIENT, b"content" * 500, [NOTE], Digest.SHA256)
    assert verified(to_ber(der)).content == b"content" * 500


def test_attributes_out_of_order_verify_over_the_bytes_received() -> None:
    """No DER: the signature must be checked over what came, not over a re-encoding."""
    hashing = hashes.Hash(hashes.SHA256())
    hashing.update(b"x")
    digest = attribute(MESSAGE_DIGEST, tlv.octet_string(hashing.finalize()))
    content_type = attribute(CONTENT_TYPE, tlv.object_identifier("1.2.840.113549.1.7.1"))
    in_order = tlv.set_of(digest, content_type, NOTE)
    shuffled = tlv.tlv(tlv.SET, NOTE + digest + content_type)
    assert shuffled != in_order
    der = sign(CLIENT, b"x", [NOTE], Digest.SHA256)
    with pytest.raises(BadSignature):
        verified(rebuilt(der, b"\xa0" + in_order[1:], b"\xa0" + shuffled[1:]))
    verified(_with_attributes(shuffled))


def test_a_changed_content_does_not_verify() -> None:
    der = sign(CLIENT, b"content", [], Digest.SHA256)
    with pytest.raises(BadSignature, match="digest"):
        verified(der.replace(b"content", b"Content"))


def test_a_changed_attribute_does_not_verify() -> None:
    der = sign(CLIENT, b"content", [NOTE], Digest.SHA256)
    with pytest.raises(BadSignature, match="signature"):
        verified(der.replace(b"note", b"vote"))


def test_another_key_does_not_verify() -> None:
    signed = read_signed_data(sign(CLIENT, b"content", [], Digest.SHA256))
    with pytest.raises(BadSignature):
        signed.verify(RA.certificate.public_key())


def test_md5_is_refused() -> None:
    der = sign(CLIENT, b"content", [], Digest.SHA256)
    sha256, md5 = tlv.object_identifier("2.16.840.1.101.3.4.2.1"), tlv.object_identifier("1.2.840.113549.2.5")
    signed = read_signed_data(rebuilt(der, tlv.sequence(sha256, tlv.null()), tlv.sequence(md5, tlv.null())))
    with pytest.raises(AlgorithmRefused):
        signed.verify(signed.signer().public_key)


@pytest.mark.parametrize("oid", ["1.2.840.113549.1.1.10", "1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.10045.4.3.2"])
def test_a_signature_algorithm_that_fits_neither_key_nor_digest_is_refused(oid: str) -> None:
    signed = read_signed_data(sign(CLIENT, b"content", [], Digest.SHA256))
    with pytest.raises(AlgorithmRefused):
        replace(signed, signature_oid=oid).verify(signed.signer().public_key)


def test_a_content_type_other_than_data_does_not_verify() -> None:
    with pytest.raises(BadSignature, match="content type"):
        verified(_with_attributes(_attributes_of(b"x", content_type="1.2.840.113549.1.7.3")))


def test_an_attribute_given_twice_is_refused() -> None:
    doubled = sign(CLIENT, b"content", [NOTE, attribute("1.2.3.4", tlv.utf8_string("other"))], Digest.SHA256)
    with pytest.raises(MalformedMessage, match="exactly one"):
        verified(doubled).value("1.2.3.4")


def test_the_signer_is_found_among_several_certificates_whatever_their_order() -> None:
    der = sign(CLIENT, b"content", [], Digest.SHA256)
    for others in (CA.certificate_der + CLIENT.certificate_der, CLIENT.certificate_der + CA.certificate_der):
        crowded = rebuilt(der, CLIENT.certificate_der, others)
        assert verified(crowded).signer().der == CLIENT.certificate_der


def test_a_signer_named_by_its_key_identifier_is_found() -> None:
    der = sign(CLIENT, b"content", [], Digest.SHA256)
    identifier = CLIENT.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    by_key = rebuilt(der, CLIENT.issuer_and_serial, tlv.tlv(0x80, identifier))
    crowded = rebuilt(by_key, CLIENT.certificate_der, CA.certificate_der + CLIENT.certificate_der)
    assert verified(by_key).signer().der == verified(crowded).signer().der == CLIENT.certificate_der


def test_a_message_without_its_signers_certificate_is_refused() -> None:
    der = sign(CLIENT, b"content", [], Digest.SHA256)
    for others in (b"", CA.certificate_der + RA.certificate_der):
        with pytest.raises(MalformedMessage, match="certificate"):
            verified(rebuilt(der, CLIENT.certificate_der, others))
    with pytest.raises(BadSignature):
        verified(rebuilt(der, CLIENT.certificate_der, CA.certificate_der))


def test_the_only_certificate_is_the_signers_however_its_issuer_is_spelled() -> None:
    der = sign(CLIENT, b"content", [], Digest.SHA256)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Captured ca", _type=x509.name._ASN1Type.PrintableString)])  # noqa: SLF001
    respelled = tlv.sequence(name.public_bytes(), tlv.integer(CLIENT.certificate.serial_number))
    assert respelled != CLIENT.issuer_and_serial
    assert verified(rebuilt(der, CLIENT.issuer_and_serial, respelled)).signer().der == CLIENT.certificate_der


@pytest.mark.parametrize("serial_number", [0x7A51, -0x7A51])
def test_windows_throwaway_signers_verify_though_the_library_refuses_some(serial_number: int) -> None:
    made = windows_throwaway_certificate(serial_number=serial_number)
    signed = verified(sign(signer_of(made), b"content", [], Digest.SHA1))
    assert signed.signer().serial_number == serial_number
    assert (signed.signer().x509 is None) == (serial_number < 0)


def test_an_oversized_rsa_key_is_refused_before_it_costs_anything() -> None:
    spki = CLIENT.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    huge = tlv.sequence(tlv.integer((1 << 16000) + 1), tlv.integer(65537))
    rsa_encryption = tlv.sequence(tlv.object_identifier("1.2.840.113549.1.1.1"), tlv.null())
    with pytest.raises(MalformedMessage, match=r"oversized|unreadable"):
        read_certificate(rebuilt(CLIENT.certificate_der, spki, tlv.sequence(rsa_encryption, tlv.bit_string(huge))))


def test_a_bag_of_certificates_keeps_the_order_given() -> None:
    bag = [RA.certificate_der, CA.certificate_der, CLIENT.certificate_der]
    assert list(read_certificates(certificates_only(bag))) == bag
    assert list(read_certificates(certificates_only(bag[::-1]))) == bag[::-1]


def test_a_bag_of_certificates_has_no_signer() -> None:
    with pytest.raises(MalformedMessage, match="one signer"):
        read_signed_data(certificates_only([RA.certificate_der]))


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_declared_errors_only(data: bytes) -> None:
    for reader in (read_signed_data, read_certificates, read_certificate):
        with pytest.raises(ScepRefusal):
            reader(data)


# --- surgery ---


def _attributes_of(content: bytes, *, content_type: str) -> bytes:
    hashing = hashes.Hash(hashes.SHA256())
    hashing.update(content)
    return tlv.set_of(
        attribute(CONTENT_TYPE, tlv.object_identifier(content_type)),
        attribute(MESSAGE_DIGEST, tlv.octet_string(hashing.finalize())),
    )


def _with_attributes(attributes: bytes) -> bytes:
    """Return a message over ``b"x"`` with these very attribute bytes, signed."""
    der = sign(CLIENT, b"x", [], Digest.SHA256)
    plain = _attributes_of(b"x", content_type="1.2.840.113549.1.7.1")
    old_signature = key("client").sign(plain, padding.PKCS1v15(), hashes.SHA256())
    new_signature = key("client").sign(attributes, padding.PKCS1v15(), hashes.SHA256())
    return rebuilt(rebuilt(der, b"\xa0" + plain[1:], b"\xa0" + attributes[1:]), old_signature, new_signature)
