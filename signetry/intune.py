"""Microsoft Intune as an installation has it configured: the client, the challenge policy, and what is left behind."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata

from cryptography.hazmat.primitives import serialization
from sqlmodel import Session

from ca import revocation
from ca.revocation import RevocationReason
from foundation.errors import SignetryError
from intune.pfx_certificates import PfxCertificates
from intune.scep_validation import ScepValidation
from intune.tenant import ClientCertificate, ClientSecret, Credential, Tenant
from intune.transport import Proxy, Transport
from scep import withheld
from scep.endpoint import ChallengeKind, Endpoint
from scep.policies.intune import Intune
from signetry.errors import ConfigurationError
from signetry.files import read_secret
from signetry.house import House
from signetry.intune_connector import connector
from signetry.intune_settings import IntuneSettings
from signetry.jobs import Job

_MAX_PEM = 65536
# RFC 6761 section 6.4: there is no such domain.
_NOBODY = "signetry-check@nobody.invalid"


def tenant(settings: IntuneSettings) -> Tenant:
    """Return the tenant that the settings name. Its credential is read whenever it is needed.

    Raises:
        ConfigurationError: they name none.
    """
    if not settings.is_configured:
        raise ConfigurationError("intune: tenant_id, client_id and a credential are not set")
    return Tenant(
        tenant_id=settings.tenant_id,
        client_id=settings.client_id,
        credential=partial(_credential, settings),
        caller_info=settings.caller_info or f"Signetry {metadata.version('signetry')}",
        login_url=settings.login_url,
        graph_url=settings.graph_url,
        resource_url=settings.resource_url,
        timeout_seconds=float(settings.timeout_seconds),
    )


def transport(settings: IntuneSettings) -> Transport:
    """Return connections as the settings want them, for the caller to close.

    Raises:
        ConfigurationError: a file they name cannot be used.
    """
    proxy = None
    if settings.proxy:
        password = ""
        if settings.proxy_password_file is not None:
            password = read_secret(settings.proxy_password_file, "intune.proxy_password_file").decode()
        proxy = Proxy(settings.proxy, settings.proxy_user, password)
    try:
        return Transport(ca_file=settings.ca_file, proxy=proxy)
    except OSError:
        # Missing, unreadable, or no certificates in it: ssl says all of it so.
        raise ConfigurationError(f"intune.ca_file: {settings.ca_file} cannot be read, or holds no certificates") from None


def policies(settings: IntuneSettings, endpoints: Iterable[Endpoint]) -> dict[str, Intune]:
    """Return the challenge policies of the endpoints for Intune by the endpoints' names, for the caller to close.

    They share tokens and connections: all of them are one tenant's. Each has one profile, the settings have seen to that.

    Raises:
        ConfigurationError: no tenant is configured, or a file that the settings name cannot be used.
    """
    mine = [endpoint for endpoint in endpoints if endpoint.challenge is ChallengeKind.INTUNE]
    if not mine:
        return {}
    connections = transport(settings)
    validation = ScepValidation.of(tenant(settings), connections)
    return {
        endpoint.name: Intune(validation, profile, close=connections.close) for endpoint in mine for profile in endpoint.profiles
    }


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that enrolments need of Microsoft's cloud, and what was found."""

    step: str
    succeeded: bool
    finding: str


def check(settings: IntuneSettings, *, is_enrolling: bool) -> list[Step]:
    """Try everything that is needed, in its order; the first step that fails is the last one tried.

    For enrolments (``is_enrolling``) Intune is asked about a request that no device has made, and must reject it. Where the
    settings describe a connector, it is asked for the imported certificates of nobody.

    Raises:
        ConfigurationError: no tenant is configured, or a file that the settings name cannot be used.
    """
    configured = tenant(settings)
    steps: list[Step] = []
    with transport(settings) as connections:
        validation = ScepValidation.of(configured, connections)
        attempts: list[tuple[str, Callable[[], str]]] = [("credentials", lambda: _described(configured.credential()))]
        if is_enrolling:
            attempts += [
                ("discovery", validation.locate),
                ("validation", lambda: f"a request that no device has made is rejected: {validation.probe()}"),
            ]
        if settings.connector_key_file is not None:
            certificates = PfxCertificates.of(configured, connections)
            attempts += [
                ("connector", lambda: _connector(settings)),
                ("imported certificates", lambda: _may_import(certificates)),
            ]
        for step, attempt in attempts:
            try:
                steps.append(Step(step, succeeded=True, finding=attempt()))
            except SignetryError as error:
                steps.append(Step(step, succeeded=False, finding=str(error)))
                break
    return steps


def withheld_job(house: House) -> Job:
    """Return the worker's job of revoking what was withheld and nobody came back for."""

    def revoke(session: Session, ids: Sequence[int]) -> None:
        revocation.revoke(
            session,
            ids,
            RevocationReason.CESSATION_OF_OPERATION,
            actor=house.actor,
            now=house.clock.now(),
            listeners=house.revocation_listeners,
        )

    def run() -> int:
        return withheld.revoke_overdue(house.transactions, house.clock, revoke)

    return Job("withheld", run=run, next_due=withheld.next_due)


def _credential(settings: IntuneSettings) -> Credential:
    """Read what proves who we are.

    Raises:
        ConfigurationError: a file is missing, open to everybody, or not what it should be.
    """
    if settings.client_secret_file is not None:
        return ClientSecret(_text(read_secret(settings.client_secret_file, "intune.client_secret_file"), "client_secret_file"))
    assert settings.client_certificate_file is not None and settings.client_key_file is not None  # noqa: S101, PT018 - validated
    certificate = read_secret(
        settings.client_certificate_file, "intune.client_certificate_file", at_most=_MAX_PEM, may_be_open=True
    )
    key = read_secret(settings.client_key_file, "intune.client_key_file", at_most=_MAX_PEM)
    try:
        serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError):
        raise ConfigurationError("intune.client_key_file: it must hold a private key in PEM, without passphrase") from None
    return ClientCertificate(_text(certificate, "client_certificate_file"), _text(key, "client_key_file"))


def _described(credential: Credential) -> str:
    return "a client secret" if isinstance(credential, ClientSecret) else "a client certificate with its key"


def _connector(settings: IntuneSettings) -> str:
    found = connector(settings)
    return f"passphrases are encrypted to its key {found.key_name} of {found.key.public_key.key_size} bits"


def _may_import(certificates: PfxCertificates) -> str:
    certificates.of_user(_NOBODY)
    return "they can be asked for"


def _text(content: bytes, setting: str) -> str:
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ConfigurationError(f"intune.{setting}: it is no text") from None
