"""GetCert and GetCRL: what is given, to whom, and that no answer tells what another's envelope holds."""

import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import Executable, update
from sqlmodel import Session, col, select

from ca.records import Certificate
from ca.revocation import RevocationReason, encode_entry, revoke
from crl.build import CrlContent, Entries, build
from foundation import tlv
from foundation.transactions import Transactions
from scep import message
from scep.algorithms import Digest, Suite
from scep.client import Identity, named, throwaway_signer
from scep.cms import read_crls
from scep.errors import EnrolmentRefused
from scep.message import MessageType, PkiStatus, ReceivedMessage
from scep.observation import Ending, Outcome
from scep.queries import IssuerAndSerial, write_issuer_and_serial
from scep.records import Enrolment
from scep.reply_envelope import open_reply
from scep.responder import Responder
from scep.retrieval import MAX_CRL_BYTES, FoundCrl, Retrieval
from scep.signing import Signer, attribute, sign
from signetry.database import Database
from tests.clocks import ManualClock
from tests.scep.world import ACTOR, World

NOTHING = "the envelope cannot be decrypted, or names nothing that is given here"
URL = "http://pki.example.com/crl/issuing.crl"


class Endings:
    """Notes how operations ended."""

    def __init__(self) -> None:
        self.noted: list[Ending] = []

    def requested(self, endpoint: str, operation: str) -> None:
        """Note nothing."""

    def ended(self, endpoint: str, ending: Ending, seconds: float) -> None:  # noqa: ARG002 - the shape of an observer
        """Note it."""
        self.noted.append(ending)


class AskedWorld(World):
    """An endpoint that answers queries."""

    def __init__(self, transactions: Transactions, clock: ManualClock) -> None:
        super().__init__(transactions, clock)
        now = clock.now()
        content = CrlContent(7, now, now + timedelta(days=1))
        self.crl: FoundCrl | None = FoundCrl(
            URL, build(self.authority.certificate, self.authority.private_key, Entries.collect(()), content).der
        )
        self.endings = Endings()
        self.asked_for: list[tuple[int, int]] = []

    @property
    def responder(self) -> Responder:
        """The responder, with what is behind queries."""
        issuers = {self.authority.subject_der: (self.authority.id,)}
        retrieval = Retrieval(self.transactions, lambda: issuers, self._crl)
        return Responder(self.endpoints, self.keys, self.enroller, self.transactions, retrieval=retrieval, observer=self.endings)

    def _crl(self, authority_id: int, at_most: int) -> FoundCrl | None:
        self.asked_for.append((authority_id, at_most))
        return self.crl

    def ask(self, key: rsa.RSAPrivateKey, content: bytes, message_type: MessageType) -> ReceivedMessage:
        """Send a query that anybody could have signed; return the CertRep."""
        signer = throwaway_signer(key, named("somebody"))
        return self.answered(self.sealed(signer, content, message_type))

    def sealed(self, signer: Signer, content: bytes, message_type: MessageType, ra: x509.Certificate | None = None) -> bytes:
        """Return a query, enveloped to the RA."""
        return message.build_request(
            signer,
            ra or self.ra.certificate,
            content,
            message_type=message_type,
            transaction_id=secrets.token_hex(8),
            sender_nonce=bytes(16),
            suite=Suite(),
        )

    def answered(self, der: bytes) -> ReceivedMessage:
        """Return the CertRep to a message."""
        return message.parse(self.responder.pki_operation("default", der, origin="192.0.2.9"))

    def name(self, serial_number: int) -> bytes:
        """Return the content of a query for a certificate of the issuing CA."""
        return write_issuer_and_serial(IssuerAndSerial(self.authority.subject_der, serial_number))


@pytest.fixture
def asked(store: Database, clock: ManualClock) -> AskedWorld:
    """An endpoint over either database."""
    return AskedWorld(store, clock)


@pytest.fixture
def held(asked: AskedWorld, rsa_key: rsa.RSAPrivateKey) -> Identity:
    """Alice's certificate."""
    return asked.enrol(rsa_key, asked.challenge(asked.add_person()))


def said(reply: ReceivedMessage) -> tuple[int | None, int | None, str | None]:
    return reply.pki_status, reply.fail_info, reply.fail_info_text


def changed(asked: AskedWorld, statement: Executable) -> None:
    asked.transactions.write(lambda session: session.execute(statement))


