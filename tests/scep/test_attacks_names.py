"""CERT VU#971035: with a challenge of one's own one obtains one's own names, wherever in a request another's are put.

Alice holds a challenge. Bob is on record with every kind of name. Whatever Alice asks for, she is refused and keeps her
challenge, or what she asked for is passed over and the certificate is hers alone.
"""

from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca.certified import names_in
from foundation import tlv
from scep import message
from scep.errors import FailInfo
from scep.message import PkiStatus
from scep.signing import attribute
from tests.scep.messages import signer_of, windows_throwaway_certificate
from tests.scep.peers import Peer, certificate_request, trace
from tests.scep.world import World

SAN = x509.SubjectAlternativeName
MAIL, DNS, URI = x509.RFC822Name, x509.DNSName, x509.UniformResourceIdentifier
BOBS_SID = "S-1-5-21-1-2-3-1105"
BOBS_URN = "urn:uuid:0b7bdd6d-9c7a-4b8c-8a26-0f4f1f1e9f55"
SAN_OID, SID_OID = "2.5.29.17", "1.3.6.1.4.1.311.25.2"
EXTENSION_REQUEST, MICROSOFT_EXTENSIONS = "1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14"
UPN, SMTP_UTF8 = "1.3.6.1.4.1.311.20.2.3", "1.3.6.1.5.5.7.8.9"


def other_name(oid: str, value: bytes) -> x509.OtherName:
    return x509.OtherName(x509.ObjectIdentifier(oid), value)


