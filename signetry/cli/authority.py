"""``signetry init`` and ``signetry ca``: the authorities themselves; what concerns other authorities is in ``cli.hierarchy``."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import ValidationError

from ca import hierarchy
from ca.authorisation import CaName
from ca.constraints import Constraints
from ca.keys import KeyAlgorithm
from ca.reissue import is_reissue_due
from foundation.errors import BadRequest, Conflict
from people.addresses import normalise_dns_name
from signetry.cli.output import JsonFlag, emit_record, emit_rows
from signetry.house import open_house
from signetry.sections import Pkcs11Settings
from signetry.settings import configuration_file, load_first_settings, load_settings
from signetry.setup import Choices, initialise, is_awaiting, write_configuration

app = typer.Typer(no_args_is_help=True, help="The certification authorities.")

_KEYS_HELP = f"The issuing CA's key: {', '.join(hierarchy.ISSUING_ALGORITHMS)}; the first where it is not said."
_PURPOSES = {"clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH, "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION}
_PURPOSES_HELP = f"Constrain the issuing CA to this extended key usage: {' or '.join(_PURPOSES)}; may be repeated."
_MAIL_DOMAINS_HELP = "Constrain it to mail addresses at this host; with a leading dot, at every host below. May be repeated."
_CSR_HELP = "Stand under an existing root: make a certificate request instead of a root, for signetry ca install to complete."
_PKCS11_HELP = "Keep the keys in a hardware security module: the library of its vendor; with --token and --pin-file."
_LABEL_HELP = "The label of the token in it."
_PIN_FILE_HELP = "The file that holds the PIN of the token's user; mode 0600."
_DNS_DOMAINS_HELP = "Constrain it to DNS names in this domain; may be repeated."


def init(  # noqa: PLR0913 - one parameter an option
    *,
    organisation: Annotated[str, typer.Option(help="Named in the authorities' certificates.")] = "",
    ca_key: Annotated[str, typer.Option(help=_KEYS_HELP)] = "",
    public_url: Annotated[str, typer.Option(help="Where phones and relying parties reach the service, without TLS.")] = "",
    purpose: Annotated[list[str], typer.Option(help=_PURPOSES_HELP)] = [],  # noqa: B006 - typer copies it
    mail_domain: Annotated[list[str], typer.Option(help=_MAIL_DOMAINS_HELP)] = [],  # noqa: B006 - as above
    dns_domain: Annotated[list[str], typer.Option(help=_DNS_DOMAINS_HELP)] = [],  # noqa: B006 - as above
    csr: Annotated[bool, typer.Option("--csr", help=_CSR_HELP)] = False,
    pkcs11: Annotated[Path | None, typer.Option(metavar="MODULE", help=_PKCS11_HELP)] = None,
    token: Annotated[str, typer.Option(metavar="LABEL", help=_LABEL_HELP)] = "",
    pin_file: Annotated[Path | None, typer.Option(metavar="FILE", help=_PIN_FILE_HELP)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Create the state directory, its keys, the root and the issuing CA. Running it again completes what is missing.

    Example: signetry init --organisation "Example Ltd" --public-url http://pki.example.com --mail-domain example.com
    Example: signetry init --csr, then signetry ca install certnew.p7b
    Example: signetry init --pkcs11 /usr/lib/softhsm/libsofthsm2.so --token signetry --pin-file pin
    """
    constraints = _constraints(purpose, mail_domain, dns_domain)
    in_token = _token(pkcs11, token, pin_file)
    choices = Choices(organisation.strip(), key_of(ca_key), constraints, under_existing_root=csr, pkcs11=in_token)
    settings = load_first_settings(public_url=public_url or None)
    written = write_configuration(settings, choices, public_url=public_url)
    settings = load_settings()
    if public_url and settings.public_url != public_url.rstrip("/"):
        raise Conflict(
            f"{configuration_file()} is there already: set public_url in it; the next start re-issues the issuing CA for it",
        )
    house = initialise(settings, choices)
    made: dict[str, object] = {
        "state": str(settings.home),
        "configuration": str(written or configuration_file()),
        "public_url": settings.public_url,
        "keys": f"token {settings.pkcs11.token}" if settings.pkcs11.is_configured else str(settings.home / "keys"),
    }
    if is_awaiting(house):
        request = settings.home / f"{hierarchy.ISSUING}.csr"
        made |= {
            "request": str(request),
            "next": f"have {request} signed by the authority above, then: signetry ca install FILE",
        }
    else:
        issuing = house.issuing_now(hierarchy.ISSUING)
        made |= {
            "issuing_ca": issuing.certificate.subject.rfc4514_string(),
            "valid_until": issuing.certificate.not_valid_after_utc,
            "next": "signetry serve",
        }
    emit_record(made, as_json=as_json)
    house.close()


