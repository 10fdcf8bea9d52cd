"""A load generator for SCEP: requests made beforehand, sent over kept-alive connections, every reply checked afterwards.

It shares the processors with what it measures, so it does as little as it can while the clock runs: raw HTTP over asyncio, no
parsing beyond Content-Length. What it costs is reported beside each rate.
"""

import asyncio
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from scep import message
from scep.message import PkiStatus


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: ``rate`` in enrolments a second, latencies in seconds, ``generator_cpu`` in seconds an enrolment."""

    rate: float
    median: float
    p99: float
    failed: int
    generator_cpu: float


def run(url: str, requests: Sequence[bytes], connections: int) -> Outcome:
    """Send ``requests`` (PKIMessages, DER) to ``url`` by POST over ``connections`` at once; each is sent once."""
    replies, latencies, elapsed, cpu = asyncio.run(_run(url, requests, connections))
    failed = sum(not _succeeded(reply) for reply in replies) + len(requests) - len(replies)
    ordered = sorted(latencies) or [0.0]
    return Outcome(
        rate=(len(requests) - failed) / elapsed,
        median=ordered[len(ordered) // 2],
        p99=ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        failed=failed,
        generator_cpu=cpu / len(requests),
    )


async def _run(url: str, requests: Sequence[bytes], connections: int) -> tuple[list[bytes], list[float], float, float]:
    parts = urlsplit(url)
    waiting = iter(requests)
    replies: list[bytes] = []
    latencies: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for request in waiting:
            head = (
                f"POST {parts.path}?operation=PKIOperation HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                f"Content-Type: application/x-pki-message\r\nContent-Length: {len(request)}\r\n\r\n"
            )
            began = time.perf_counter()
            writer.write(head.encode() + request)
            reply = await _reply(reader)
            latencies.append(time.perf_counter() - began)
            replies.append(reply)
        writer.close()

    cpu = _cpu()
    began = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)), return_exceptions=True)
    return replies, latencies, time.perf_counter() - began, _cpu() - cpu


async def _reply(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(head.split(b"\r\n", 1)[0].decode())
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        return await _chunks(reader)
    length = int(lowered.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return await reader.readexactly(length)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def _succeeded(reply: bytes) -> bool:
    return message.parse(reply).pki_status == PkiStatus.SUCCESS


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
