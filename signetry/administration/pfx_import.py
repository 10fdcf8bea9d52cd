"""Importing PKCS #12 files into the archive of an installation."""

from pkcs_import.importing import Importer
from pkcs_import.workshop import Workshop
from signetry.house import House


def importer(house: House, *, dry_run: bool, workshop: Workshop | None = None, at_once: int = 1) -> Importer:
    """Return how ``house`` imports: in its own workshop, or in another one of ``at_once`` processes."""
    return Importer(
        transactions=house.transactions,
        clock=house.clock,
        actor=house.actor,
        workshop=workshop or house.workshop,
        refused=frozenset(house.settings.archive.refuse_concerns),
        listeners=house.kept_listeners,
        dry_run=dry_run,
        at_once=at_once,
    )
