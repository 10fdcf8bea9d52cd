"""One running service for the tests that leave it as it was."""

from collections.abc import Iterator

import pytest

from tests.daemons.service import Service, serving

# An endpoint for what only old clients send, and one where renewal is always open.
CONFIGURATION = """
[endpoints.museum]
museum = true
renew_after = 0.0

[endpoints.renewing]
renew_after = 0.0
"""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service with RSA keys of the default sizes."""
    with serving(tmp_path_factory.mktemp("service"), configuration=CONFIGURATION) as running:
        yield running
