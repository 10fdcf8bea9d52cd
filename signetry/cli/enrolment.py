"""``signetry enrol``: our own SCEP client, for trying an endpoint and for machines without another."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID

from ca.subject import COMMON_NAME_BYTES
from foundation.errors import BadRequest, Conflict
from foundation.files import replace_private
from scep.ca_certificates import CaBag
from scep.client import Identity, ScepClient, build_csr
from scep.errors import EnrolmentRefused
from signetry.cli.output import JsonFlag, emit_record
from signetry.files import is_open_to_all, read_secret

_KEY_SIZES = (2048, 3072, 4096)
_KEY, _REQUEST, _CERTIFICATE, _CHAIN = "key.pem", "request.pem", "certificate.pem", "chain.pem"


def enrol(
    url: Annotated[str, typer.Argument(help="The endpoint, such as http://127.0.0.1:8080/scep/default.")],
    *,
    out: Annotated[Path, typer.Option(help="Where key.pem, certificate.pem and chain.pem go.")],
    challenge_file: Annotated[Path | None, typer.Option(help="The file with the challenge password.")] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Renew the certificate in --out, with a new key.")] = False,
    common_name: Annotated[
        str, typer.Option(help="The name in the request; the service decides the one in the certificate.")
    ] = "",
    key_size: Annotated[int, typer.Option(help="Bits of the RSA key: 2048, 3072 or 4096.")] = 2048,
    fingerprint: Annotated[str, typer.Option(help="Accept only the issuing CA with this SHA-256.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Enrol over SCEP, or renew. When the connection breaks, run it again: the same request gets the same certificate.

    A key.pem that is in --out already is used; otherwise one is made. A certificate.pem is never overwritten, except by --renew.

    Example: signetry enrol http://127.0.0.1:8080/scep/default --challenge-file challenge.txt --out ./alice
    """
    if key_size not in _KEY_SIZES:
        raise BadRequest("--key-size is 2048, 3072 or 4096")
    if len(common_name.encode()) > COMMON_NAME_BYTES:
        raise BadRequest(f"--common-name has at most {COMMON_NAME_BYTES} bytes of UTF-8")
    if renew == (challenge_file is not None):
        raise BadRequest("give either --challenge-file, to enrol, or --renew")
    with ScepClient(url, fingerprint=fingerprint) as client:
        bag = client.ca_certificates()
        if renew:
            identity = _renew(client, bag, out, key_size)
        else:
            identity = _enrol(client, bag, out, common_name or "signetry enrol", _read_challenge(challenge_file), key_size)
    certificate = identity.certificate
    emit_record(
        {
            "certificate": str(out / _CERTIFICATE),
            "serial": f"{certificate.serial_number:032x}",
            "subject": certificate.subject.rfc4514_string(),
            "not_after": certificate.not_valid_after_utc,
            "ca_fingerprint": bag.fingerprint,
        },
        as_json=as_json,
    )


def _read_challenge(path: Path | None) -> str:
    try:
        # What "challenge create > FILE" makes is open to all with the usual umask, and worth nothing in a moment.
        challenge = read_secret(path, "--challenge-file", may_be_open=True).decode() if path else ""
    except UnicodeDecodeError:
        raise BadRequest(f"--challenge-file: {path} holds no text") from None
    if path and is_open_to_all(path.stat()):
        typer.echo(f"--challenge-file: {path} is open to every user of this machine; better chmod 600 it", err=True)
    return challenge


def _enrol(client: ScepClient, bag: CaBag, out: Path, common_name: str, challenge: str, key_size: int) -> Identity:
    if (out / _CERTIFICATE).exists():
        if not (out / _REQUEST).exists():
            raise Conflict(f"{out / _CERTIFICATE} is there already: renew it with --renew, or name another --out")
        # An earlier run was interrupted between its last two steps.
        identity = _read_identity(out)
    else:
        csr = _request(out, common_name, challenge, key_size)
        try:
            identity = client.enrol(bag, _read_key(out), csr)
        except EnrolmentRefused:
            # The server has decided: what is tried next is another request. The key stays.
            (out / _REQUEST).unlink()
            raise
        _write_chain(out, bag)
        _write_certificate(out, identity)
    # The request holds the challenge, which is spent now.
    (out / _REQUEST).unlink()
    return identity


def _request(out: Path, common_name: str, challenge: str, key_size: int) -> x509.CertificateSigningRequest:
    """Return the request to send, kept before it is sent: an attempt after a lost answer repeats this very request."""
    if not (out / _KEY).exists():
        _write_key(out, rsa.generate_private_key(65537, key_size))
    if (out / _REQUEST).exists():
        kept = x509.load_pem_x509_csr((out / _REQUEST).read_bytes())
        if kept.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value == challenge.encode():
            return kept
    csr = build_csr(_read_key(out), common_name, challenge)
    replace_private(out / _REQUEST, csr.public_bytes(Encoding.PEM))
    return csr


def _renew(client: ScepClient, bag: CaBag, out: Path, key_size: int) -> Identity:
    if _adopt_next(out):
        return _read_identity(out)
    held = _read_identity(out)
    next_directory = out / "next"
    if not (next_directory / _KEY).exists():
        _write_key(next_directory, rsa.generate_private_key(65537, key_size))
    identity = client.renew(bag, held, _read_key(next_directory))
    _write_chain(out, bag)
    _write_certificate(next_directory, identity)
    _adopt_next(out)
    return identity


def _adopt_next(out: Path) -> bool:
    """Put the renewed pair, once it is complete, in the place of the old one; an interrupted move is finished by the next run."""
    following = out / "next"
    if not (following / _CERTIFICATE).exists():
        return False
    if (following / _KEY).exists():
        (following / _KEY).replace(out / _KEY)
    (following / _CERTIFICATE).replace(out / _CERTIFICATE)
    with suppress(OSError):
        # It may hold what a crash left of an unfinished file.
        following.rmdir()
    return True


def _read_identity(directory: Path) -> Identity:
    path = directory / _CERTIFICATE
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        raise BadRequest(f"there is nothing to renew: {path} is missing") from None
    except ValueError:
        raise BadRequest(f"{path} holds no certificate") from None
    return Identity(certificate, _read_key(directory))


def _read_key(directory: Path) -> rsa.RSAPrivateKey:
    path = directory / _KEY
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        raise BadRequest(f"{path} is missing") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadRequest(f"{path} holds no private key that can be read without a passphrase") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise BadRequest(f"{path} is not an RSA key")
    return key


def _write_key(directory: Path, key: rsa.RSAPrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    replace_private(directory / _KEY, pem)


def _write_certificate(directory: Path, identity: Identity) -> None:
    replace_private(directory / _CERTIFICATE, identity.certificate.public_bytes(Encoding.PEM))


def _write_chain(directory: Path, bag: CaBag) -> None:
    authorities = [certificate for certificate in bag.certificates if certificate != bag.ra]
    replace_private(directory / _CHAIN, b"".join(certificate.public_bytes(Encoding.PEM) for certificate in authorities))
