"""Keys that an installation makes for persons: the maker, the worker's jobs, and what the persons are told."""

from datetime import datetime, timedelta
from functools import partial

from sqlmodel import Session

from pkcs_import.making import KeyMaker, Made, Maker
from pkcs_import.renewing import Renewals
from pkcs_import.workshop import Workshop
from signetry.house import House
from signetry.jobs import Job

# What holds a certificate back may go without a word: a device is deactivated, a predecessor revoked.
_HOLDS_REVIEWED_EVERY = timedelta(minutes=10)


def maker(house: House, keys: KeyMaker) -> Maker:
    """Return what makes keys and certificates for persons; ``keys`` are made in processes that the caller has at hand."""
    settings = house.settings.archive
    return Maker(
        transactions=house.transactions,
        clock=house.clock,
        actor=house.actor,
        keys=keys,
        authority=partial(house.issuing_now, settings.issuing_ca),
        algorithm=settings.made_key_algorithm,
        holds=house.publication_holds,
        organisation=house.organisation,
        issued=house.issuance_listeners,
        kept=house.kept_listeners,
        made=(partial(_tell, house),),
    )


def renewal_job(house: House) -> Job:
    """Return the worker's job of renewing what was made here, each time with a new key."""
    renewals = Renewals(house.transactions, house.clock, timedelta(days=house.settings.archive.renew_before))

    def run() -> int:
        batch = renewals.batch()
        if not batch:
            return 0
        with Workshop() as workshop:
            return renewals.run(maker(house, workshop), batch)

    return Job("key-renewal", run=run, next_due=renewals.next_due)


def holds_job(house: House) -> Job:
    """Return the worker's job of publishing what need not be held back any more."""
    run = partial(house.publication_holds.review_all, house.transactions, house.clock)
    return Job("publication-holds", run=run, every=_HOLDS_REVIEWED_EVERY)


def _tell(house: House, session: Session, made: Made) -> None:
    """Owe the person a word: a key of theirs is in the archive, or has taken another's place there."""
    values: dict[str, str | datetime | int] = {
        "address": made.person.email,
        "serial": made.certificate.serial,
        "not_after": made.certificate.not_after,
    }
    if made.replaces is None:
        house.notices.owe(session, made.person.id, "key-archived", {**values, "origin": "made"})
    else:
        house.notices.owe(session, made.person.id, "key-renewed", {**values, "previous_not_after": made.replaces.not_after})
