"""What tests of several modules of the archive stand on."""

import pytest

from ca.issuance import IssuingAuthority
from ca.keys import KeyAlgorithm
from signetry.database import Database
from tests.ca.authorities import make_issuing, make_root
from tests.ca.keystores import shared_key
from tests.clocks import ManualClock
from tests.pkcs_import.makings import Makings


@pytest.fixture(scope="session")
def issuing() -> IssuingAuthority:
    """An issuing CA."""
    return make_issuing(make_root(shared_key(KeyAlgorithm.P384, 100)), shared_key(KeyAlgorithm.P256, 100))


@pytest.fixture
def makings(store: Database, clock: ManualClock, issuing: IssuingAuthority) -> Makings:
    """Persons, an issuing CA and an archive, in a database of both kinds."""
    return Makings(store, clock, issuing, shared_key(KeyAlgorithm.P256, 300))  # type: ignore[arg-type] # one that seals
