"""Keys meet their certificates by their public halves, and certificates their chains by signatures."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from foundation import tlv
from pkcs_import.container import ContainedKey, Container
from pkcs_import.errors import KeyMismatch, NoCertificate, NoPrivateKey
from pkcs_import.matching import identities
from tests.pkcs_import.certificates import Wanted, issued
from tests.vectors.pkcs12.parties import der, key, pkcs8, spki


def contained(party: str) -> ContainedKey:
    return ContainedKey(pkcs8(party), spki(party), "rsa2048", None, party)


def container(parties: list[str], certificates: list[bytes]) -> Container:
    return Container(tuple(contained(party) for party in parties), tuple(certificates))


def encoded(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


CHAIN = [der("root"), der("issuing")]


def test_each_key_meets_its_certificates_in_the_order_of_the_keys() -> None:
    found = identities(container(["bob", "ann"], [*CHAIN, der("ann"), der("bob"), der("cid")]))
    assert [each.key.friendly_name for each in found] == ["bob", "ann"]
    assert [[matched.der for matched in each.certificates] for each in found] == [[der("bob")], [der("ann")]]
    assert found[0].certificates[0].chain == found[1].certificates[0].chain == (der("issuing"), der("root"))
    assert encoded(found[0].certificates[0].certificate) == der("bob")


def test_a_key_with_several_certificates_has_the_one_that_ends_last_first() -> None:
    public = key("ann").public_key()
    ends = [encoded(issued(public, Wanted(not_after=datetime(year, 1, 1, tzinfo=UTC)))) for year in (2022, 2031, 2025)]
    (found,) = identities(container(["ann"], ends))
    assert [matched.der for matched in found.certificates] == [ends[1], ends[2], ends[0]]
    assert {matched.chain for matched in found.certificates} == {()}


def test_a_key_without_a_certificate_is_left_out() -> None:
    found = identities(container(["ann", "bob"], [der("bob")]))
    assert [each.key.friendly_name for each in found] == ["bob"]


# --- chains ---


def test_a_chain_goes_as_far_as_the_file_has_it() -> None:
    (found,) = identities(container(["ann"], [der("ann"), der("issuing")]))
    assert found.certificates[0].chain == (der("issuing"),)


def test_an_authority_of_the_right_name_with_another_key_is_no_issuer() -> None:
    impostor = issued(
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        Wanted(subject="PKCS #12 vectors issuing", is_authority=True),
    )
    (found,) = identities(container(["ann"], [der("ann"), encoded(impostor), *CHAIN]))
    assert found.certificates[0].chain == (der("issuing"), der("root"))


def test_authorities_that_certify_each_other_make_no_endless_chain() -> None:
    one, two = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    first = issued(one.public_key(), Wanted(subject="One", issuer="Two", is_authority=True, signer=two))
    second = issued(two.public_key(), Wanted(subject="Two", issuer="One", is_authority=True, signer=one))
    leaf = issued(key("ann").public_key(), Wanted(issuer="One", signer=one))
    (found,) = identities(container(["ann"], [encoded(each) for each in (leaf, first, second)]))
    assert found.certificates[0].chain == (encoded(first), encoded(second))


def test_a_self_signed_certificate_has_no_chain() -> None:
    alone = issued(key("ann").public_key(), Wanted(subject="Ann", issuer="Ann", signer=key("ann")))
    (found,) = identities(container(["ann"], [encoded(alone)]))
    assert found.certificates[0].chain == ()


def _old(algorithm: str, digest: hashes.HashAlgorithm, signer: rsa.RSAPrivateKey) -> tuple[bytes, bytes]:
    """Return a certificate signed as nobody does any more, and its issuer's."""
    leaf = issued(key("ann").public_key(), Wanted(issuer="Old", signer=key("ann-old")))
    authority = issued(key("ann-old").public_key(), Wanted(subject="Old", is_authority=True))
    # sha256WithRSAEncryption becomes the other in place: their OIDs have the same length.
    new, old = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex(algorithm)
    signed = leaf.tbs_certificate_bytes.replace(new, old)
    signature = signer.sign(signed, padding.PKCS1v15(), digest)
    identifier = tlv.sequence(tlv.tlv(tlv.OBJECT_IDENTIFIER, old), tlv.null())
    return tlv.sequence(signed, identifier, tlv.bit_string(signature)), encoded(authority)


