"""A rehearsal does the work and leaves nothing of it, on both databases."""

import pytest
from sqlmodel import Session

from audit.log import Actor
from audit.reading import events
from people.errors import AlreadyTaken
from people.groups import add_group, list_groups
from signetry.administration.rehearsal import perform
from signetry.database import Database
from tests.clocks import ManualClock

ACTOR = Actor("cli:test")


def board(session: Session, clock: ManualClock) -> str:
    return add_group(session, "Board", actor=ACTOR, now=clock.now()).name


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_result_is_the_same_and_only_the_act_in_earnest_stays(store: Database, clock: ManualClock, *, dry_run: bool) -> None:
    result = store.write(lambda session: perform(session, lambda inner: board(inner, clock), dry_run=dry_run))
    with store.reading() as session:
        found = (result, len(list_groups(session)), len(events(session)))
    assert found == ("Board", int(not dry_run), int(not dry_run))


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_refusal_is_raised_and_the_transaction_goes_on(store: Database, clock: ManualClock, *, dry_run: bool) -> None:
    def act(session: Session) -> str:
        board(session, clock)
        with pytest.raises(AlreadyTaken):
            perform(session, lambda inner: board(inner, clock), dry_run=dry_run)
        return add_group(session, "Sales", actor=ACTOR, now=clock.now()).name

    assert store.write(act) == "Sales"
    with store.reading() as session:
        assert [group.name for group in list_groups(session)] == ["Board", "Sales"]
