"""What vouches for the TLS of mail servers."""

import pytest

from tests.daemons.directories.tls import ServerTls, TestAuthority


@pytest.fixture(scope="session")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    """A certificate for 127.0.0.1, and what vouches for it."""
    return TestAuthority(tmp_path_factory.mktemp("mail-tls")).issue("mail", "127.0.0.1")
