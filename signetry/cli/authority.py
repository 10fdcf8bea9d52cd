"""``signetry init`` and ``signetry ca``: the authorities themselves."""

from functools import partial
from typing import Annotated

import typer
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca import hierarchy
from ca.authorisation import CaName
from ca.constraints import Constraints
from ca.keys import KeyAlgorithm
from foundation.errors import BadRequest, Conflict
from people.addresses import normalise_dns_name
from signetry.assembly import open_house
from signetry.cli.output import JsonFlag, emit_record, emit_rows
from signetry.settings import configuration_file, load_first_settings, load_settings
from signetry.setup import Choices, initialise, write_configuration

app = typer.Typer(no_args_is_help=True, help="The certification authorities.")

_ISSUING_KEYS = ("rsa3072", "rsa2048", "rsa4096", "p256", "p384")
_KEYS_HELP = f"The issuing CA's key: {', '.join(_ISSUING_KEYS)}; the first where it is not said."
_PURPOSES = {"clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH, "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION}
_PURPOSES_HELP = f"Constrain the issuing CA to this extended key usage: {' or '.join(_PURPOSES)}; may be repeated."
_MAIL_DOMAINS_HELP = "Constrain it to mail addresses at this host; with a leading dot, at every host below. May be repeated."
_DNS_DOMAINS_HELP = "Constrain it to DNS names in this domain; may be repeated."


def init(
    *,
    organisation: Annotated[str, typer.Option(help="Named in the authorities' certificates.")] = "",
    ca_key: Annotated[str, typer.Option(help=_KEYS_HELP)] = "",
    public_url: Annotated[str, typer.Option(help="Where phones and relying parties reach the service, without TLS.")] = "",
    purpose: Annotated[list[str], typer.Option(help=_PURPOSES_HELP)] = [],  # noqa: B006 - typer copies it
    mail_domain: Annotated[list[str], typer.Option(help=_MAIL_DOMAINS_HELP)] = [],  # noqa: B006 - as above
    dns_domain: Annotated[list[str], typer.Option(help=_DNS_DOMAINS_HELP)] = [],  # noqa: B006 - as above
    as_json: JsonFlag = False,
) -> None:
    """Create the state directory, its keys, the root and the issuing CA. Running it again completes what is missing.

    Example: signetry init --organisation "Example Ltd" --public-url http://pki.example.com --mail-domain example.com
    """
    if ca_key not in ("", *_ISSUING_KEYS):
        raise BadRequest(f"--ca-key is one of {', '.join(_ISSUING_KEYS)}")
    constraints = _constraints(purpose, mail_domain, dns_domain)
    choices = Choices(organisation.strip(), KeyAlgorithm(ca_key) if ca_key else None, constraints)
    settings = load_first_settings(public_url=public_url or None)
    written = write_configuration(settings, choices, public_url=public_url)
    settings = load_settings()
    if public_url and settings.public_url != public_url.rstrip("/"):
        raise Conflict(
            f"{configuration_file()} is there already: set public_url in it; the next start re-issues the issuing CA for it",
        )
    house = initialise(settings, choices)
    issuing = house.authority(hierarchy.ISSUING)
    emit_record(
        {
            "state": str(settings.home),
            "configuration": str(written or configuration_file()),
            "public_url": settings.public_url,
            "issuing_ca": issuing.certificate.subject.rfc4514_string(),
            "valid_until": issuing.certificate.not_valid_after_utc,
            "next": "signetry serve",
        },
        as_json=as_json,
    )
    house.close()


def _constraints(purposes: list[str], mail_domains: list[str], dns_domains: list[str]) -> Constraints:
    if unknown := [purpose for purpose in purposes if purpose not in _PURPOSES]:
        raise BadRequest(f"--purpose is {' or '.join(_PURPOSES)}, not {unknown[0]}")
    hosts = [(domain[:1] if domain.startswith(".") else "", domain.removeprefix(".")) for domain in mail_domains]
    return Constraints(
        purposes=frozenset(_PURPOSES[purpose] for purpose in purposes),
        mail_domains=tuple(dot + normalise_dns_name(host, field="--mail-domain") for dot, host in hosts),
        dns_domains=tuple(normalise_dns_name(domain, field="--dns-domain") for domain in dns_domains),
    )


@app.command("list")
def list_authorities(*, as_json: JsonFlag = False) -> None:
    """List the authorities, each with its newest certificate."""
    house = open_house()
    with house.transactions.reading() as session:
        records = hierarchy.authorities(session)
    rows = [
        {
            "name": record.name,
            "issuer": record.issuer or "(self)",
            "key": record.key_algorithm,
            "subject": record.subject,
            "serial": record.serial,
            "not_after": record.not_after,
            "revoked_at": record.revoked_at,
        }
        for record in records
    ]
    emit_rows(rows, ("name", "issuer", "key", "subject", "serial", "not_after"), as_json=as_json)


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
        due = hierarchy.is_reissue_due(session, CaName(name), public_url)
    if dry_run:
        emit_record({"authority": name, "public_url": public_url, "due": due}, as_json=as_json)
        return
    authority = house.transactions.write(partial(house.reissue, CaName(name)))
    emit_record(
        {"authority": name, "public_url": public_url, "serial": f"{authority.certificate.serial_number:032x}"},
        as_json=as_json,
    )
