"""Deliveries of keys by mail and the mails themselves: the device holds the keys once the last of the mails has been sent.

A mail that is given up stops its delivery: somebody has to order another one. A delivery that ends otherwise calls off its mails.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from sqlmodel import Session

from audit.log import Actor
from foundation.clock import Clock
from notices import outbox
from notices.outcome import Outcome
from pkcs_import import delivery, delivery_ends
from pkcs_import.delivery import HandedListener
from pkcs_import.delivery_ends import EndedListener
from pkcs_import.errors import UnknownDelivery

_PREFIX: Final = "delivery:"


def reference(delivery_id: int) -> str:
    """Return how the mails of a delivery refer to it."""
    return f"{_PREFIX}{delivery_id}"


def follow(
    session: Session,
    outcome: Outcome,
    *,
    actor: Actor,
    clock: Clock,
    handed: Sequence[HandedListener],
    ended: Sequence[EndedListener],
) -> None:
    """Note what the outcome of a mail means for its delivery, in the same transaction; one that is over stays as it is."""
    if not outcome.reference.startswith(_PREFIX):
        return
    number = int(outcome.reference.removeprefix(_PREFIX))
    with suppress(UnknownDelivery):
        if not outcome.is_sent:
            delivery_ends.stop(session, number, actor=actor, now=clock.now(), listeners=ended)
        elif not outcome.unsent:
            delivery.hand(session, number, actor=actor, now=clock.now(), listeners=handed)


def call_off(session: Session, delivery_ids: Sequence[int], *, clock: Clock) -> None:
    """Let no mail go out of deliveries that were stopped, or are over."""
    outbox.call_off(session, [reference(each) for each in delivery_ids], now=clock.now())
