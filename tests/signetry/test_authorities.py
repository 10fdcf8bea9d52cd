"""The cache of authorities: what another process changes is seen within a second, and nothing is loaded twice before."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import col

from ca import hierarchy
from ca.errors import KeyUnavailable, UnknownAuthority
from ca.keys import FileKeyStore
from ca.records import Certificate
from foundation.tables import table_of
from scep import message
from scep.algorithms import Suite
from scep.client import build_csr, named, throwaway_signer
from scep.cms import read_certificates
from scep.enrolment import Enroller
from scep.message import MessageType, PkiStatus
from scep.responder import Responder
from scep.signing import Signer
from signetry.administration import rollover
from signetry.house import House
from tests.clocks import ManualClock
from tests.signetry.installation import Commands, clock_of_today, opened
from tests.signetry.test_assembly import revoke_certificate_of


@pytest.fixture
def today() -> ManualClock:
    """A clock that both houses go by."""
    return clock_of_today()


@pytest.fixture
def serving(installed_home: Path, today: ManualClock) -> Iterator[House]:
    """The house of a running process."""
    assert installed_home.exists()
    with opened(today) as house:
        yield house


@pytest.fixture
def other(serving: House, today: ManualClock) -> Iterator[House]:
    """The house of a command beside it."""
    assert serving.settings.home.exists()
    with opened(today) as house:
        yield house


def within_a_second(seen: Callable[[], bool]) -> None:
    # More for a machine with other things to do: keys are decrypted on the way.
    deadline = time.monotonic() + 5
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_authority_that_was_issued_again_is_seen(serving: House, other: House) -> None:
    before = serving.authority("issuing").certificate
    assert serving.authorities.endpoint_keys(hierarchy.ISSUING).ra[0].chain == (before.public_bytes(Encoding.DER),)
    again = other.transactions.write(lambda session: other.reissue(hierarchy.ISSUING, session))
    within_a_second(lambda: serving.authority("issuing").certificate == again.certificate)
    # What goes along with a reply as well.
    assert serving.authorities.endpoint_keys(hierarchy.ISSUING).ra[0].chain == (again.certificate_der,)


def request_to(ra: Signer, key: rsa.RSAPrivateKey) -> bytes:
    return message.build_request(
        throwaway_signer(key, named("x")),
        ra.certificate,
        build_csr(key, "x", "no-such-challenge").public_bytes(Encoding.DER),
        message_type=MessageType.PKCS_REQ,
        transaction_id="1",
        sender_nonce=bytes(16),
        suite=Suite(),
    )


def answered(house: House, der: bytes) -> message.ReceivedMessage:
    responder = Responder(
        house.endpoints, house.authorities.endpoint_keys, Enroller(house.transactions, house.clock), house.transactions
    )
    return message.parse(responder.pki_operation("default", der, origin="test"))


def ra_certificates(house: House) -> list[x509.Certificate]:
    return [ra.certificate for ra in house.authorities.endpoint_keys(hierarchy.ISSUING).ra]


def test_a_new_ra_key_is_seen_and_the_one_before_still_decrypts(
    serving: House, other: House, today: ManualClock, rsa_key: rsa.RSAPrivateKey
) -> None:
    (first,) = serving.authorities.endpoint_keys(hierarchy.ISSUING).ra
    sent_before = request_to(first, rsa_key)
    today.advance(days=61)
    assert other.renew_ra_keys() == 1
    within_a_second(lambda: len(ra_certificates(serving)) == 2)
    second, still_first = serving.authorities.endpoint_keys(hierarchy.ISSUING).ra
    assert still_first.certificate == first.certificate
    for der, addressee in ((sent_before, first), (request_to(second, rsa_key), second)):
        reply = answered(serving, der)
        # It was opened: what is wrong is the challenge inside. The answer comes from the one that the client knows.
        assert (reply.pki_status, reply.fail_info) == (PkiStatus.FAILURE, 2)
        assert "challenge" in (reply.fail_info_text or "")
        assert reply.signer.x509 == addressee.certificate


def test_a_new_ra_key_is_named_only_once_every_process_has_seen_it(serving: House, other: House) -> None:
    def named() -> bytes:
        return read_certificates(serving.authorities.endpoint_keys(hierarchy.ISSUING).ca_certificates()[1])[0]

    before = named()
    made = other.transactions.write(lambda session: rollover.renew_ra(other, "issuing", session))
    within_a_second(lambda: serving.authorities.endpoint_keys(hierarchy.ISSUING).ra[0].certificate == made.certificate)
    # It is read already, and a client that is told of it might turn to a process that does not know it.
    assert named() == before
    within_a_second(lambda: named() == made.certificate_der)
    other.authorities.endpoint_keys(hierarchy.ISSUING)
    assert other.authorities.endpoint_keys(hierarchy.ISSUING).ra[0].certificate == made.certificate


def test_what_is_named_meanwhile_is_no_ra_key_that_is_revoked(serving: House, other: House) -> None:
    (first,) = serving.authorities.endpoint_keys(hierarchy.ISSUING).ra
    made = other.transactions.write(lambda session: rollover.renew_ra(other, "issuing", session))
    within_a_second(lambda: len(serving.authorities.endpoint_keys(hierarchy.ISSUING).ra) == 2)
    serial = f"{first.certificate.serial_number:032x}"
    other.transactions.write(
        lambda session: session.execute(
            table_of(Certificate).update().where(table_of(Certificate).c.serial == serial).values(revoked_at=other.clock.now())
        )
    )
    within_a_second(lambda: len(serving.authorities.endpoint_keys(hierarchy.ISSUING).ra) == 1)
    keys = serving.authorities.endpoint_keys(hierarchy.ISSUING)
    assert read_certificates(keys.ca_certificates()[1])[0] == made.certificate_der
    assert keys.named_before is None


def test_a_revoked_ra_key_is_not_used_any_more(
    serving: House, other: House, today: ManualClock, rsa_key: rsa.RSAPrivateKey, commands: Commands
) -> None:
    today.advance(days=61)
    other.renew_ra_keys()
    second, first = serving.authorities.endpoint_keys(hierarchy.ISSUING).ra
    commands.json("cert", "revoke", f"{second.certificate.serial_number:032x}", "--reason", "keyCompromise")
    within_a_second(lambda: ra_certificates(serving) == [first.certificate])
    reply = answered(serving, request_to(second, rsa_key))
    assert reply.fail_info == 1
    assert "cannot be decrypted" in (reply.fail_info_text or "")
    assert reply.signer.x509 == first.certificate
    commands.json("cert", "revoke", f"{first.certificate.serial_number:032x}")
    time.sleep(0.6)
    with pytest.raises(KeyUnavailable, match=r"has no RA key in force; the worker makes one"):
        serving.authorities.endpoint_keys(hierarchy.ISSUING)


def test_an_ra_key_is_used_until_its_certificate_expires_though_nothing_is_written_then(
    serving: House, other: House, today: ManualClock
) -> None:
    (first,) = ra_certificates(serving)
    today.advance(days=61)
    other.renew_ra_keys()
    within_a_second(lambda: len(ra_certificates(serving)) == 2)
    today.set(first.not_valid_after_utc - timedelta(seconds=1))
    assert ra_certificates(serving)[1] == first
    today.set(first.not_valid_after_utc + timedelta(seconds=1))
    (second,) = ra_certificates(serving)
    assert second != first
    today.set(second.not_valid_after_utc + timedelta(seconds=1))
    with pytest.raises(KeyUnavailable, match=r"has no RA key in force"):
        ra_certificates(serving)


def test_a_revoked_authority_issues_nothing_more(serving: House, other: House) -> None:
    serving.authority("issuing")
    revoke_certificate_of(other, "issuing")
    time.sleep(0.6)
    with pytest.raises(UnknownAuthority, match=r"reported compromised"):
        serving.authority("issuing")
    # What it issued can still be revoked, and its CRL does not run out.
    assert {outcome.failure for outcome in serving.publish_crls()} == {""}
    serving.authority("root")


def test_what_did_not_change_is_not_loaded_again(serving: House, other: House, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    real = FileKeyStore.load

    def load(self: FileKeyStore, reference: str) -> object:
        loaded.append(reference)
        return real(self, reference)

    monkeypatch.setattr(FileKeyStore, "load", load)
    serving.authorities.endpoint_keys(hierarchy.ISSUING)
    assert sorted(loaded) == ["issuing-p256", "issuing-ra-1"]
    # Somebody writes, and it is no authority's business.
    other.transactions.write(
        lambda session: session.execute(table_of(Certificate).update().values(profile=col(Certificate.profile)))
    )
    time.sleep(0.6)
    serving.authorities.endpoint_keys(hierarchy.ISSUING)
    assert sorted(loaded) == ["issuing-p256", "issuing-ra-1"]


def test_authorities_are_found_by_number(serving: House) -> None:
    issuing = serving.authority("issuing")
    assert serving.authorities.crl_issuer(issuing.id).certificate == issuing.certificate
    with pytest.raises(UnknownAuthority, match=r"no authority number 4711"):
        serving.authorities.crl_issuer(4711)
    with pytest.raises(UnknownAuthority, match=r"no authority 'nobody'"):
        serving.authority("nobody")