def raw(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def sid_extension(sid: str) -> x509.UnrecognizedExtension:
    value = tlv.explicit(0, tlv.octet_string(sid.encode()))
    return raw(SID_OID, tlv.sequence(tlv.explicit(0, tlv.object_identifier(SID_OID + ".1") + value)))


def extension_request(*names: bytes) -> bytes:
    """Return the value of an extensionRequest that asks for a SAN of encoded ``names``."""
    return tlv.sequence(tlv.sequence(tlv.object_identifier(SAN_OID), tlv.octet_string(tlv.sequence(*names))))


def subject(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


CN, EMAIL, OU = NameOID.COMMON_NAME, NameOID.EMAIL_ADDRESS, NameOID.ORGANIZATIONAL_UNIT_NAME
BOBS_MAIL = tlv.tlv(0x81, b"bob@example.com")
OWN_MAIL = tlv.tlv(0x81, b"alice@example.com")

# Where another's name stands, and what the refusal calls it.
IN_EXTENSIONS: dict[str, tuple[tuple[x509.ExtensionType, ...], str]] = {
    "rfc822Name": ((SAN([MAIL("bob@example.com")]),), "mail address bob@example.com"),
    "rfc822Name after one's own": ((SAN([MAIL("alice@example.com"), MAIL("bob@example.com")]),), "mail address bob@"),
    "rfc822Name in capitals": ((SAN([MAIL("BOB@EXAMPLE.COM")]),), "mail address BOB@EXAMPLE.COM"),
    "rfc822Name with a final dot": ((raw(SAN_OID, tlv.sequence(tlv.tlv(0x81, b"bob@example.com."))),), "mail address bob@"),
    "rfc822Name in quotes": ((raw(SAN_OID, tlv.sequence(tlv.tlv(0x81, b'"bob"@example.com'))),), "mail address"),
    "an alias of his": ((SAN([MAIL("b.jones@example.com")]),), "mail address b.jones@example.com"),
    "one's own address, and a NUL": ((raw(SAN_OID, tlv.sequence(tlv.tlv(0x81, b"alice@example.com\0.org"))),), "mail address"),
    "two addresses in one": ((raw(SAN_OID, tlv.sequence(tlv.tlv(0x81, b"alice@example.com,bob@example.com"))),), "mail address"),
    "SmtpUTF8Mailbox": ((SAN([other_name(SMTP_UTF8, tlv.utf8_string("bob@example.com"))]),), "mail address bob@example.com"),
    "a Cyrillic a": ((SAN([other_name(SMTP_UTF8, tlv.utf8_string("\u0430lice@example.com"))]),), "mail address"),
    "a domain with a Cyrillic a": ((SAN([other_name(SMTP_UTF8, tlv.utf8_string("alice@ex\u0430mple.com"))]),), "mail address"),
    "the same in A-labels": ((SAN([MAIL("alice@xn--exmple-4nf.com")]),), "mail address"),
    "UPN": ((SAN([other_name(UPN, tlv.utf8_string("bob@example.com"))]),), "UPN bob@example.com"),
    "UPN in capitals": ((SAN([other_name(UPN, tlv.utf8_string("BOB@example.com"))]),), "UPN BOB@example.com"),
    "UPN as a BMPString": (
        (SAN([other_name(UPN, tlv.tlv(0x1E, "bob@example.com".encode("utf-16-be")))]),),
        "UPN bob@example.com",
    ),
    "UPN as an IA5String": ((SAN([other_name(UPN, tlv.tlv(0x16, b"bob@example.com"))]),), "UPN bob@example.com"),
    "a second UPN": (
        (
            SAN(
                [
                    other_name(UPN, tlv.utf8_string("alice@example.com")),
                    other_name(UPN, tlv.utf8_string("bob@example.com")),
                ]
            ),
        ),
        "UPN bob@example.com",
    ),
    "dNSName": ((SAN([DNS("bobs-phone.example.com")]),), "DNS name bobs-phone.example.com"),
    "dNSName, a wildcard": ((SAN([DNS("*.example.com")]),), "DNS name *.example.com"),
    "URI": ((SAN([URI(BOBS_URN)]),), f"URI {BOBS_URN}"),
    "SID in the extension": ((sid_extension(BOBS_SID),), f"SID {BOBS_SID}"),
    "SID in the tag URI": ((SAN([URI(f"tag:microsoft.com,2022-09-14:sid:{BOBS_SID}")]),), "URI tag:microsoft.com"),
    "SID in the tag URI in capitals": ((SAN([URI(f"TAG:MICROSOFT.COM,2022-09-14:SID:{BOBS_SID}")]),), "URI TAG:MICROSOFT.COM"),
    "SID in a tag URI that goes on": (
        (SAN([URI("tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-11045")]),),
        "URI tag:microsoft.com",
    ),
    "directoryName": ((SAN([x509.DirectoryName(subject((EMAIL, "bob@example.com")))]),), "directory name"),
    "registeredID": ((SAN([x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))]),), "registered ID 1.2.3"),
    "iPAddress": ((raw(SAN_OID, tlv.sequence(tlv.tlv(0x87, bytes((192, 0, 2, 1))))),), "IP address 192.0.2.1"),
    "another otherName": ((SAN([other_name("1.3.6.1.5.2.2", tlv.sequence(tlv.utf8_string("bob")))]),), "otherName 1.3.6.1.5.2.2"),
    "x400Address": ((raw(SAN_OID, tlv.sequence(tlv.tlv(0xA3, tlv.sequence()))),), "X.400 address"),
    "a name of no known kind": ((raw(SAN_OID, tlv.sequence(tlv.tlv(0x8C, b"bob@example.com"))),), "name of an unknown kind"),
}
IN_SUBJECT: dict[str, tuple[x509.Name, str]] = {
    "emailAddress": (subject((EMAIL, "bob@example.com")), "mail address bob@example.com"),
    "emailAddress after one's own": (subject((EMAIL, "alice@example.com"), (EMAIL, "bob@example.com")), "mail address bob@"),
    "a common name that is an address": (subject((CN, "bob@example.com")), "common name with the address bob@example.com"),
    "a common name with an address": (subject((CN, "Bob Jones <bob@example.com>")), "common name with the address bob@"),
    "a common name with two": (subject((CN, "alice@example.com/bob@example.com")), "common name with the address bob@"),
}
IN_ATTRIBUTES: dict[str, tuple[tuple[tuple[str, bytes], ...], str]] = {
    "Microsoft's attribute": (((MICROSOFT_EXTENSIONS, extension_request(BOBS_MAIL)),), "mail address bob@"),
    "a second extensionRequest": (
        ((EXTENSION_REQUEST, extension_request(OWN_MAIL)), (EXTENSION_REQUEST, extension_request(BOBS_MAIL))),
        "mail address bob@",
    ),
    "two values of one extensionRequest": (
        ((EXTENSION_REQUEST, extension_request(OWN_MAIL) + extension_request(BOBS_MAIL)),),
        "mail address bob@",
    ),
    "a second SAN in one extensionRequest": (
        (
            (
                EXTENSION_REQUEST,
                tlv.sequence(
                    *(
                        tlv.sequence(
                            tlv.object_identifier(SAN_OID), tlv.boolean(value=True), tlv.octet_string(tlv.sequence(name))
                        )
                        for name in (OWN_MAIL, BOBS_MAIL)
                    )
                ),
            ),
        ),
        "mail address bob@",
    ),
}


