"""One-time challenges: minting in bounds, kept as digests only."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlmodel import Session

from audit.records import AuditEvent
from ca.authorisation import PersonId, ProfileName
from foundation.errors import BadRequest
from scep import challenge
from scep.challenge import MAX_COUNT, MAX_LIFETIME, ChallengeOrder
from scep.errors import ChallengeRefused
from scep.records import Challenge
from tests.scep.world import ACTOR, World


def order(**changes: object) -> ChallengeOrder:
    given: dict[str, object] = {"endpoint": "default", "profile": ProfileName("identity"), "person": PersonId(1), "device": None}
    return ChallengeOrder(**(given | changes))  # type: ignore[arg-type]


def mint(world: World, wanted: ChallengeOrder) -> tuple[str, ...]:
    return world.transactions.write(lambda session: challenge.mint(session, wanted, actor=ACTOR, now=world.clock.now()))


def test_challenges_differ_and_are_kept_as_digests_only(both_worlds: World) -> None:
    minted = mint(both_worlds, order(count=3))
    assert len(set(minted)) == 3
    with both_worlds.transactions.reading() as session:
        rows = session.execute(select(Challenge)).scalars().all()
        assert {row.digest for row in rows} == {challenge.digest(text) for text in minted}
        everything = str([dict(row) for row in rows]) + str([dict(row) for row in session.execute(select(AuditEvent)).scalars()])
    assert not any(text in everything for text in minted)


def test_a_challenge_is_a_printable_string_that_urls_carry_unescaped(world: World) -> None:
    (text,) = mint(world, order())
    assert len(text) == 32
    assert text.isascii()
    assert text.isalnum()


@pytest.mark.parametrize(
    "wanted",
    [
        order(count=0),
        order(count=MAX_COUNT + 1),
        order(lifetime=timedelta(0)),
        order(lifetime=MAX_LIFETIME + timedelta(seconds=1)),
        order(person=None),
    ],
    ids=["none", "too many", "no time", "too long", "for nobody"],
)
def test_an_order_out_of_bounds_mints_nothing(world: World, wanted: ChallengeOrder) -> None:
    with pytest.raises(BadRequest):
        mint(world, wanted)
    with world.transactions.reading() as session:
        assert session.execute(select(Challenge)).first() is None


def test_bounds_themselves_are_in_bounds(world: World) -> None:
    assert len(mint(world, order(count=MAX_COUNT, lifetime=MAX_LIFETIME))) == MAX_COUNT


def test_redeeming_twice_fails_the_second_transaction(both_worlds: World) -> None:
    (text,) = mint(both_worlds, order())
    now = both_worlds.clock.now()
    with both_worlds.transactions.reading() as session:
        known = challenge.find(session, challenge.digest(text), endpoint="default", now=now)
    assert known is not None
    assert known.live

    def redeem(session: Session) -> None:
        challenge.redeem(session, known.id, certificate_id=1, now=now)

    both_worlds.transactions.write(redeem)
    with pytest.raises(ChallengeRefused):
        both_worlds.transactions.write(redeem)


def test_an_expired_challenge_cannot_be_redeemed(world: World) -> None:
    (text,) = mint(world, order(lifetime=timedelta(minutes=5)))
    with world.transactions.reading() as session:
        known = challenge.find(session, challenge.digest(text), endpoint="default", now=world.clock.now())
    assert known is not None
    later = world.clock.advance(minutes=5)
    with pytest.raises(ChallengeRefused):
        world.transactions.write(lambda session: challenge.redeem(session, known.id, certificate_id=1, now=later))
    with world.transactions.reading() as session:
        found = challenge.find(session, challenge.digest(text), endpoint="default", now=later)
    assert found is not None
    assert not found.live
