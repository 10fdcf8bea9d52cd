"""How many certificates a person may have within a day."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import event

from people.person import PersonRecord
from scep.client import build_csr
from scep.errors import EnrolmentRefused, FailInfo
from scep.limits import EndpointLimits
from scep.message import MessageType
from tests.scep.peers import said
from tests.scep.waiting import events, visitor
from tests.scep.world import World

REFUSED = "no more than 2 certificates a day are issued here; the next from 2026-06-02 12:01 UTC"


@pytest.fixture
def limited(both_worlds: World) -> World:
    """An endpoint where a person may have two certificates a day, over either database."""
    both_worlds.configure(limits=EndpointLimits(certificates_per_day=2))
    return both_worlds


def enrolled(world: World, key: rsa.RSAPrivateKey, person: PersonRecord, *, endpoint: str = "default") -> str | None:
    """Enrol with a challenge of the person's; return the words of a refusal."""
    challenge = world.challenge(person, endpoint=endpoint)
    client = visitor(world, key, endpoint)
    transaction_id = challenge[:8]
    return said(client.enrol(build_csr(key, "x", challenge), transaction_id=transaction_id))[2]


def test_a_person_is_told_when_the_next_one_may_be_had(limited: World, rsa_key: rsa.RSAPrivateKey) -> None:
    alice = limited.add_person()
    assert [enrolled(limited, rsa_key, alice) for _ in range(3)] == [None, None, REFUSED]
    assert limited.counts() == {"certificates": 2, "enrolments": 2, "refusals": 1}
    (refused,) = events(limited, "enrolment.refused")
    assert refused.details["reason"] == REFUSED
    limited.clock.advance(timedelta(days=1, minutes=1))
    assert enrolled(limited, rsa_key, alice) is None


def test_the_challenge_stays_good_for_then(limited: World, rsa_key: rsa.RSAPrivateKey) -> None:
    alice, client = limited.add_person(), visitor(limited, rsa_key)
    for _ in range(2):
        enrolled(limited, rsa_key, alice)
    limited.clock.advance(timedelta(hours=23, minutes=30))
    csr = build_csr(rsa_key, "x", limited.challenge(alice))
    refused = client.enrol(csr)
    assert said(refused)[1:] == (FailInfo.BAD_REQUEST, REFUSED)
    limited.clock.advance(timedelta(minutes=31))
    # Its transactionID is the same as before: what was refused is decided anew.
    assert client.granted(client.enrol(csr))


def test_others_and_other_endpoints_are_not_counted(limited: World, rsa_key: rsa.RSAPrivateKey) -> None:
    alice = limited.add_person()
    bob = limited.add_person("bob@example.com", "bob@example.com")
    for _ in range(2):
        assert enrolled(limited, rsa_key, alice) is None
        assert enrolled(limited, rsa_key, alice, endpoint="other") is None
    assert enrolled(limited, rsa_key, bob) is None
    assert enrolled(limited, rsa_key, alice, endpoint="other") is None
    assert enrolled(limited, rsa_key, alice) == REFUSED


def test_an_identical_retry_counts_once_and_is_answered_beyond_the_limit(limited: World, rsa_key: rsa.RSAPrivateKey) -> None:
    alice, client = limited.add_person(), visitor(limited, rsa_key)
    csr = build_csr(rsa_key, "x", limited.challenge(alice))
    first = client.granted(client.enrol(csr))
    for _ in range(3):
        assert client.granted(client.enrol(csr)) == first
    assert enrolled(limited, rsa_key, alice) is None
    assert enrolled(limited, rsa_key, alice) == REFUSED
    assert client.granted(client.enrol(csr)) == first


def test_renewals_count(limited: World, rsa_key: rsa.RSAPrivateKey) -> None:
    limited.configure(renew_after=0.0)
    client = visitor(limited, rsa_key)
    alice = limited.add_person()
    certificate = client.granted(client.enrol(build_csr(rsa_key, "x", limited.challenge(alice))))
    holder = client.holding(certificate)

    def renewed(number: int) -> str | None:
        csr = build_csr(rsa_key, f"renewal {number}").public_bytes(Encoding.DER)
        return said(holder.ask(csr, message_type=MessageType.RENEWAL_REQ, transaction_id=f"spray {number}"))[2]

    assert [renewed(number) for number in range(3)] == [None, REFUSED, REFUSED]


def test_a_device_that_is_nobodys_is_counted_by_itself(limited: World, rsa_key: rsa.RSAPrivateKey) -> None:
    client = visitor(limited, rsa_key)

    def enrol(name: str, number: int) -> str | None:
        challenge = limited.challenge(None, profile="device", device=devices[name])
        return said(client.enrol(build_csr(rsa_key, "x", challenge), transaction_id=f"{name} {number}"))[2]

    devices = {name: limited.add_device(name, dns_name=f"{name}.example.com") for name in ("router-1", "router-2")}
    assert [enrol("router-1", number) for number in range(3)] == [None, None, REFUSED]
    assert enrol("router-2", 0) is None


def test_many_at_once_get_no_more(limited: World, rsa_key: rsa.RSAPrivateKey) -> None:
    """The count is taken again where the certificate is stored: on PostgreSQL, too, transactions run side by side."""
    alice = limited.add_person()
    challenges = [limited.challenge(alice) for _ in range(8)]

    def attempt(number: int) -> bool:
        try:
            limited.enrol(rsa_key, challenges[number], csr=build_csr(rsa_key, f"attempt {number}", challenges[number]))
        except EnrolmentRefused as error:
            assert str(error).endswith(REFUSED)  # noqa: PT017 - only some are refused
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(8)))
    assert sum(outcomes) == 2
    assert limited.counts()["certificates"] == 2


def test_where_there_is_no_limit_nothing_is_counted(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    statements: list[str] = []
    database = world.transactions
    alice = world.add_person()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    for engine in (database._reader, database._writer):  # type: ignore[attr-defined] # noqa: SLF001 - both of them
        event.listen(engine, "before_cursor_execute", note)
    assert enrolled(world, rsa_key, alice) is None
    assert not [statement for statement in statements if "certificate.issued_at >" in statement]
    world.configure(limits=EndpointLimits(certificates_per_day=2))
    assert enrolled(world, rsa_key, alice) is None
    assert len([statement for statement in statements if "certificate.issued_at >" in statement]) == 2
