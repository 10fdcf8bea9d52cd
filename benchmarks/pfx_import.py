"""How fast PKCS #12 files are imported, beside how fast ``cryptography``'s own loader just reads the same files.

    python -m benchmarks.pfx_import [--files 10000] [--processes 2] [--cache FOLDER]

The files are a fixed mix: a quarter with RC2-40 and 3DES and a quarter with 3DES alone, both at 2,048 rounds, as Windows and
older programs write them; a half with AES-256 at 2,048 to 100,000 rounds, for the MAC as well. Nine keys of ten are RSA-2048, the
others P-256. Keys are made for a tenth of the files and used for ten each, under certificates and for persons of their own:
neither side gains by that. What was generated is kept in the folder, by number and seed, for the next run.

The loader runs in as many processes as the import. Imported is with the real command, into a new installation with SQLite, from a
list in CSV: what is measured is the whole command, from its start to its end.
"""

import argparse
import csv
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from benchmarks.running import resident_bytes, signetry_environment

FILES = 10_000
SEED = 20_261_122
_FILES_A_KEY = 10
_ROUNDS = (2_048, 10_000, 50_000, 100_000)
_RC2 = ("-legacy", "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-RC2-40", "-macalg", "sha1", "-iter", "2048")
_TRIPLE_DES = ("-legacy", "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1", "-iter", "2048")
_AES = ("-keypbe", "AES-256-CBC", "-certpbe", "AES-256-CBC", "-macalg", "sha256", "-iter")
_NO_USAGE = dict.fromkeys(
    ("digital_signature", "content_commitment", "data_encipherment", "key_cert_sign", "crl_sign", "encipher_only"), False
) | {"decipher_only": False}


@dataclass(frozen=True)
class Order:
    """A few files to be generated, all over one key: the numbers of the files, and how each is encrypted."""

    folder: Path
    is_rsa: bool
    files: tuple[tuple[int, tuple[str, ...]], ...]


def main() -> None:
    """Generate what is missing, read, import, and print both rates."""
    parser = argparse.ArgumentParser(description="Measure the import of PKCS #12 files.")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "signetry-benchmark-pfx")
    given = parser.parse_args()
    folder = given.cache / f"{given.files}-{SEED}"
    generate(folder, given.files, given.processes)
    reading = _read_all(folder, given.files, given.processes)
    print(f"the loader alone  {given.files / reading:8.1f} files/s  ({reading:.1f} s, {given.processes} processes)", flush=True)
    with tempfile.TemporaryDirectory() as home:
        importing, memory = _import(Path(home) / "home", folder, given.files, given.processes)
    print(f"signetry import   {given.files / importing:8.1f} files/s  ({importing:.1f} s, {given.processes} processes)")
    print(f"ratio             {reading / importing:8.2f}")
    print(f"memory            {memory[0] >> 20} MiB after a quarter of the time, {memory[1] >> 20} MiB at its highest after that")


def password_of(number: int) -> str:
    """Return what opens a generated file."""
    return f"pässword-{number:05}"


def upn_of(number: int) -> str:
    """Return whose a generated file is."""
    return f"person{number:05}@example.com"


def generate(folder: Path, count: int, processes: int = 2) -> None:
    """Write the files ``00000.p12`` and so on into ``folder``, those that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [order for order in _orders(folder, count) if not all(_path(folder, number).exists() for number, _ in order.files)]
    if not missing:
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for done, _ in enumerate(pool.map(_generate, missing), 1):
            print(f"\rgenerating: {done} of {len(missing)} keys", end="", file=sys.stderr)
    print(file=sys.stderr)


def _orders(folder: Path, count: int) -> Iterator[Order]:
    choice = random.Random(SEED)  # noqa: S311 - which file is encrypted how is no secret
    numbered: list[tuple[int, tuple[str, ...]]] = []
    for number in range(count):
        aes = (*_AES, str(choice.choice(_ROUNDS)))
        numbered.append((number, (_RC2, aes, _TRIPLE_DES, aes)[number % 4]))
    for first in range(0, count, _FILES_A_KEY):
        yield Order(folder, first // _FILES_A_KEY % 10 != 0, tuple(numbered[first : first + _FILES_A_KEY]))


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.p12"


def _generate(order: Order) -> None:
    key = rsa.generate_private_key(65537, 2048) if order.is_rsa else ec.generate_private_key(ec.SECP256R1())
    for number, way in order.files:
        path = _path(order.folder, number)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem += _certificate(key, number).public_bytes(Encoding.PEM)
        temporary = path.with_suffix(".new")
        command = ["openssl", "pkcs12", "-export", *way, "-passout", f"pass:{password_of(number)}", "-out", str(temporary)]
        subprocess.run(command, input=pem, check=True)
        temporary.rename(path)


def _certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, number: int) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Person {number}")])
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=700))
    for extension in (
        x509.KeyUsage(key_encipherment=is_rsa, key_agreement=not is_rsa, **_NO_USAGE),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]),
        x509.SubjectAlternativeName([x509.RFC822Name(upn_of(number))]),
    ):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def _read_all(folder: Path, count: int, processes: int) -> float:
    """Return the seconds in which the library's loader reads all files, in so many processes that are running already."""
    parts = [range(first, count, processes) for first in range(processes)]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_read, [folder] * processes, [range(1)] * processes))
        begun = time.monotonic()
        list(pool.map(_read, [folder] * processes, parts))
        return time.monotonic() - begun


def _read(folder: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        pkcs12.load_pkcs12(_path(folder, number).read_bytes(), password_of(number).encode())


def _import(home: Path, folder: Path, count: int, processes: int) -> tuple[float, tuple[int, int]]:
    """Return the seconds that the import takes, and its resident memory after a quarter and at its highest after that."""
    environment = signetry_environment(home)
    _signetry(environment, "init")
    people, files = home / "people.csv", home / "files.csv"
    with people.open("w", newline="") as out:
        csv.writer(out).writerows([("upn", "email"), *((upn_of(number), upn_of(number)) for number in range(count))])
    with files.open("w", newline="", encoding="utf-8") as out:
        rows = ((upn_of(number), _path(folder, number).name, password_of(number)) for number in range(count))
        csv.writer(out).writerows([("upn", "file", "password"), *rows])
    files.chmod(0o600)
    _signetry(environment, "person", "import", str(people))
    command = ("pfx", "import", str(files), "--folder", str(folder), "--processes", str(processes), "--json")
    report = home / "report.json"
    begun = time.monotonic()
    samples: list[int] = []
    with report.open("wb") as out:
        process = subprocess.Popen([_program(), *command], env=environment, stdout=out)
        while process.poll() is None:
            try:
                samples.append(resident_bytes(process.pid))
            except (OSError, IndexError):
                break
            time.sleep(0.1)
        process.wait()
    seconds = time.monotonic() - begun
    imported = json.loads(report.read_bytes())["imported"]
    if imported != count:
        raise SystemExit(f"{imported} of {count} files were imported")
    return seconds, (samples[len(samples) // 4], max(samples[len(samples) // 4 :]))


def _program() -> str:
    return str(Path(sys.executable).with_name("signetry"))


def _signetry(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run([_program(), *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
