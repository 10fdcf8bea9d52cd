"""Enrolments a second over SCEP: ``signetry serve`` beside the RSA floor and Debian's ``scepserver``, in one run.

    python -m benchmarks.scep_enrolment [--requests N] [--connections 1,8,16] [--ca-key rsa2048]

Clients, RA and issuing CA have RSA-2048 keys; the store is SQLite as configured by default (WAL, synchronous=FULL); every request
has a one-time challenge of its own. The load generator runs on the same processors.
"""

import argparse
import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks import floor, load
from benchmarks.running import free_port, signetry_environment, started, stopped, wait_for
from scep import client, message
from scep.algorithms import Cipher, Digest, Suite
from scep.message import MessageType

_CLIENT_KEYS = 16
_SCEPSERVER_CHALLENGE = "benchmark"


class Requests:
    """Makes valid requests, each distinct, signed by one of a few keys made beforehand."""

    def __init__(self) -> None:
        self._keys = [rsa.generate_private_key(65537, 2048) for _ in range(_CLIENT_KEYS)]
        self._signers = [client.throwaway_signer(key, client.named(f"client {number}")) for number, key in enumerate(self._keys)]

    def make(self, ra: x509.Certificate, challenges: Sequence[str]) -> list[bytes]:
        """Return a PKCSReq for each challenge, sealed to ``ra``."""
        return [self._one(ra, number, challenge) for number, challenge in enumerate(challenges)]

    def _one(self, ra: x509.Certificate, number: int, challenge: str) -> bytes:
        signer = self._signers[number % _CLIENT_KEYS]
        csr = client.build_csr(self._keys[number % _CLIENT_KEYS], f"device {secrets.token_hex(8)}", challenge)
        return message.build_request(
            signer,
            ra,
            csr.public_bytes(Encoding.DER),
            message_type=MessageType.PKCS_REQ,
            transaction_id=secrets.token_hex(16),
            sender_nonce=message.new_nonce(),
            suite=Suite(digest=Digest.SHA256, cipher=Cipher.AES128),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=600, help="requests at each number of connections")
    parser.add_argument("--connections", default="1,8,16", help="numbers of connections, separated by commas")
    parser.add_argument("--ca-key", default="rsa2048", choices=["rsa2048", "rsa3072", "p256"], help="the issuing CA's key")
    parser.add_argument("--floor-seconds", type=float, default=3.0, help="how long the floor is measured")
    arguments = parser.parse_args()
    levels = [int(level) for level in arguments.connections.split(",")]
    requests = Requests()

    floor_rate = floor.rate(3072 if arguments.ca_key == "rsa3072" else 2048, arguments.floor_seconds)
    print(f"floor, {len(os.sched_getaffinity(0))} processors, three RSA private operations a round: {floor_rate:.0f}/s")
    print("server       connections   rate/s  of floor  median ms   p99 ms  failed  generator ms")
    with _signetry(arguments.ca_key) as (url, home):
        for level in levels:
            made = requests.make(_ra(url), _challenges(home, arguments.requests))
            _print("signetry", level, load.run(url, made, level), floor_rate)
    with _scepserver() as url:
        for level in levels:
            made = requests.make(_ra(url), [_SCEPSERVER_CHALLENGE] * arguments.requests)
            _print("scepserver", level, load.run(url, made, level), floor_rate)


def _print(server: str, connections: int, outcome: load.Outcome, floor_rate: float) -> None:
    print(
        f"{server:<12} {connections:>11} {outcome.rate:>8.0f} {outcome.rate / floor_rate:>9.2f} {outcome.median * 1000:>10.1f} "
        f"{outcome.p99 * 1000:>8.1f} {outcome.failed:>7} {outcome.generator_cpu * 1000:>13.2f}"
    )


def _ra(url: str) -> x509.Certificate:
    with client.ScepClient(url) as ours:
        return ours.ca_certificates().ra


def _challenges(home: Path, count: int) -> list[str]:
    command = ["signetry", "challenge", "create", "--upn", "load@example.com", "--count", str(count)]
    done = subprocess.run(command, env=signetry_environment(home), check=True, capture_output=True, text=True)
    return done.stdout.split()


@contextmanager
def _signetry(ca_key: str) -> Iterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        port = free_port()
        environment = signetry_environment(home, public_port=port)
        for command in (
            ["init", "--ca-key", ca_key, "--public-url", f"http://127.0.0.1:{port}"],
            ["person", "add", "--upn", "load@example.com", "--email", "load@example.com"],
        ):
            subprocess.run(["signetry", *command], env=environment, check=True, capture_output=True)
        with started(["signetry", "serve"], environment) as process:
            wait_for(f"http://127.0.0.1:{port}/readyz", process)
            yield f"http://127.0.0.1:{port}/scep/default", home


@contextmanager
def _scepserver() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        depot = str(Path(directory) / "depot")
        subprocess.run(["scepserver", "ca", "-init", "-depot", depot, "-keySize", "2048"], check=True, capture_output=True)
        port = free_port()
        command = ["scepserver", "-depot", depot, "-port", str(port), "-challenge", _SCEPSERVER_CHALLENGE, "-allowrenew", "0"]
        with started(command, dict(os.environ)) as process:
            url = f"http://127.0.0.1:{port}/scep"
            wait_for(f"{url}?operation=GetCACaps", process)
            yield url
            stopped(process)


if __name__ == "__main__":
    main()