def test_a_certificate_is_given_to_whoever_names_it(asked: AskedWorld, held: Identity, other_rsa_key: rsa.RSAPrivateKey) -> None:
    signer = throwaway_signer(other_rsa_key, named("somebody"))
    with asked.client() as ours:
        bag = ours.ca_certificates()
        assert ours.certificate(bag, signer, held.certificate.serial_number) == held.certificate
        with pytest.raises(EnrolmentRefused, match=NOTHING):
            ours.certificate(bag, signer, held.certificate.serial_number + 1)
    assert [ending.outcome for ending in asked.endings.noted[-2:]] == [Outcome.ANSWERED, Outcome.REFUSED]


def test_a_crl_is_given_whatever_the_serial_number(asked: AskedWorld, rsa_key: rsa.RSAPrivateKey) -> None:
    signer = throwaway_signer(rsa_key, named("somebody"))
    with asked.client() as ours:
        assert ours.crl(ours.ca_certificates(), signer, 4711).issuer == asked.authority.certificate.subject
    assert asked.asked_for == [(asked.authority.id, MAX_CRL_BYTES)]
    reply = asked.answered(asked.sealed(signer, asked.name(1), MessageType.GET_CRL))
    assert asked.crl is not None
    assert read_crls(open_reply(reply.content, signer)) == (asked.crl.der,)


