"""Make the PKCS #12 vectors with the programs people have: ``python -m tests.vectors.pkcs12.make [name …]``.

What is missing is made, and what is named is made again; salts and IVs are random, so files differ each time. ``vectors.json``
says how each opens and what a reader is to find in it. Needed are openssl 3 with its legacy provider, NSS's pk12util and
certutil, Java's keytool, and gpgsm with gpg-agent.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from foundation import tlv
from tests.foundation.ber_encoding import to_ber
from tests.pkcs_import import containers
from tests.vectors.pkcs12.parties import AUTHORITIES, HERE, PERSONS, certificate, der, key, pkcs8

PASSWORD: Final = "correct horse"
UMLAUTS: Final = "Grüße-€-日本"  # in Latin-1, out of it, out of Europe
LATIN: Final = "Grüße"
BEYOND_BMP: Final = "key-🔑"
_CHAIN: Final = ("issuing", "root")


@dataclass(frozen=True)
class Vector:
    """How a file opens, whose keys are in it, and how long the chains are; who made it."""

    password: str | None
    parties: Sequence[str]
    chain: int
    made_by: str


@dataclass(frozen=True)
class Recipe:
    """A vector and what makes its file at a path."""

    vector: Vector
    make: Callable[[Path], None]


def run(*command: str, environment: dict[str, str] | None = None, data: bytes = b"") -> bytes:
    """Run a program and return what it writes."""
    done = subprocess.run(
        command, input=data, capture_output=True, check=False, env={**os.environ, **(environment or {})}, timeout=60
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}")
    return done.stdout


def _openssl(*options: str, password: str = PASSWORD, party: str = "ann", chain: bool = True, raw: bytes | None = None) -> Recipe:
    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory() as directory:
            secret, authorities = Path(directory, "password"), Path(directory, "chain.pem")
            secret.write_bytes((password.encode() if raw is None else raw) + b"\n")
            authorities.write_bytes(b"".join(Path(HERE, f"{name}.pem").read_bytes() for name in _CHAIN))
            run(
                *("openssl", "pkcs12", "-export", "-inkey", str(HERE / f"{party}.key.pem"), "-in", str(HERE / f"{party}.pem")),
                *(("-certfile", str(authorities)) if chain else ()),
                *("-name", f"{party} of the vectors", "-passout", f"file:{secret}", "-out", str(path), *options),
                environment={"LC_ALL": "C.UTF-8"},
            )

    return Recipe(Vector(password, (party,), 2 if chain else 0, "OpenSSL 3.0"), make)


def _keytool(*options: str, parties: Sequence[str] = ("ann",), password: str = PASSWORD) -> Recipe:
    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory() as directory:
            secret = Path(directory, "password")
            secret.write_bytes(password.encode())
            path.unlink(missing_ok=True)
            for party in parties:
                source = Path(directory, f"{party}.p12")
                _openssl(password=password, party=party).make(source)
                run(
                    *("keytool", *(f"-J{option}" for option in options), "-importkeystore", "-noprompt"),
                    *("-srckeystore", str(source), "-srcstoretype", "PKCS12", "-srcstorepass:file", str(secret)),
                    *("-destkeystore", str(path), "-deststoretype", "PKCS12", "-deststorepass:file", str(secret)),
                )

    return Recipe(Vector(password, tuple(parties), 2, "Java 17 keytool"), make)


def _pk12util(*options: str, parties: Sequence[str] = ("ann",), password: str = PASSWORD) -> Recipe:
    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory() as directory:
            secret, database = Path(directory, "password"), f"sql:{directory}"
            secret.write_bytes(password.encode())
            run("certutil", "-N", "-d", database, "--empty-password")
            for party in parties:
                source = Path(directory, f"{party}.p12")
                _openssl(password=password, party=party).make(source)
                run("pk12util", "-i", str(source), "-d", database, "-w", str(secret))
            path.unlink(missing_ok=True)
            nickname = f"{parties[0]} of the vectors"
            run("pk12util", "-o", str(path), "-n", nickname, "-d", database, "-w", str(secret), *options)

    return Recipe(Vector(password, tuple(parties), 2, "NSS 3.87 pk12util"), make)


def _gpgsm(password: str = PASSWORD) -> Recipe:
    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory() as home:
            environment = {"GNUPGHOME": home, "LC_ALL": "C.UTF-8"}
            Path(home, "gpg-agent.conf").write_text("allow-loopback-pinentry\n")
            source = Path(home, "in.p12")
            # gpgsm takes each byte of the password for a character.
            spelt = containers.bmp(password.encode().decode("latin-1"))
            source.write_bytes(containers.pfx(*_parts(containers.triple_des(spelt)), mac=containers.mac(spelt)))
            gpgsm = ("gpgsm", "--batch", "--yes", "--pinentry-mode", "loopback", "--disable-dirmngr", "--passphrase-fd", "0")
            try:
                run(*gpgsm, "--import", str(source), environment=environment, data=password.encode())
                export = ("--output", str(path), "--export-secret-key-p12", "ann@example.com")
                run(*gpgsm, *export, environment=environment, data=password.encode())
            finally:
                subprocess.run(["gpgconf", "--kill", "all"], env={**os.environ, **environment}, check=False)

    return Recipe(Vector(password, ("ann",), 0, "gpgsm 2.2"), make)


def _built(made: Callable[[], bytes], vector: Vector) -> Recipe:
    return Recipe(vector, lambda path: _write(path, made()))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _parts(encryption: containers.Encryption, **options: containers.Ber) -> tuple[bytes, bytes]:
    bags = [containers.certificate_bag(der(name)) for name in ("ann", *_CHAIN)]
    return containers.encrypted(bags, encryption, **options), containers.data(
        [containers.key_bag(pkcs8("ann"), encryption)], **options
    )


def _ber() -> bytes:
    """Everything of indefinite length and in segments, as Windows before Vista and Java with BouncyCastle write it."""
    password = containers.bmp(PASSWORD)
    keep = [der(name) for name in ("ann", *_CHAIN)]

    def ber(encoded: bytes, *, implicit: bool = False) -> bytes:
        return to_ber(encoded, segment=1024, implicit=implicit, keep=keep)

    return containers.pfx(*_parts(containers.triple_des(password), ber=ber), mac=containers.mac(password), ber=ber)


def _pbmac1() -> bytes:
    return containers.pfx(*_parts(containers.aes(PASSWORD.encode())), mac=containers.pbmac1(PASSWORD.encode()))


def _old_nss() -> bytes:
    password = containers.bmp(PASSWORD)
    return containers.pfx(*_parts(containers.aes(password)), mac=containers.mac(password))


def _windows() -> bytes:
    """Made with Windows' habits: keys first, attributes of Microsoft in them, 2000 iterations, all in 3DES."""
    encryption = containers.triple_des(containers.bmp(PASSWORD), iterations=2000)
    key_set = "{4C1D5B0F-8A5E-4D0B-9C59-1F2F5A4A7C11}".encode("utf-16-be")
    provider = "Microsoft Enhanced Cryptographic Provider v1.0".encode("utf-16-be")
    attributes = tlv.set_of(
        containers.attribute("1.2.840.113549.1.9.21", tlv.octet_string(b"\1\0\0\0")),
        containers.attribute("1.2.840.113549.1.9.20", tlv.tlv(0x1E, key_set)),
        containers.attribute("1.3.6.1.4.1.311.17.1", tlv.tlv(0x1E, provider)),
    )
    # A PrivateKeyInfo with the attribute keyUsage, as CryptoAPI writes it.
    plain = pkcs8("ann")
    content = plain[tlv.read(plain).content :]
    usage = containers.attribute("2.5.29.15", tlv.bit_string(b"\x10"))
    with_attributes = tlv.sequence(content, tlv.tlv(0xA0, usage))
    shrouded = containers.key_bag(with_attributes, encryption, attributes)
    identified = tlv.set_of(containers.attribute("1.2.840.113549.1.9.21", tlv.octet_string(b"\1\0\0\0")))
    bags = [containers.certificate_bag(der("ann"), identified), *(containers.certificate_bag(der(name)) for name in _CHAIN)]
    return containers.pfx(
        containers.data([shrouded]),
        containers.encrypted(bags, encryption),
        mac=containers.mac(containers.bmp(PASSWORD), iterations=2000),
    )


