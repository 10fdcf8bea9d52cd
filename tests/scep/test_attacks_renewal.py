"""A certificate speaks for its holder only: in its window, at its endpoint, as what it is, and while its holder is one of us.

What test_renewal.py says of each rule alone is tried here from the side of somebody who stole the key.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import update
from sqlmodel import Session, col, select

from ca.certified import names_in
from ca.records import Certificate
from ca.revocation import RevocationReason, revoke
from foundation import tlv
from people.devices import deactivate_device
from people.persons import change_person, deactivate_person, get_person
from scep.message import MessageType, PkiStatus
from scep.records import Enrolment
from tests.scep.peers import Peer, certificate_request
from tests.scep.test_attacks_names import BOBS_SID, MAIL, SAN, URI, other_name, sid_extension
from tests.scep.world import ACTOR, World

TYPES = pytest.mark.parametrize("message_type", [MessageType.RENEWAL_REQ, MessageType.PKCS_REQ])
DEVICE_ID = "0b7bdd6d-9c7a-4b8c-8a26-0f4f1f1e9f55"


@pytest.fixture
def thief(world: World, rsa_key: rsa.RSAPrivateKey) -> Peer:
    """Who has the key and certificate of Alice's phone, number 1, enrolled with every kind of name."""
    world.configure(renew_after=0.5)
    world.configure("other", renew_after=0.0)
    alice = world.add_person(aliases=("a.smith@example.com",), sid="S-1-5-21-1-2-3-1104")
    phone = world.add_device("phone-1", mdm_id=DEVICE_ID)
    enrolled = Peer.stranger(world, rsa_key)
    challenge = world.challenge(alice, profile="mail-all-in-one", device=phone)
    return enrolled.holding(enrolled.granted(enrolled.ask(certificate_request(rsa_key, challenge))))


def renewed(thief: Peer, transaction_id: str = "renewal") -> Peer:
    """Renew to the same key; return who holds the new certificate."""
    answer = thief.ask(certificate_request(thief.key), message_type=MessageType.RENEWAL_REQ, transaction_id=transaction_id)
    return thief.holding(thief.granted(answer))


def assert_nothing_is_renewed(thief: Peer, why: str, message_type: int = MessageType.RENEWAL_REQ) -> None:
    before = thief.world.counts()["certificates"]
    answer = thief.ask(certificate_request(thief.key), message_type=message_type, transaction_id="after the theft")
    assert answer.pki_status == PkiStatus.FAILURE
    assert why in (answer.fail_info_text or "")
    assert thief.world.counts()["certificates"] == before


def in_window(thief: Peer) -> None:
    thief.world.clock.advance(days=200)


WIDER: dict[str, tuple[x509.ExtensionType, str]] = {
    "an address": (SAN([MAIL("bob@example.com")]), "mail address bob@"),
    "an alias that came later": (SAN([MAIL("new@example.com")]), "mail address new@"),
    "a UPN": (SAN([other_name("1.3.6.1.4.1.311.20.2.3", tlv.utf8_string("bob@example.com"))]), "UPN bob@"),
    "a DNS name": (SAN([x509.DNSName("phone-1.example.com")]), "DNS name phone-1"),
    "a URI": (SAN([URI("urn:uuid:00000000-0000-4000-8000-000000000000")]), "URI urn:uuid:0"),
    "a SID": (sid_extension(BOBS_SID), f"SID {BOBS_SID}"),
    "a SID in a URI": (SAN([URI(f"tag:microsoft.com,2022-09-14:sid:{BOBS_SID}")]), "URI tag:microsoft.com"),
    "to be a CA": (x509.BasicConstraints(ca=True, path_length=None), "CA certificate (basicConstraints CA:true)"),
}


@TYPES
@pytest.mark.parametrize(("extension", "named"), WIDER.values(), ids=WIDER)
def test_a_renewal_that_asks_for_more_is_refused_and_the_certificate_renews_as_it_is(
    thief: Peer, message_type: MessageType, extension: x509.ExtensionType, named: str
) -> None:
    in_window(thief)
    wanted = thief.ask(certificate_request(thief.key, None, extension), message_type=message_type, transaction_id="wider")
    assert wanted.pki_status == PkiStatus.FAILURE
    assert f"the requested {named}" in (wanted.fail_info_text or "")
    assert names_in(renewed(thief).signer.certificate) == names_in(thief.signer.certificate)


