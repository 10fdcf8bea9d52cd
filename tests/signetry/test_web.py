"""What a web process does for itself before it serves."""

import asyncio
import resource
import socket
import ssl
import time

import pytest

from signetry import web


def test_a_process_may_open_as_many_files_as_it_takes_connections() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        web.allow_enough_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(3000, before[1]), before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_who_connects_and_speaks_no_tls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "HANDSHAKE_SECONDS", 0.3)

    async def held() -> float:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = await loop.create_server(asyncio.Protocol, sock=listening, ssl=context)
            began = time.monotonic()
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            server.close()
            return time.monotonic() - began

    with asyncio.Runner(loop_factory=web.Loop) as runner:
        assert runner.run(held()) < 2