_SHA1, _MD5, _MD2 = "2a864886f70d010105", "2a864886f70d010104", "2a864886f70d010102"


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [(_SHA1, hashes.SHA1()), (_MD5, hashes.MD5())],  # noqa: S303 - of old mail
    ids=["SHA-1", "MD5"],
)
def test_issuers_of_long_ago_are_told_by_their_signatures(algorithm: str, digest: hashes.HashAlgorithm) -> None:
    signer, stranger = key("ann-old"), key("ann")
    assert isinstance(signer, rsa.RSAPrivateKey)
    assert isinstance(stranger, rsa.RSAPrivateKey)
    sound, authority = _old(algorithm, digest, signer)
    (found,) = identities(container(["ann"], [sound, authority]))
    assert found.certificates[0].chain == (authority,)
    forged, authority = _old(algorithm, digest, stranger)
    (found,) = identities(container(["ann"], [forged, authority]))
    assert found.certificates[0].chain == ()


def test_of_signatures_that_nobody_verifies_the_names_are_left_to_go_by() -> None:
    signer = key("ann-old")
    assert isinstance(signer, rsa.RSAPrivateKey)
    ancient, authority = _old(_MD2, hashes.SHA256(), signer)
    (found,) = identities(container(["ann"], [ancient, authority]))
    assert found.certificates[0].chain == (authority,)


# --- refusals ---


def test_without_a_key_there_is_nothing_to_match() -> None:
    with pytest.raises(NoPrivateKey, match="no private key"):
        identities(container([], [der("ann")]))


def test_without_a_certificate_a_key_is_nobody_s() -> None:
    with pytest.raises(NoCertificate, match="there is no certificate in the file"):
        identities(container(["ann"], []))


def test_certificates_that_cannot_be_read_are_named_as_such() -> None:
    with pytest.raises(NoCertificate, match="no certificate in the file can be read"):
        identities(container(["ann"], [b"\x30\x00", der("ann")[:-1]]))


def test_authorities_alone_are_not_over_the_key() -> None:
    with pytest.raises(NoCertificate, match="only certificates of authorities"):
        identities(container(["ann"], CHAIN))


def test_somebody_else_s_certificate_is_a_mismatch() -> None:
    with pytest.raises(KeyMismatch, match="do not belong together"):
        identities(container(["ann"], [der("bob"), *CHAIN]))
    with pytest.raises(KeyMismatch):
        identities(container(["ann"], [der("ann-old")]))


def test_an_unreadable_certificate_does_not_keep_the_others_from_being_matched() -> None:
    (found,) = identities(container(["ann"], [b"\x30\x00", der("ann")]))
    assert found.certificates[0].der == der("ann")


def test_a_certificate_with_a_name_that_is_no_text_cannot_be_read() -> None:
    certificate = der("bob").replace(tlv.utf8_string("PKCS #12 vectors bob"), tlv.bit_string(b"PKCS #12 vectors bo"))
    with pytest.raises(NoCertificate, match="can be read"):
        identities(container(["bob"], [certificate]))


def test_a_certificate_of_an_unknown_version_cannot_be_read() -> None:
    certificate = der("bob").replace(tlv.explicit(0, tlv.integer(2)), tlv.explicit(0, tlv.integer(9)), 1)
    with pytest.raises(NoCertificate, match="can be read"):
        identities(container(["bob"], [certificate]))


def test_a_certificate_with_an_extension_twice_cannot_be_read() -> None:
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([]), subject_name=x509.Name([]), public_key=key("bob").public_key(), serial_number=1,
        not_valid_before=datetime(2020, 1, 1), not_valid_after=datetime(2030, 1, 1),  # noqa: DTZ001 - as the builder keeps them
    )  # fmt: skip
    builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.99"), b"\5\0"), critical=False)
    builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.98"), b"\5\0"), critical=False)
    twice = encoded(builder.sign(key("issuing"), hashes.SHA256())).replace(b"\x55\x1d\x62", b"\x55\x1d\x63")
    with pytest.raises(NoCertificate, match="can be read"):
        identities(container(["bob"], [twice]))
