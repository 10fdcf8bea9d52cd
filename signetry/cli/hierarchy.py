"""``signetry ca create``, ``csr``, ``install`` and ``export``: further issuing CAs, and authorities that are not ours."""

import base64
import sys
from pathlib import Path
from typing import Annotated

import typer

from ca import hierarchy
from ca.export import ChainFormat
from foundation.errors import BadRequest
from foundation.files import replace_private
from signetry.administration.hierarchy import (
    PROFILE_SETS,
    AuthorityOrder,
    chain_of,
    create_authority,
    export_chain,
    request_for,
)
from signetry.administration.installation import install_certificate, settle_in
from signetry.cli.authority import dns_domains_of, key_of, mail_domains_of
from signetry.cli.output import JsonFlag, emit_json, emit_record
from signetry.house import open_house
from signetry.setup import write_request

_SET_HELP = f"What it is for: {', '.join(PROFILE_SETS)}. It is constrained to their purpose where they share one."
_KEYS_HELP = f"Its key: {', '.join(hierarchy.ISSUING_ALGORITHMS)}; without it, of the kind that issuing has."
_MAIL_DOMAINS_HELP = "Constrain it to mail addresses at this host; with a leading dot, at every host below. May be repeated."
_DNS_DOMAINS_HELP = "Constrain it to DNS names in this domain; may be repeated."
_CSR_HELP = "Have somebody else's authority certify it: make a certificate request."
_STDIN = Path("-")

Name = Annotated[str, typer.Argument(metavar="CA", help="The authority's name, such as issuing.")]
OutFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there instead of printing it.")]


def create(
    name: Annotated[str, typer.Argument(help="What it is called in URLs and settings: a-z, 0-9 and inner hyphens.")],
    *,
    profile_set: Annotated[str, typer.Option(help=_SET_HELP)] = "all",
    ca_key: Annotated[str, typer.Option(help=_KEYS_HELP)] = "",
    mail_domain: Annotated[list[str], typer.Option(help=_MAIL_DOMAINS_HELP)] = [],  # noqa: B006 - typer copies it
    dns_domain: Annotated[list[str], typer.Option(help=_DNS_DOMAINS_HELP)] = [],  # noqa: B006 - as above
    csr: Annotated[bool, typer.Option("--csr", help=_CSR_HELP)] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a further issuing CA, and say which endpoint to add to the settings. The same command again changes nothing.

    Example: signetry ca create mail --profile-set mail --mail-domain example.com
    """
    order = AuthorityOrder(
        name=name,
        profile_set=profile_set,
        algorithm=key_of(ca_key),
        mail_domains=mail_domains_of(mail_domain),
        dns_domains=dns_domains_of(dns_domain),
        elsewhere=csr,
    )
    house = open_house()
    house.require_complete()
    made = create_authority(house, order)
    warnings = settle_in(house)
    steps = []
    if made.certificate is None:
        request = write_request(house, made.name, made.request)
        steps.append(f"have {request} signed, then: signetry ca install FILE --name {made.name}")
    if made.endpoint:
        steps += ["add the endpoint below to the settings file", "restart the service, which reads its settings at its start"]
    record: dict[str, object] = {
        "name": made.name,
        "created": made.is_new,
        "subject": made.subject,
        "serial": None if made.certificate is None else f"{made.certificate.serial_number:032x}",
        "valid_until": None if made.certificate is None else made.certificate.not_valid_after_utc,
        "next": "; ".join(steps),
        "warnings": warnings,
    }
    if as_json:
        emit_json({**record, "request": made.request or None, "endpoint": made.endpoint or None})
        return
    emit_record(record, as_json=False)
    if made.endpoint:
        typer.echo(f"\n{made.endpoint}", nl=False)


def csr(name: Name = hierarchy.ISSUING, *, out: OutFile = None, as_json: JsonFlag = False) -> None:
    """Print a certificate request over an issuing CA's key, for the authority above it: the first, or one for renewal."""
    request = request_for(open_house(), name)
    if out is not None:
        replace_private(out, request.encode())
    if as_json:
        emit_json({"authority": name, "request": request, "file": out and str(out)})
    elif out is None:
        typer.echo(request, nl=False)


def install(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The certificate: PEM, DER or PKCS #7; - for standard input.")],
    *,
    name: Annotated[str, typer.Option(help="The issuing CA that it is for.")] = hierarchy.ISSUING,
    chain: Annotated[list[Path], typer.Option(metavar="FILE", help="What is above it; may be repeated.")] = [],  # noqa: B006 - typer copies it
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge it all, and store nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Install the certificate that another authority has made for an issuing CA, with the chain above it up to the root.

    Example: signetry ca install certnew.p7b
    """
    house = open_house()
    house.database.check_schema()
    done = install_certificate(house, name, [_read(each) for each in (file, *chain)], dry_run=dry_run)
    warnings = [*done.warnings]
    if not dry_run:
        warnings += settle_in(house)
    own = done.own.certificate
    emit_record(
        {
            "authority": name,
            "installed": done.changes_something and not dry_run,
            "subject": own.subject.rfc4514_string(),
            "serial": f"{own.serial_number:032x}",
            "valid_until": own.not_valid_after_utc,
            "chain": [f"{member.name} ({member.certificate.subject.rfc4514_string()})" for member in done.chain[1:]],
            "warnings": warnings,
        },
        as_json=as_json,
    )


def export(
    name: Name = hierarchy.ISSUING,
    *,
    form: Annotated[
        ChainFormat, typer.Option("--format", help="pem, p7c (PKCS #7), or sst for Exchange Online.")
    ] = ChainFormat.PEM,
    out: OutFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Export an authority's certificate with those above it, the root last.

    Example: signetry ca export issuing --format sst --out signetry.sst
    """
    house = open_house()
    content = export_chain(house, name, form)
    if out is not None:
        out.write_bytes(content)
        record = {"authority": name, "format": str(form), "file": str(out), "certificates": len(chain_of(house, name))}
        emit_record(record, as_json=as_json)
    elif as_json:
        emit_json({"authority": name, "format": str(form), "base64": base64.b64encode(content).decode()})
    elif form is not ChainFormat.PEM and sys.stdout.isatty():
        raise BadRequest(f"{form} is binary: name a file with --out")
    else:
        sys.stdout.buffer.write(content)


def _read(path: Path) -> bytes:
    return sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