@pytest.fixture
def alice(world: World, rsa_key: rsa.RSAPrivateKey) -> Peer:
    """Alice's phone; Bob, whose names she is after, is on record with all of his."""
    bobs_phone = {"dns_name": "bobs-phone.example.com", "mdm_id": BOBS_URN.removeprefix("urn:uuid:")}
    world.add_device("bobs-phone", **bobs_phone)
    world.add_person(
        "bob@example.com", "bob@example.com", display_name="Bob Jones", aliases=("b.jones@example.com",), sid=BOBS_SID
    )
    return Peer.stranger(world, rsa_key)


@pytest.fixture
def challenge(world: World, alice: Peer) -> str:
    """A challenge of Alice's, for a certificate with every kind of name that a person has."""
    del alice
    person = world.add_person(aliases=("a.smith@example.com",), sid="S-1-5-21-1-2-3-1104")
    return world.challenge(person, profile="mail-all-in-one")


def assert_refused(alice: Peer, request: bytes, named: str, challenge: str) -> None:
    before = trace(alice.world)
    answer = alice.ask(request)
    assert (answer.pki_status, answer.fail_info) == (PkiStatus.FAILURE, FailInfo.BAD_REQUEST)
    assert f"the requested {named}" in (answer.fail_info_text or "")
    # The refusal is on record, and nothing else is: the challenge is as good as before.
    certificates, enrolments, refusals, events, redeemed = before
    assert trace(alice.world) == (certificates, enrolments, refusals + 1, events + 1, redeemed)  # type: ignore[operator]
    assert_alices_alone(alice.granted(alice.ask(certificate_request(alice.key, challenge))))


def assert_alices_alone(certificate: x509.Certificate) -> None:
    names = names_in(certificate)
    assert names.upn in ("alice@example.com", "")
    assert set(names.emails) <= {"alice@example.com", "a.smith@example.com"}
    assert names.sid in ("S-1-5-21-1-2-3-1104", "")
    assert (names.dns_names, names.uris) == ((), ())
    assert certificate.subject.get_attributes_for_oid(CN)[0].value == "Alice Smith"
    der = certificate.public_bytes(Encoding.DER).lower()
    assert b"bob" not in der
    assert b"1105" not in der


@pytest.mark.parametrize(("extensions", "named"), IN_EXTENSIONS.values(), ids=IN_EXTENSIONS)
def test_anothers_name_in_an_extension_is_refused_and_the_challenge_stays(
    alice: Peer, challenge: str, extensions: Sequence[x509.ExtensionType], named: str
) -> None:
    assert_refused(alice, certificate_request(alice.key, challenge, *extensions), named, challenge)


@pytest.mark.parametrize(("wanted", "named"), IN_SUBJECT.values(), ids=IN_SUBJECT)
def test_anothers_name_in_the_subject_is_refused_and_the_challenge_stays(
    alice: Peer, challenge: str, wanted: x509.Name, named: str
) -> None:
    assert_refused(alice, certificate_request(alice.key, challenge, subject=wanted), named, challenge)


@pytest.mark.parametrize(("more", "named"), IN_ATTRIBUTES.values(), ids=IN_ATTRIBUTES)
def test_anothers_name_in_any_attribute_is_refused_and_the_challenge_stays(
    alice: Peer, challenge: str, more: Sequence[tuple[str, bytes]], named: str
) -> None:
    assert_refused(alice, certificate_request(alice.key, challenge, more=more), named, challenge)


