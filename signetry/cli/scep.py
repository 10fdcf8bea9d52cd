"""``signetry scep``: what anybody may ask a SCEP server for, ours or another."""

from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from foundation.errors import BadRequest
from foundation.files import replace_private
from scep.client import ScepClient, named
from scep.client_keys import KeyKind, generate_key, throwaway_signer
from scep.signing import Signer
from signetry.cli.enrolment import Fingerprint, Legacy, Oaep, Url
from signetry.cli.enrolment_folder import EnrolmentFolder
from signetry.cli.output import JsonFlag, emit_json, emit_record

app = typer.Typer(no_args_is_help=True, help="Ask a SCEP server, this one or another, as its clients do.")

As = Annotated[
    Path | None,
    typer.Option(
        "--as", help="Sign with the key and the certificate in this folder of signetry enrol; else with a throwaway key."
    ),
]
Out = Annotated[Path | None, typer.Option(help="Write it to this file, as PEM; else it is printed.")]


@app.command()
def show(url: Url, *, fingerprint: Fingerprint = "", as_json: JsonFlag = False) -> None:
    """Show what a server can do, and its certificates.

    Example: signetry scep show http://127.0.0.1:8080/scep/default
    """
    with ScepClient(url, fingerprint=fingerprint) as client:
        capabilities, bag = client.capabilities(), client.ca_certificates()
    emit_record(
        {
            "capabilities": sorted(capabilities),
            "ca": bag.issuer.subject.rfc4514_string(),
            "ca_fingerprint": bag.fingerprint,
            "ca_not_after": bag.issuer.not_valid_after_utc,
            "ra": bag.ra.subject.rfc4514_string(),
            "ra_fingerprint": bag.ra.fingerprint(hashes.SHA256()).hex(),
            "ra_not_after": bag.ra.not_valid_after_utc,
        },
        as_json=as_json,
    )


@app.command()
def get_cert(
    url: Url,
    serial: Annotated[str, typer.Argument(help="The serial number, in hex.")],
    *,
    identity: As = None,
    out: Out = None,
    fingerprint: Fingerprint = "",
    legacy: Legacy = False,
    oaep: Oaep = False,
    as_json: JsonFlag = False,
) -> None:
    """Get a certificate of the CA by its serial number (GetCert).

    Example: signetry scep get-cert http://127.0.0.1:8080/scep/default 51f0c2e4 --out alice.pem
    """
    number, signer = _number(serial), _signer(identity)
    with ScepClient(url, fingerprint=fingerprint, legacy=legacy, oaep=oaep) as client:
        certificate = client.certificate(client.ca_certificates(), signer, number)
    about = {
        "serial": f"{certificate.serial_number:032x}",
        "subject": certificate.subject.rfc4514_string(),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
    }
    _give(certificate.public_bytes(Encoding.PEM), about, out, as_json=as_json)


@app.command()
def get_crl(
    url: Url,
    *,
    serial: Annotated[str, typer.Option(help="The certificate it is to cover, by its serial number in hex.")] = "",
    identity: As = None,
    out: Out = None,
    fingerprint: Fingerprint = "",
    legacy: Legacy = False,
    oaep: Oaep = False,
    as_json: JsonFlag = False,
) -> None:
    """Get the CA's CRL (GetCRL).

    Example: signetry scep get-crl http://127.0.0.1:8080/scep/default --out issuing.crl.pem
    """
    number = _number(serial) if serial else None
    signer = _signer(identity)
    with ScepClient(url, fingerprint=fingerprint, legacy=legacy, oaep=oaep) as client:
        bag = client.ca_certificates()
        if number is None:
            # Any certificate of this CA will do: the RA's is one, or the CA's own where it is its own RA.
            number = signer.certificate.serial_number if identity else bag.ra.serial_number
        crl = client.crl(bag, signer, number)
    about = {
        "issuer": crl.issuer.rfc4514_string(),
        "this_update": crl.last_update_utc,
        "next_update": crl.next_update_utc,
        "revoked": len(crl),
    }
    _give(crl.public_bytes(Encoding.PEM), about, out, as_json=as_json)


@app.command()
def next_ca(url: Url, *, out: Out = None, fingerprint: Fingerprint = "", as_json: JsonFlag = False) -> None:
    """Get the certificates of the CA that is to follow, as today's signed for them (GetNextCACert).

    Example: signetry scep next-ca http://127.0.0.1:8080/scep/default --out next-ca.pem
    """
    with ScepClient(url, fingerprint=fingerprint) as client:
        certificates = client.next_ca_certificates(client.ca_certificates())
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    if out is not None:
        replace_private(out, pem)
    elif not as_json:
        typer.echo(pem.decode(), nl=False)
        return
    emit_json([_described(certificate) for certificate in certificates]) if as_json else typer.echo(f"written to {out}")


def _described(certificate: x509.Certificate) -> dict[str, object]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "pem": certificate.public_bytes(Encoding.PEM).decode(),
    }


def _give(pem: bytes, about: dict[str, object], out: Path | None, *, as_json: bool) -> None:
    """Write or print what was got, and say what it is."""
    if out is not None:
        replace_private(out, pem)
        emit_record({**about, "file": str(out)}, as_json=as_json)
    elif as_json:
        emit_record({**about, "pem": pem.decode()}, as_json=True)
    else:
        typer.echo(pem.decode(), nl=False)


def _number(serial: str) -> int:
    try:
        return int(serial.replace(":", ""), 16)
    except ValueError:
        raise BadRequest(f"{serial!r} is no serial number in hex") from None


def _signer(folder: Path | None) -> Signer:
    if folder is None:
        return throwaway_signer(generate_key(KeyKind.RSA2048), named("signetry scep"))
    identity = EnrolmentFolder(folder).identity()
    return Signer.of(identity.certificate, identity.private_key)
