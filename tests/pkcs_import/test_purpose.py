"""What certificates are for, whom they name, and what an archive should think twice of."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku

from foundation import tlv
from pkcs_import.purpose import Addresses, Concern, Purpose, addresses_of, concerns_of, purpose_of
from tests.pkcs_import.certificates import Wanted, ec_key, ed25519_key, issued, rsa_key, upn, x448_key, x25519_key

MAIL = (Eku.EMAIL_PROTECTION,)
SIGN = ("digital_signature",)
COMMIT = ("content_commitment",)
ENCIPHER = ("key_encipherment",)
AGREE = ("key_agreement",)
PKINIT = x509.ObjectIdentifier("1.3.6.1.5.2.3.4")


@pytest.mark.parametrize(
    ("key", "usages", "purposes", "expected"),
    [
        (rsa_key(), (*SIGN, *ENCIPHER), MAIL, Purpose.BOTH),
        (rsa_key(), SIGN, MAIL, Purpose.SIGNING),
        (rsa_key(), COMMIT, MAIL, Purpose.SIGNING),
        (rsa_key(), ENCIPHER, MAIL, Purpose.ENCRYPTION),
        (rsa_key(), AGREE, MAIL, Purpose.AUTHENTICATION),
        (rsa_key(), ("data_encipherment",), MAIL, Purpose.AUTHENTICATION),
        (rsa_key(), None, MAIL, Purpose.BOTH),
        (rsa_key(), None, None, Purpose.BOTH),
        (rsa_key(), (*SIGN, *ENCIPHER), None, Purpose.BOTH),
        (rsa_key(), (*SIGN, *ENCIPHER), (Eku.ANY_EXTENDED_KEY_USAGE,), Purpose.BOTH),
        (rsa_key(), (*SIGN, *ENCIPHER), (*MAIL, Eku.CLIENT_AUTH), Purpose.BOTH),
        (rsa_key(), (*SIGN, *ENCIPHER), (Eku.CLIENT_AUTH,), Purpose.AUTHENTICATION),
        (rsa_key(), SIGN, (Eku.SMARTCARD_LOGON,), Purpose.AUTHENTICATION),
        (rsa_key(), None, (Eku.SERVER_AUTH,), Purpose.AUTHENTICATION),
        (ec_key(), AGREE, MAIL, Purpose.ENCRYPTION),
        (ec_key(), (*SIGN, *AGREE), MAIL, Purpose.BOTH),
        (ec_key(), SIGN, MAIL, Purpose.SIGNING),
        (ec_key(), ENCIPHER, MAIL, Purpose.ENCRYPTION),
        (ec_key(), None, MAIL, Purpose.BOTH),
        (ed25519_key(), SIGN, MAIL, Purpose.SIGNING),
        (ed25519_key(), None, MAIL, Purpose.SIGNING),
        (x25519_key(), AGREE, MAIL, Purpose.ENCRYPTION),
        (x448_key(), None, MAIL, Purpose.ENCRYPTION),
    ],
)
def test_the_purpose_is_what_both_usages_and_the_key_allow(
    key: CertificatePublicKeyTypes,
    usages: tuple[str, ...] | None,
    purposes: tuple[x509.ObjectIdentifier, ...] | None,
    expected: Purpose,
) -> None:
    assert purpose_of(issued(key, Wanted(usages, purposes))) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(ENCIPHER, MAIL), ()),
        (Wanted((*SIGN, *ENCIPHER), MAIL), ()),
        (Wanted(ENCIPHER, (*MAIL, Eku.CLIENT_AUTH)), (Concern.CLIENT_AUTH,)),
        (Wanted(SIGN, (Eku.SMARTCARD_LOGON,)), (Concern.CLIENT_AUTH,)),
        (Wanted(SIGN, (PKINIT,)), (Concern.CLIENT_AUTH,)),
        (Wanted(SIGN, (Eku.ANY_EXTENDED_KEY_USAGE,)), (Concern.CLIENT_AUTH,)),
        (Wanted(SIGN), (Concern.CLIENT_AUTH,)),
        (Wanted(), (Concern.CLIENT_AUTH,)),
        (Wanted(ENCIPHER), ()),
        (Wanted(ENCIPHER, (Eku.ANY_EXTENDED_KEY_USAGE,)), ()),
        (Wanted(ENCIPHER, MAIL, [upn("ann@corp.example")]), (Concern.UPN,)),
        (Wanted((*COMMIT, *ENCIPHER), MAIL), (Concern.NON_REPUDIATION,)),
        (Wanted((*COMMIT, *SIGN), (Eku.CLIENT_AUTH,), [upn("a@b")]), (Concern.CLIENT_AUTH, Concern.UPN, Concern.NON_REPUDIATION)),
    ],
)
def test_an_archive_should_think_twice_of_what_lets_somebody_in_or_binds_them(
    wanted: Wanted, expected: tuple[Concern, ...]
) -> None:
    assert concerns_of(issued(rsa_key(), wanted)) == expected


def test_addresses_come_from_alternative_names_and_subject_each_once() -> None:
    names = [
        x509.RFC822Name("Ann@example.com"),
        x509.DNSName("mail.example.com"),
        upn("ann@corp.example"),
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), tlv.utf8_string("änn@example.com")),
        x509.RFC822Name("ann@example.com"),
        upn("ANN@corp.example"),
        x509.OtherName(x509.ObjectIdentifier("1.2.3"), tlv.utf8_string("nobody@example.com")),
    ]
    wanted = Wanted(names=names, mails=["ann@EXAMPLE.com", "ann.old@example.com"])
    assert addresses_of(issued(rsa_key(), wanted)) == Addresses(
        mail=("Ann@example.com", "änn@example.com", "ann.old@example.com"), upns=("ann@corp.example",)
    )


def test_names_that_are_no_text_are_no_addresses() -> None:
    odd = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), tlv.integer(1))
    assert addresses_of(issued(rsa_key(), Wanted(names=[odd]))) == Addresses((), ())
    assert concerns_of(issued(rsa_key(), Wanted(ENCIPHER, MAIL, [odd]))) == ()