def _token(module: Path | None, label: str, pin_file: Path | None) -> Pkcs11Settings:
    """Return what --pkcs11 and its companions name; relative paths start where the command runs."""
    if len({module is None, not label, pin_file is None}) > 1:
        raise BadRequest("--pkcs11, --token and --pin-file are given together or not at all")
    try:
        return Pkcs11Settings(
            module=module and module.expanduser().absolute(), token=label, pin_file=pin_file and pin_file.expanduser().absolute()
        )
    except ValidationError:
        raise BadRequest("--token is the label of a token: 32 characters at most") from None


def key_of(text: str) -> KeyAlgorithm | None:
    """Return the kind of key that --ca-key names, None where it is not given.

    Raises:
        BadRequest: it is none for an issuing CA.
    """
    if text not in ("", *hierarchy.ISSUING_ALGORITHMS):
        raise BadRequest(f"--ca-key is one of {', '.join(hierarchy.ISSUING_ALGORITHMS)}")
    return KeyAlgorithm(text) if text else None


def mail_domains_of(domains: list[str]) -> tuple[str, ...]:
    """Return what --mail-domain names, in A-labels. Raises BadRequest."""
    hosts = [(domain[:1] if domain.startswith(".") else "", domain.removeprefix(".")) for domain in domains]
    return tuple(dot + normalise_dns_name(host, field="--mail-domain") for dot, host in hosts)


def dns_domains_of(domains: list[str]) -> tuple[str, ...]:
    """Return what --dns-domain names, in A-labels. Raises BadRequest."""
    return tuple(normalise_dns_name(domain, field="--dns-domain") for domain in domains)


def _constraints(purposes: list[str], mail_domains: list[str], dns_domains: list[str]) -> Constraints:
    if unknown := [purpose for purpose in purposes if purpose not in _PURPOSES]:
        raise BadRequest(f"--purpose is {' or '.join(_PURPOSES)}, not {unknown[0]}")
    return Constraints(
        purposes=frozenset(_PURPOSES[purpose] for purpose in purposes),
        mail_domains=mail_domains_of(mail_domains),
        dns_domains=dns_domains_of(dns_domains),
    )


@app.command("list")
def list_authorities(*, as_json: JsonFlag = False) -> None:
    """List the authorities, ours and those above them, each with its newest certificate, and how far a roll-over is."""
    house = open_house()
    with house.transactions.reading() as session:
        records = hierarchy.authorities(session)
        awaited = hierarchy.awaiting_certificate(session)
    rows: list[dict[str, object]] = [
        {
            "name": record.name,
            "issuer": record.issuer or "(self)",
            "is_ours": record.is_ours,
            "state": str(record.standing) if record.is_ours else None,
            "succeeds": record.succeeds,
            "key": record.key_algorithm,
            "subject": record.subject,
            "serial": record.serial,
            "not_after": record.not_after,
            "revoked_at": record.revoked_at,
        }
        for record in records
    ]
    rows += [{"name": name, "issuer": "(awaiting its certificate)", "is_ours": True, "state": "awaiting"} for name in awaited]
    emit_rows(rows, ("name", "issuer", "state", "key", "subject", "serial", "not_after"), as_json=as_json)


@app.command()
def reissue(
    name: Annotated[str, typer.Argument(help="The issuing CA.")] = hierarchy.ISSUING,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say whether its certificate is due for it.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Certify an issuing CA's key again under today's public_url. Its previous certificate stays valid.

    A start of the service does this by itself where public_url has changed.
    """
    house = open_house()
    public_url = house.settings.public_url
    with house.transactions.reading() as session:
        due = is_reissue_due(session, CaName(name), public_url)
    if dry_run:
        emit_record({"authority": name, "public_url": public_url, "due": due}, as_json=as_json)
        return
    authority = house.transactions.write(partial(house.reissue, CaName(name)))
    emit_record(
        {"authority": name, "public_url": public_url, "serial": f"{authority.certificate.serial_number:032x}"},
        as_json=as_json,
    )
