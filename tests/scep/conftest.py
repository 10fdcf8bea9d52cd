"""Endpoints without a network, for every test of SCEP."""

import pytest

from signetry.database import Database
from tests.clocks import ManualClock
from tests.scep.world import World


@pytest.fixture
def world(sqlite_store: Database, clock: ManualClock) -> World:
    """An endpoint over SQLite."""
    return World(sqlite_store, clock)


@pytest.fixture
def both_worlds(store: Database, clock: ManualClock) -> World:
    """An endpoint over either database: what takes it runs on both."""
    return World(store, clock)