def test_a_record_that_grew_widens_no_renewal(thief: Peer) -> None:
    def grow(session: Session) -> None:
        fields = get_person(session, 1).fields
        grown = replace(fields, aliases=(*fields.aliases, "new@example.com"))
        change_person(session, 1, grown, actor=ACTOR, now=thief.world.clock.now())

    thief.world.transactions.write(grow)
    in_window(thief)
    assert names_in(renewed(thief).signer.certificate) == names_in(thief.signer.certificate)


def test_a_renewal_is_of_its_own_profile_though_the_endpoint_has_others(thief: Peer) -> None:
    in_window(thief)

    def profiles(session: Session) -> list[str]:
        query = select(Certificate.profile).where(col(Certificate.person_id).is_not(None))
        return list(session.exec(query))

    renewed(thief)
    with thief.world.transactions.reading() as session:
        assert profiles(session) == ["mail-all-in-one", "mail-all-in-one"]


def test_a_chain_of_renewals_waits_for_the_window_of_each(thief: Peer) -> None:
    holder = thief
    for generation in range(3):
        assert_nothing_is_renewed(holder, "may be renewed from")
        in_window(holder)
        following = renewed(holder, f"generation {generation}")
        assert following.signer.certificate.serial_number != holder.signer.certificate.serial_number
        holder = following
    assert names_in(holder.signer.certificate) == names_in(thief.signer.certificate)


def set_revoked(session: Session, world: World, reason: RevocationReason) -> None:
    number = session.exec(select(Certificate.id).where(col(Certificate.person_id) == 1)).all()
    revoke(session, [each for each in number if each], reason, actor=ACTOR, now=world.clock.now())


ENDS: dict[str, tuple[Callable[[Session, World], object], str]] = {
    "the person left": (
        lambda session, world: deactivate_person(session, 1, actor=ACTOR, now=world.clock.now()),
        "the person is not active",
    ),
    "the device was lost": (
        lambda session, world: deactivate_device(session, 1, actor=ACTOR, now=world.clock.now()),
        "the device is not active",
    ),
    "it was revoked": (
        lambda session, world: set_revoked(session, world, RevocationReason.KEY_COMPROMISE),
        "is revoked",
    ),
    "it was put on hold": (
        lambda session, world: set_revoked(session, world, RevocationReason.CERTIFICATE_HOLD),
        "is revoked",
    ),
    "it expired": (lambda _session, world: world.clock.advance(days=400), "has expired"),
    "it was never released": (
        lambda session, world: session.execute(update(Enrolment).values(withheld_until=world.clock.now())),
        "must be signed with the certificate to be renewed",
    ),
}


@pytest.mark.parametrize("generation", [0, 1], ids=["the certificate itself", "one renewed from it"])
@pytest.mark.parametrize(("end", "why"), ENDS.values(), ids=ENDS)
def test_a_stolen_certificate_renews_no_more_once_somebody_acts(
    thief: Peer, end: Callable[[Session, World], object], why: str, generation: int
) -> None:
    in_window(thief)
    holder = thief
    for number in range(generation):
        holder = renewed(thief, str(number))
        in_window(holder)
    thief.world.transactions.write(lambda session: end(session, thief.world) and None)
    assert_nothing_is_renewed(holder, why)


@TYPES
def test_a_certificate_of_one_endpoint_renews_at_no_other(thief: Peer, message_type: MessageType) -> None:
    in_window(thief)
    assert_nothing_is_renewed(thief.at("other"), "was not enrolled at this endpoint", message_type)


@TYPES
@pytest.mark.parametrize("presented", ["WRONG", "x" * 300, "'; DROP TABLE scep_challenge; --"])
def test_a_challenge_that_is_present_and_wrong_spoils_a_renewal(thief: Peer, message_type: MessageType, presented: str) -> None:
    in_window(thief)
    answer = thief.ask(certificate_request(thief.key, presented), message_type=message_type, transaction_id="wrong")
    assert (answer.pki_status, answer.fail_info) == (PkiStatus.FAILURE, 2)
    assert answer.fail_info_text == "the challenge password is missing or not valid here"
    assert thief.world.counts()["certificates"] == 1


def test_a_holder_with_a_challenge_of_anothers_gets_what_the_challenge_says_and_nothing_of_both(thief: Peer) -> None:
    """The names of two people never meet in one certificate."""
    bob = thief.world.add_person("bob@example.com", "bob@example.com", display_name="Bob", sid=BOBS_SID)
    request = certificate_request(thief.key, thief.world.challenge(bob))
    certificate = thief.granted(thief.ask(request, message_type=MessageType.RENEWAL_REQ, transaction_id="2"))
    names = names_in(certificate)
    assert (names.upn, names.emails) == ("bob@example.com", ("bob@example.com",))
    assert certificate.subject.rfc4514_string() == "CN=Bob"
