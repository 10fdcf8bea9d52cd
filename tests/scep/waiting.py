"""Clients that are told PENDING, an administrator who decides, and a key that can be out of reach."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import col, select

from audit.log import Actor
from audit.records import AuditEvent
from ca.authorisation import DeviceId, PersonId, ProfileName
from ca.errors import KeyUnavailable
from people.devices import DeviceRecord
from people.person import PersonRecord
from scep import pending_decisions
from scep.client import build_csr, named
from scep.enrolment import Enroller
from scep.message import MessageType, PkiStatus, ReceivedMessage
from scep.pending_decisions import Approval as Decision
from scep.policies.approval import Approval
from scep.policies.one_time import OneTime
from scep.queries import IssuerAndSubject, write_issuer_and_subject
from scep.records import PendingRequest
from tests.scep.peers import Peer
from tests.scep.world import World

OFFICER = Actor("cli:olga")


@dataclass(frozen=True)
class Visitor(Peer):
    """A client at an address of its own."""

    origin: str = "192.0.2.1"

    def post(self, der: bytes) -> bytes:
        """Send a message; return what comes back."""
        return self.world.responder.pki_operation(self.endpoint, der, origin=self.origin)

    def from_address(self, origin: str) -> Self:
        """Return the same one, elsewhere."""
        return replace(self, origin=origin)

    def enrol(self, csr: x509.CertificateSigningRequest | None = None, *, transaction_id: str = "1") -> ReceivedMessage:
        """Send a PKCSReq."""
        csr = csr or build_csr(self.key, "a device")
        return self.ask(csr.public_bytes(Encoding.DER), transaction_id=transaction_id)

    def poll(self, *, transaction_id: str = "1") -> ReceivedMessage:
        """Send a CertPoll."""
        query = IssuerAndSubject(self.world.authority.subject_der, named("a device").public_bytes())
        return self.ask(write_issuer_and_subject(query), message_type=MessageType.CERT_POLL, transaction_id=transaction_id)


def visitor(world: World, key: rsa.RSAPrivateKey, endpoint: str = "default") -> Visitor:
    """Return a client whom nobody knows."""
    stranger = Peer.stranger(world, key, endpoint)
    return Visitor(world, key, stranger.signer, endpoint)


def ask_an_administrator(world: World) -> World:
    """Have an administrator decide at the endpoint ``default``; ``other`` goes on taking one-time challenges."""
    world.enroller = Enroller(world.transactions, world.clock, policies={"default": Approval(), "other": OneTime()})
    return world


def approve(
    world: World, number: int, person: PersonRecord | None, profile: str = "identity", device: DeviceRecord | None = None
) -> bool:
    """Approve a request."""
    decision = Decision(PersonId(person.id) if person else None, DeviceId(device.id) if device else None, ProfileName(profile))
    return world.transactions.write(
        lambda session: pending_decisions.approve(session, number, decision, actor=OFFICER, now=world.clock.now())
    )


def reject(world: World, number: int, words: str = "") -> bool:
    """Reject a request."""
    return world.transactions.write(
        lambda session: pending_decisions.reject(session, number, words, actor=OFFICER, now=world.clock.now())
    )


def kept(world: World) -> list[PendingRequest]:
    """Return all requests that are kept, in their order."""
    with world.transactions.reading() as session:
        return list(session.exec(select(PendingRequest).order_by(col(PendingRequest.id))))


def is_pending(answer: ReceivedMessage) -> bool:
    """Say whether an answer is PENDING, and nothing more."""
    return answer.pki_status == PkiStatus.PENDING and answer.fail_info is None


def events(world: World, action: str) -> list[AuditEvent]:
    """Return what the audit record has of this kind."""
    with world.transactions.reading() as session:
        return list(session.exec(select(AuditEvent).where(col(AuditEvent.action) == action).order_by(col(AuditEvent.id))))


class DistantKey(ec.EllipticCurvePrivateKey):
    """A key as a token has it: somewhere else, and not always within reach."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def sign(self, *_: Any, **__: Any) -> bytes:  # noqa: ANN401 - the base's
        """Refuse."""
        raise KeyUnavailable("the token does not answer")

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half, which is known here."""
        return self._key.public_key()

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._key.curve

    @property
    def key_size(self) -> int:
        """Its size in bits."""
        return self._key.key_size

    def exchange(self, *_: Any, **__: Any) -> bytes:  # noqa: ANN401 - the base's
        """Refuse."""
        raise NotImplementedError

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        """Refuse."""
        raise NotImplementedError

    def private_bytes(self, *_: Any, **__: Any) -> bytes:  # noqa: ANN401 - the base's
        """Refuse."""
        raise NotImplementedError

    def __copy__(self) -> "DistantKey":
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> "DistantKey":
        return self


@contextmanager
def key_out_of_reach(world: World) -> Iterator[None]:
    """Take the issuing CA's key out of reach while the block runs; the RA's stays."""
    here = world.authority
    assert isinstance(here.private_key, ec.EllipticCurvePrivateKey)
    world.authority = replace(here, private_key=DistantKey(here.private_key))
    try:
        yield
    finally:
        world.authority = here