PASSED_OVER: dict[str, x509.Name] = {
    "a common name": subject((CN, "Bob Jones")),
    "a first common name of two": subject((CN, "bob@example.com"), (CN, "Alice Smith")),
    "given name and surname": subject((NameOID.GIVEN_NAME, "Bob"), (NameOID.SURNAME, "Jones")),
    "a user id": subject((NameOID.USER_ID, "bob")),
    "a serial number and a title": subject((NameOID.SERIAL_NUMBER, "bob-1105"), (NameOID.TITLE, "bob")),
    "domain components": subject((NameOID.DOMAIN_COMPONENT, "bob"), (NameOID.DOMAIN_COMPONENT, "example")),
    "an organisation": subject((NameOID.ORGANIZATION_NAME, "Bob & Sons")),
    "an organisational unit": subject((OU, "bob@example.com")),
}


@pytest.mark.parametrize("wanted", PASSED_OVER.values(), ids=PASSED_OVER)
def test_a_subject_of_anothers_changes_nothing(alice: Peer, challenge: str, wanted: x509.Name) -> None:
    assert_alices_alone(alice.granted(alice.ask(certificate_request(alice.key, challenge, subject=wanted))))


@pytest.mark.parametrize(
    "unit",
    ["bob@example.com", "Bob Jones <bob@example.com>", "mdm-1 (bob@example.com)"],
    ids=["bare", "in brackets", "among others"],
)
def test_an_address_does_not_slip_in_as_an_organisational_unit(alice: Peer, challenge: str, unit: str) -> None:
    """Where the endpoint takes units from the request, they are for numbers of an MDM's."""
    alice.world.configure(subject_from_request=frozenset({"OU"}))
    request = certificate_request(alice.key, challenge, subject=subject((OU, unit), (OU, "mdm-4711")))
    certificate = alice.granted(alice.ask(request))
    assert_alices_alone(certificate)
    assert [name.value for name in certificate.subject.get_attributes_for_oid(OU)] == ["mdm-4711"]


SPELLINGS = {
    "capitals": MAIL("ALICE@Example.COM"),
    "a full-width domain": other_name(SMTP_UTF8, tlv.utf8_string("alice@\uff45xample.com")),
    "the UPN in capitals": other_name(UPN, tlv.utf8_string("Alice@EXAMPLE.com")),
}


@pytest.mark.parametrize("name", SPELLINGS.values(), ids=SPELLINGS)
def test_ones_own_name_in_another_spelling_is_written_as_it_is_on_record(
    alice: Peer, challenge: str, name: x509.GeneralName
) -> None:
    certificate = alice.granted(alice.ask(certificate_request(alice.key, challenge, SAN([name]))))
    assert_alices_alone(certificate)
    assert names_in(certificate).emails[0] == "alice@example.com"


def test_the_signers_own_certificate_names_nobody(alice: Peer, challenge: str) -> None:
    """What stands in a throwaway signer's certificate is as good as nothing: Windows' one names the protocol."""
    made = windows_throwaway_certificate(serial_number=5)
    assert_alices_alone(
        alice.signing_as(signer_of(made)).granted(
            alice.signing_as(signer_of(made)).ask(certificate_request(alice.key, challenge))
        )
    )


def test_a_second_challenge_beside_the_envelope_does_not_replace_the_one_in_the_request(
    alice: Peer, challenge: str, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    """Who reads Alice's challenge outside must not be able to say whose certificate her request gets, nor she Bob's."""
    bobs = alice.world.challenge(alice.world.add_person("bob2@example.com", "bob2@example.com", display_name="Bob II"))
    more = [attribute(message.CHALLENGE_PASSWORD, tlv.printable_string(bobs))]
    assert_alices_alone(alice.granted(alice.ask(certificate_request(alice.key, challenge), more=more)))
    bob = Peer.stranger(alice.world, other_rsa_key)
    granted = bob.granted(bob.ask(certificate_request(other_rsa_key, bobs), transaction_id="2"))
    assert names_in(granted).upn == "bob2@example.com"
