"""Finding the chain above an authority's certificate, and refusing what verifiers would refuse."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from ca.chain import MAX_LENGTH, Chain, find_chain
from ca.errors import ChainRefused
from ca.keys import KeyAlgorithm, generate_key
from ca.subject import UPN
from foundation import tlv
from tests.ca.authorities import NOW
from tests.ca.foreign import SOUND, YEARS, Foreign, Says, distinguished, foreign_root

KEY = generate_key(KeyAlgorithm.P256)
PUBLIC = KEY.public_key()
NAME = distinguished("Our Issuing CA", "Example")
ROOT = foreign_root()


def found(*certificates: x509.Certificate, known: Sequence[x509.Certificate] = ()) -> Chain:
    """Look for a chain above our key."""
    return find_chain(PUBLIC, certificates, known, now=NOW)


def refusal(*certificates: x509.Certificate) -> str:
    """Return why there is none."""
    with pytest.raises(ChainRefused) as caught:
        found(*certificates)
    return str(caught.value)


def ours(above: Foreign = ROOT, says: Says = SOUND) -> x509.Certificate:
    """Make a certificate over our key."""
    return above.certify(NAME, PUBLIC, says)


def test_the_order_does_not_matter_and_strangers_do_not_disturb() -> None:
    policy = ROOT.authority("Policy CA")
    own = ours(policy)
    stranger = foreign_root("Stranger").certificate
    namesake = foreign_root().certificate
    heap = (own, policy.certificate, ROOT.certificate, stranger, namesake)
    for order in itertools.permutations(heap):
        assert found(*order).certificates == (own, policy.certificate, ROOT.certificate)


def test_what_is_known_already_need_not_be_given_again() -> None:
    own = ours()
    assert found(own, known=[ROOT.certificate]).certificates == (own, ROOT.certificate)


def test_a_certificate_over_another_key_is_not_ours() -> None:
    other = ROOT.certify(NAME, generate_key(KeyAlgorithm.P256).public_key())
    assert "none of the certificates given is over this authority's key" in refusal(other, ROOT.certificate)
    rsa = ROOT.certify(NAME, generate_key(KeyAlgorithm.RSA2048).public_key())
    assert "none of the certificates" in refusal(rsa, ROOT.certificate)


def test_an_end_entitys_certificate_is_told_from_an_authoritys() -> None:
    for says in (Says(is_authority=False), Says(is_authority=None)):
        assert "is no CA certificate" in refusal(ours(says=says), ROOT.certificate)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (Says(signs_certificates=False), "keyCertSign or cRLSign"),
        (Says(signs_crls=False), "keyCertSign or cRLSign"),
        (Says(has_key_identifier=False), "subjectKeyIdentifier"),
        (Says(not_before=NOW + timedelta(days=1)), "is not valid before"),
        (Says(not_before=NOW - YEARS, not_after=NOW - timedelta(days=1)), "expired on"),
        (
            Says(more=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]),
            "critical extension 1.2.3.4",
        ),
    ],
)
def test_what_our_certificate_lacks_is_said(says: Says, words: str) -> None:
    assert words in refusal(ours(says=says), ROOT.certificate)


def test_our_own_signature_over_our_key_is_no_certificate_from_above() -> None:
    assert "is self-signed" in refusal(foreign_root(key=KEY).certificate)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (Says(is_authority=False), "Policy CA is no CA certificate"),
        (Says(is_authority=None), "Policy CA is no CA certificate"),
        (Says(signs_certificates=False), "Policy CA lacks the key usage keyCertSign"),
        (Says(not_before=NOW - YEARS, not_after=NOW - timedelta(days=1)), "Policy CA expired"),
    ],
)
def test_what_an_authority_above_lacks_is_said(says: Says, words: str) -> None:
    policy = ROOT.authority("Policy CA", replace(SOUND, path_length=3))
    assert len(found(ours(policy), policy.certificate, ROOT.certificate).certificates) == 3
    broken = ROOT.authority("Policy CA", says)
    assert words in refusal(ours(broken), broken.certificate, ROOT.certificate)


def test_the_path_length_of_every_authority_counts_the_roots_too() -> None:
    root = foreign_root(says=Says(path_length=1))
    assert found(ours(root), root.certificate)
    first = root.authority("First CA")
    assert "allows 1 authorities below it (pathLenConstraint), and there are 2" in refusal(
        ours(first), first.certificate, root.certificate
    )
    policy = ROOT.authority("Policy CA", Says(path_length=0))
    assert "Policy CA allows 0 authorities below it" in refusal(ours(policy), policy.certificate, ROOT.certificate)
    none = foreign_root(says=Says(path_length=0))
    assert "allows 0 authorities" in refusal(ours(none), none.certificate)


def test_a_self_issued_certificate_does_not_count_for_the_path_length() -> None:
    root = foreign_root(says=Says(path_length=1))
    # A change of key: the root certifies its next key, under its own name.
    rolled = root.authority("Foreign Root CA")
    assert found(ours(rolled), rolled.certificate, root.certificate)


def test_a_missing_authority_is_named() -> None:
    policy = ROOT.authority("Policy CA")
    assert "the certificate of CN=Policy CA, who issued CN=Our Issuing CA,O=Example, is missing" in refusal(ours(policy))
    assert "the certificate of CN=Foreign Root CA, who issued CN=Policy CA, is missing" in refusal(
        ours(policy), policy.certificate
    )


def test_a_namesake_with_another_key_is_not_taken_for_the_issuer() -> None:
    assert "is missing or is over another key" in refusal(ours(), foreign_root().certificate)


def test_of_cross_signed_roots_the_chain_that_verifies_is_taken() -> None:
    old = foreign_root("Old Root", Says(not_before=NOW - 20 * YEARS, not_after=NOW - timedelta(days=1)))
    crossed = old.authority("Foreign Root CA", key=ROOT.key)
    own = ours()
    heap = (own, crossed.certificate, old.certificate, ROOT.certificate)
    for order in itertools.permutations(heap):
        assert found(*order).certificates == (own, ROOT.certificate)
    # And the other way round: the root itself has expired, and a cross-certificate leads on.
    stale = foreign_root("Stale Root", Says(not_before=NOW - 20 * YEARS, not_after=NOW - timedelta(days=1)))
    newer = foreign_root("Newer Root")
    bridge = newer.authority("Stale Root", key=stale.key)
    own = ours(stale)
    for order in itertools.permutations((own, stale.certificate, bridge.certificate, newer.certificate)):
        assert found(*order).certificates == (own, bridge.certificate, newer.certificate)


def test_authorities_that_certify_each_other_end_the_search() -> None:
    one, two = generate_key(KeyAlgorithm.P256), generate_key(KeyAlgorithm.P256)
    a = Foreign(foreign_root("B", key=two).certify(distinguished("A"), one.public_key()), one)
    b = a.authority("B", key=two)
    assert "must reach up to a self-signed root" in refusal(ours(a), a.certificate, b.certificate)


def test_a_chain_has_a_bound() -> None:
    above = ROOT
    certificates = [ROOT.certificate]
    for number in range(MAX_LENGTH):
        above = above.authority(f"CA {number}")
        certificates.append(above.certificate)
    assert "must reach up" in refusal(ours(above), *certificates)


def test_of_two_certificates_over_our_key_the_later_one_is_meant() -> None:
    early, late = ours(says=Says(not_before=NOW - YEARS)), ours()
    assert found(early, late, ROOT.certificate).certificates[0] == late
    unusable = ours(says=Says(is_authority=False))
    assert found(early, unusable, ROOT.certificate).certificates[0] == early


@pytest.mark.parametrize(
    ("permitted", "excluded", "allowed"),
    [
        ([x509.DirectoryName(distinguished("x", "Example"))], [], False),
        ([x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "EXAMPLE")]))], [], True),
        ([x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Other")]))], [], False),
        ([], [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")]))], False),
        ([x509.RFC822Name("example.com")], [], True),
    ],
)
def test_our_own_name_is_held_to_the_name_constraints_above(
    permitted: list[x509.GeneralName], excluded: list[x509.GeneralName], *, allowed: bool
) -> None:
    root = foreign_root(says=Says(permitted=permitted, excluded=excluded))
    if allowed:
        assert found(ours(root), root.certificate)
        return
    assert "does not allow the name of CN=Our Issuing CA,O=Example (name constraints)" in refusal(ours(root), root.certificate)


def test_oddities_are_told_and_do_no_harm() -> None:
    root = foreign_root(says=Says(not_after=NOW + YEARS, more=[(x509.PolicyConstraints(0, None), True)]))
    chain = found(ours(root), root.certificate)
    assert ["outlives" in warning or "explicit policy" in warning for warning in chain.warnings] == [True, True]


@pytest.mark.parametrize(
    "named",
    [
        x509.AuthorityKeyIdentifier(bytes(20), None, None),
        x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(ROOT.certificate.subject)], 4711),
        x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(distinguished("X"))], ROOT.certificate.serial_number),
    ],
    ids=["key", "serial", "issuer"],
)
def test_a_certificate_that_names_another_certificate_above_is_refused(named: x509.AuthorityKeyIdentifier) -> None:
    # OpenSSL: unable to get local issuer certificate.
    assert "(authorityKeyIdentifier)" in refusal(ours(says=Says(more=[(named, False)])), ROOT.certificate)


def test_of_two_certificates_over_one_root_key_the_one_that_is_named_is_taken() -> None:
    renewed = foreign_root(key=ROOT.key)
    issuer = x509.DirectoryName(renewed.certificate.subject)
    named = x509.AuthorityKeyIdentifier(None, [issuer], renewed.certificate.serial_number)
    own = ours(says=Says(more=[(named, False)]))
    for order in itertools.permutations((own, ROOT.certificate, renewed.certificate)):
        assert found(*order).certificates == (own, renewed.certificate)


def test_mail_addresses_in_the_subject_are_held_to_the_name_constraints_above() -> None:
    # As OpenSSL does: permitted subtree violation.
    root = foreign_root(says=Says(permitted=[x509.RFC822Name("example.com")]))

    def named(address: str) -> x509.Certificate:
        # Some hold what no IA5String can, and the library lets nobody ask for another type by a public name.
        mail = x509.NameAttribute(NameOID.EMAIL_ADDRESS, address, _type=_ASN1Type.UTF8String)
        return root.certify(x509.Name([*NAME, mail]), PUBLIC)

    assert found(named("pki@example.com"), root.certificate)
    assert "(name constraints)" in refusal(named("pki@example.net"), root.certificate)
    assert "holds a mail address that is none" in refusal(named("pkí@example.com"), root.certificate)


def test_no_authority_stands_in_a_chain_twice() -> None:
    # B certified A, A certified B: from B over A to B is a detour, whichever certificate of B's it takes.
    root = foreign_root("Top")
    b = root.authority("B")
    a = b.authority("A")
    detour = a.authority("B", key=b.key)
    own = ours(b)
    chain = found(own, detour.certificate, a.certificate, b.certificate, root.certificate)
    assert chain.certificates == (own, b.certificate, root.certificate)
    # Nor where the short way has ended.
    ended = Foreign(root.certify(distinguished("B"), b.key.public_key(), Says(not_after=NOW - timedelta(hours=1))), b.key)
    a2 = b.authority("A", key=a.key)
    assert "expired" in refusal(own, detour.certificate, a2.certificate, ended.certificate, root.certificate)


def test_short_keys_above_are_told() -> None:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - as old roots have
    root = foreign_root(key=key)
    assert [warning for warning in found(ours(root), root.certificate).warnings if "1024 bits" in warning]


def test_constraints_on_upns_are_told_as_not_everybody_knows_them() -> None:
    constraint = x509.OtherName(UPN, tlv.utf8_string("@example.com"))
    for says in (Says(permitted=[constraint]), Says(excluded=[constraint])):
        root = foreign_root(says=says)
        assert [warning for warning in found(ours(root), root.certificate).warnings if "constrains UPNs" in warning]
    assert not found(ours(), ROOT.certificate).warnings