def _of_ann(made_by: str, password: str | None = PASSWORD) -> Vector:
    return Vector(password, ("ann",), 2, made_by)


_LEGACY = "-legacy"
RECIPES: Final = {
    # What OpenSSL wrote until 3.0, and macOS' Keychain and Windows write: certificates in RC2-40, keys in 3DES, SHA-1.
    "openssl-rc2-40": _openssl(_LEGACY),
    "openssl-keychain": _openssl(_LEGACY, "-nomaciter"),
    "openssl-rc2-128": _openssl(_LEGACY, "-certpbe", "PBE-SHA1-RC2-128", "-keypbe", "PBE-SHA1-RC2-128"),
    "openssl-rc4-128": _openssl(_LEGACY, "-certpbe", "PBE-SHA1-RC4-128", "-keypbe", "PBE-SHA1-RC4-128"),
    "openssl-rc4-40": _openssl(_LEGACY, "-certpbe", "PBE-SHA1-RC4-40", "-keypbe", "PBE-SHA1-RC4-40"),
    "openssl-2des": _openssl(_LEGACY, "-certpbe", "PBE-SHA1-2DES", "-keypbe", "PBE-SHA1-2DES"),
    "openssl-3des": _openssl(_LEGACY, "-descert"),
    "openssl-aes256": _openssl(),
    "openssl-aes128-sha1": _openssl("-certpbe", "AES-128-CBC", "-keypbe", "AES-128-CBC", "-macalg", "sha1"),
    "openssl-aes192-sha224": _openssl("-certpbe", "AES-192-CBC", "-keypbe", "AES-192-CBC", "-macalg", "sha224"),
    "openssl-aes256-sha384": _openssl("-macalg", "sha384"),
    "openssl-aes256-sha512": _openssl("-macalg", "sha512"),
    "openssl-pbes2-3des": _openssl("-certpbe", "DES-EDE3-CBC", "-keypbe", "DES-EDE3-CBC"),
    "openssl-no-mac": _openssl("-nomac"),
    "openssl-no-mac-rc2-40": _openssl(_LEGACY, "-nomac"),
    "openssl-nothing-encrypted": _openssl("-keypbe", "NONE", "-certpbe", "NONE"),
    "openssl-one-iteration": _openssl("-noiter", "-nomaciter"),
    "openssl-100000-iterations": _openssl("-iter", "100000"),
    "openssl-empty-password": _openssl(password=""),
    "openssl-empty-password-rc2-40": _openssl(_LEGACY, password=""),
    "openssl-umlauts": _openssl(password=UMLAUTS),
    "openssl-umlauts-rc2-40": _openssl(_LEGACY, password=UMLAUTS),
    "openssl-latin-1": _openssl(password=LATIN, raw=LATIN.encode("latin-1")),
    "openssl-latin-1-rc2-40": _openssl(_LEGACY, password=LATIN, raw=LATIN.encode("latin-1")),
    "openssl-beyond-bmp": _openssl(password=BEYOND_BMP),
    "openssl-beyond-bmp-rc2-40": _openssl(_LEGACY, password=BEYOND_BMP),
    "openssl-expired": _openssl(party="ann-old"),
    "openssl-elliptic": _openssl(party="bob"),
    "openssl-elliptic-rc2-40": _openssl(_LEGACY, party="bob"),
    "openssl-ed25519": _openssl(party="cid"),
    "openssl-no-chain": _openssl(chain=False),
    "java": _keytool(),
    "java-legacy": _keytool("-Dkeystore.pkcs12.legacy"),
    "java-several": _keytool(parties=("ann-old", "ann", "bob")),
    "nss": _pk12util(),
    "nss-rc2-40": _pk12util(
        "-c", "PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-CBC", "-C", "PKCS #12 V2 PBE With SHA-1 And 40 Bit RC2 CBC"
    ),
    "nss-several": _pk12util(parties=("ann", "ann-old")),
    "nss-umlauts": _pk12util(password=UMLAUTS),
    "gpgsm": _gpgsm(),
    "gpgsm-umlauts": _gpgsm(password=UMLAUTS),
    "built-ber": _built(_ber, _of_ann("built: BER throughout")),
    "built-pbmac1": _built(_pbmac1, _of_ann("built: PBMAC1, RFC 9579")),
    "built-old-nss": _built(_old_nss, _of_ann("built: PBES2 under a BMPString, as NSS long did")),
    "built-windows": _built(_windows, _of_ann("built: with the habits of Windows")),
}


def main(names: Sequence[str]) -> None:
    """Make what is missing or named."""
    for name in (*AUTHORITIES, *PERSONS):
        key(name)
        certificate(name)
    for name, recipe in RECIPES.items():
        path = HERE / f"{name}.p12"
        if name in names or not path.exists():
            recipe.make(path)
            sys.stdout.write(f"{name}: {path.stat().st_size} bytes\n")
    described = {name: asdict(recipe.vector) for name, recipe in RECIPES.items()}
    Path(HERE, "vectors.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    shutil.which("keytool") or sys.exit("keytool is missing")
    main(sys.argv[1:])
