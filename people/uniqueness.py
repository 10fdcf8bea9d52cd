"""What belongs to one record only: the database's constraints decide, whoever races, and the refusal says whose it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from people.errors import AlreadyTaken


@contextmanager
def claiming(session: Session, explain: Callable[[], AlreadyTaken]) -> Iterator[None]:
    """Run the block in a savepoint and turn a violated constraint into what ``explain`` then finds.

    ``explain`` runs after the savepoint is rolled back, when the session can read again.

    Raises:
        AlreadyTaken: what ``explain`` returned.
    """
    try:
        with session.begin_nested():
            yield
    except IntegrityError as error:
        raise explain() from error