def test_our_client_reads_the_largest_crl_that_is_given(asked: AskedWorld, rsa_key: rsa.RSAPrivateKey) -> None:
    now = asked.clock.now()
    entry = encode_entry(1 << 127, now, RevocationReason.SUPERSEDED)
    # Some hundred bytes are the CRL's own.
    entries = Entries.collect([entry] * ((MAX_CRL_BYTES - 1000) // len(entry)))
    content = CrlContent(8, now, now + timedelta(days=1))
    asked.crl = FoundCrl(URL, build(asked.authority.certificate, asked.authority.private_key, entries, content).der)
    with asked.client() as ours:
        found = ours.crl(ours.ca_certificates(), throwaway_signer(rsa_key, named("somebody")), 1)
    assert MAX_CRL_BYTES - 2000 < len(found.public_bytes(serialization.Encoding.DER)) <= MAX_CRL_BYTES


def test_a_crl_that_no_message_should_hold_is_named_by_its_address(asked: AskedWorld, rsa_key: rsa.RSAPrivateKey) -> None:
    asked.crl = FoundCrl(URL, None)
    reply = asked.ask(rsa_key, asked.name(1), MessageType.GET_CRL)
    assert said(reply) == (PkiStatus.FAILURE, 2, f"the CRL is too large for a message: fetch it from {URL}")


def test_before_its_first_crl_an_authority_has_none_to_give(asked: AskedWorld, rsa_key: rsa.RSAPrivateKey) -> None:
    asked.crl = None
    assert said(asked.ask(rsa_key, asked.name(1), MessageType.GET_CRL)) == (PkiStatus.FAILURE, 4, NOTHING)


def test_a_revoked_certificate_is_not_given_though_its_number_is_public(
    asked: AskedWorld, held: Identity, rsa_key: rsa.RSAPrivateKey
) -> None:
    number = held.certificate.serial_number

    def act(session: Session) -> None:
        row = session.exec(select(Certificate.id).where(Certificate.serial == f"{number:032x}")).one()
        revoke(session, [row or 0], RevocationReason.CERTIFICATE_HOLD, actor=ACTOR, now=asked.clock.now())

    asked.transactions.write(act)
    assert said(asked.ask(rsa_key, asked.name(number), MessageType.GET_CERT)) == (PkiStatus.FAILURE, 4, NOTHING)


def test_a_certificate_that_is_withheld_is_not_given(asked: AskedWorld, held: Identity, rsa_key: rsa.RSAPrivateKey) -> None:
    changed(asked, update(Enrolment).values(withheld_until=asked.clock.now() + timedelta(hours=1)))
    reply = asked.ask(rsa_key, asked.name(held.certificate.serial_number), MessageType.GET_CERT)
    assert said(reply) == (PkiStatus.FAILURE, 4, NOTHING)


def test_an_expired_certificate_is_given(asked: AskedWorld, held: Identity, rsa_key: rsa.RSAPrivateKey) -> None:
    changed(asked, update(Certificate).values(not_after=asked.clock.now()).where(col(Certificate.person_id).is_not(None)))
    reply = asked.ask(rsa_key, asked.name(held.certificate.serial_number), MessageType.GET_CERT)
    assert reply.pki_status == PkiStatus.SUCCESS


def test_the_certificate_of_somebody_elses_issuer_is_not_ours_to_give(
    asked: AskedWorld, held: Identity, rsa_key: rsa.RSAPrivateKey
) -> None:
    theirs = write_issuer_and_serial(IssuerAndSerial(named("Their CA").public_bytes(), held.certificate.serial_number))
    for message_type in (MessageType.GET_CERT, MessageType.GET_CRL):
        assert said(asked.ask(rsa_key, theirs, message_type)) == (PkiStatus.FAILURE, 4, NOTHING)


def test_without_the_use_case_queries_are_refused(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    query = write_issuer_and_serial(IssuerAndSerial(world.authority.subject_der, 1))
    der = message.build_request(
        throwaway_signer(rsa_key, named("somebody")),
        world.ra.certificate,
        query,
        message_type=MessageType.GET_CERT,
        transaction_id="1",
        sender_nonce=bytes(16),
        suite=Suite(),
    )
    reply = message.parse(world.responder.pki_operation("default", der, origin="192.0.2.9"))
    assert said(reply) == (PkiStatus.FAILURE, 2, "message type 21 is not answered at this endpoint")


@pytest.mark.parametrize("message_type", [MessageType.GET_CERT, MessageType.GET_CRL])
def test_one_answer_to_what_does_not_open_and_to_what_names_nothing(
    asked: AskedWorld,
    rsa_key: rsa.RSAPrivateKey,
    other_rsa_key: rsa.RSAPrivateKey,
    message_type: MessageType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signer = throwaway_signer(rsa_key, named("somebody"))
    # With the name and the serial number of the RA's certificate and another key: what comes out is no content key of ours.
    impostor = _with_key_of(other_rsa_key, asked.ra.certificate)
    reads = _counted(asked, monkeypatch)
    for der in (
        asked.sealed(signer, asked.name(1), message_type, impostor),
        asked.sealed(signer, b"no query at all", message_type),
        asked.sealed(signer, tlv.sequence(named("Their CA").public_bytes(), tlv.integer(1)), message_type),
        # What somebody can make of another's envelope that was opened into bytes of unknown meaning (see NothingToGive).
        asked.sealed(signer, tlv.sequence(tlv.sequence(), tlv.integer(int.from_bytes(bytes(range(1, 41))))), message_type),
    ):
        assert said(asked.answered(der)) == (PkiStatus.FAILURE, 4, NOTHING)
    # Nor does the time tell: the database is asked only about what names an authority of ours.
    assert (reads(), asked.asked_for) == (0, [])


@pytest.mark.parametrize("message_type", [MessageType.GET_CERT, MessageType.GET_CRL])
def test_another_request_sent_as_a_query_tells_nothing_of_what_is_in_it(
    asked: AskedWorld, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey, message_type: MessageType
) -> None:
    victim = asked.sealed(throwaway_signer(other_rsa_key, named("victim")), b"x" * 40, MessageType.PKCS_REQ)
    envelope = message.parse(victim).content
    signer = throwaway_signer(rsa_key, named("somebody"))
    attributes = (
        attribute(message.TRANSACTION_ID, tlv.printable_string("1")),
        attribute(message.MESSAGE_TYPE, tlv.printable_string(str(int(message_type)))),
        attribute(message.SENDER_NONCE, tlv.octet_string(bytes(16))),
    )
    # The last byte of the block before the last decides over the padding: of all its values, some make a good one.
    answers = {
        said(asked.answered(sign(signer, envelope[:-17] + bytes((value,)) + envelope[-16:], attributes, Digest.SHA256)))
        for value in range(256)
    }
    assert answers == {(PkiStatus.FAILURE, 4, NOTHING)}


def _with_key_of(key: rsa.RSAPrivateKey, like: x509.Certificate) -> x509.Certificate:
    return (
        x509.CertificateBuilder(like.issuer, like.subject, key.public_key(), like.serial_number)
        .not_valid_before(like.not_valid_before_utc)
        .not_valid_after(like.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )


def _counted(asked: AskedWorld, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    reads: list[None] = []
    real = asked.transactions.reading

    def reading() -> object:
        reads.append(None)
        return real()

    monkeypatch.setattr(asked.transactions, "reading", reading)
    return partial(len, reads)
