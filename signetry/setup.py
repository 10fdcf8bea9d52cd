"""``signetry init``: from an empty directory to an authority, in steps that can be repeated.

Each step looks whether its result is there already. A run that was interrupted, by anything, is completed by the next one; a run
over a complete installation changes nothing.
"""

import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import tomlkit
from cryptography import x509
from sqlmodel import Session

from ca import hierarchy
from ca.authorisation import CaName
from ca.constraints import Constraints, constraints_of, permits_purposes
from ca.hierarchy import AuthorityRecord
from ca.issuance import IssuingAuthority
from ca.keys import KeyAlgorithm
from ca.profiles import profile_named
from ca.rows import row_named
from crl import publication
from foundation.errors import BadRequest, Conflict, Unavailable
from foundation.files import create_private, replace_private
from signetry import tls
from signetry.administration import archive
from signetry.administration.hierarchy import DEFAULT_KEY, new_authority, request_for
from signetry.endpoint_settings import EndpointSettings
from signetry.house import House, open_house
from signetry.keystores import token_keystore
from signetry.sections import Pkcs11Settings
from signetry.settings import Settings, configuration_file

_PASSPHRASE_BYTES = 32
_ORGANISATION_CHARACTERS = 64


class AlreadyInitialised(Conflict):
    """The installation exists and was made with other choices than those given."""


class PassphraseMissing(Unavailable):
    """There are keys, and the file with their passphrase is gone: another one would not open them."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be decided once only, at the beginning; what is empty or None was not decided.

    Raises:
        BadRequest: the organisation's name cannot stand in a certificate, or limits are chosen that somebody else decides.
    """

    organisation: str = ""
    ca_key: KeyAlgorithm | None = None
    constraints: Constraints = field(default=Constraints())
    # Somebody else's authority is to certify the issuing CA; there will be no root of ours.
    under_existing_root: bool = False
    # The token that is to keep the keys; without one, files do.
    pkcs11: Pkcs11Settings = field(default=Pkcs11Settings())

    def __post_init__(self) -> None:
        if self.under_existing_root and self.constraints != Constraints():
            raise BadRequest("whoever certifies the request decides its limits: leave --purpose and the domains out")
        if len(self.organisation) > _ORGANISATION_CHARACTERS:
            raise BadRequest(f"the organisation's name has {_ORGANISATION_CHARACTERS} characters at most")
        if not self.organisation.isprintable():
            raise BadRequest("the organisation's name holds characters that cannot be printed")


def write_configuration(settings: Settings, choices: Choices, *, public_url: str) -> Path | None:
    """Write a first settings file; return where, or None when there is one already, which is never touched.

    Raises:
        TokenUnavailable: the token that is to keep the keys cannot be used; nothing is written.
    """
    path = configuration_file()
    if path.exists():
        return None
    if choices.pkcs11.is_configured:
        _require_token(settings, choices.pkcs11)
    document = tomlkit.document()
    document.add(tomlkit.comment("Every setting is described in docs/settings.md."))
    if public_url:
        document.add("public_url", tomlkit.item(public_url))
    else:
        document.add(
            tomlkit.comment("The address at which phones and relying parties reach this service; it goes into certificates.")
        )
        document.add(tomlkit.comment(f'public_url = "{settings.public_url}"'))
    if choices.organisation:
        organisation = tomlkit.table()
        organisation.add("name", choices.organisation)
        document.add("organisation", organisation)
    if choices.pkcs11.is_configured:
        token = tomlkit.table()
        for name, value in choices.pkcs11.model_dump(mode="json").items():
            token.add(name, value)
        document.add("pkcs11", token)
    default = tomlkit.table()
    configured = settings.endpoints.get("default", EndpointSettings())
    default.add("issuing_ca", configured.issuing_ca)
    default.add("profiles", _issuable(configured.profiles, choices.constraints))
    default.add("renew_after", configured.renew_after)
    default.add("legacy", configured.legacy)
    default.add("museum", configured.museum)
    endpoints = tomlkit.table(is_super_table=True)
    endpoints.add("default", default)
    document.add("endpoints", endpoints)
    replace_private(path, tomlkit.dumps(document).encode())
    return path


def _require_token(settings: Settings, chosen: Pkcs11Settings) -> None:
    """Return if the token can be used: what the settings file says once, a second run does not change."""
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    keystore = token_keystore(settings, chosen)
    try:
        keystore.facts()
    finally:
        keystore.close()


def _issuable(profiles: Iterable[str], constraints: Constraints) -> list[str]:
    return [name for name in profiles if permits_purposes(constraints.purposes, profile_named(name).extended_key_usage)]


def initialise(settings: Settings, choices: Choices) -> House:
    """Create what is missing of an installation and return it, open.

    Raises:
        AlreadyInitialised: there is an authority, made for another organisation, with another kind of key or other
            constraints than those chosen.
        PassphraseMissing: there are keys without their passphrase.
        ConfigurationError: the settings cannot be used.
    """
    configured = settings.organisation.name
    if choices.organisation and choices.organisation != configured:
        raise AlreadyInitialised(
            f"{configuration_file()} is there already: set organisation.name in it, or leave --organisation out"
        )
    if choices.pkcs11.is_configured and choices.pkcs11 != settings.pkcs11:
        raise AlreadyInitialised(
            f"{configuration_file()} is there already, and names another place for the keys, or none but files; they stay where "
            "they were made: leave --pkcs11, --token and --pin-file out"
        )
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _ensure_passphrase(settings)
    house = open_house(settings)
    try:
        _complete(house, choices)
    except BaseException:
        house.close()
        raise
    return house


def _ensure_passphrase(settings: Settings) -> None:
    path = settings.key_passphrase_file
    if path.exists():
        return
    if any((settings.home / "keys").glob("*.key")):
        raise PassphraseMissing(f"key_passphrase_file: {path} is missing, and {settings.home / 'keys'} holds keys; restore it")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Another run may have written it meanwhile: then both work with that one.
    with suppress(FileExistsError):
        create_private(path, secrets.token_hex(_PASSPHRASE_BYTES).encode() + b"\n")


def _complete(house: House, choices: Choices) -> None:
    house.database.migrate()
    tls.ensure(house.settings, house.clock)
    house.transactions.write(partial(_create_hierarchy, house, choices))
    house.transactions.write(lambda session: publication.ensure_schedules(session, house.clock.now()))
    archive.ensure_key(house)
    if is_awaiting(house):
        write_request(house, hierarchy.ISSUING, request_for(house, hierarchy.ISSUING))
        return
    house.renew_ra_keys()
    house.publish_crls()


def is_awaiting(house: House) -> bool:
    """Say whether the issuing CA waits for a certificate from somebody else's authority."""
    with house.transactions.reading() as session:
        return hierarchy.ISSUING in hierarchy.awaiting_certificate(session)


def write_request(house: House, name: CaName, request: str) -> Path:
    """Keep the certificate request of an authority where the administrator finds it; return where."""
    path = house.settings.home / f"{name}.csr"
    replace_private(path, request.encode())
    return path


def _create_hierarchy(house: House, choices: Choices, session: Session) -> None:
    existing = {record.name: record for record in hierarchy.authorities(session)}
    issuing = existing.get(hierarchy.ISSUING)
    awaited = hierarchy.awaiting_certificate(session)
    algorithm = choices.ca_key or DEFAULT_KEY
    if issuing is not None:
        _require_same(issuing, existing, choices)
    elif hierarchy.ISSUING in awaited:
        _require_same_request(session, choices)
    elif choices.under_existing_root:
        new = new_authority(house, hierarchy.ISSUING, algorithm, Constraints())
        hierarchy.create_awaiting(session, house.keystore, new, actor=house.actor, now=house.clock.now())
    else:
        root = _create_root(house, hierarchy.root_algorithm(algorithm), session)
        hierarchy.create_issuing(
            session,
            house.keystore,
            root,
            new_authority(house, hierarchy.ISSUING, algorithm, choices.constraints),
            public_url=house.settings.public_url,
            actor=house.actor,
            now=house.clock.now(),
            listeners=house.issuance_listeners,
        )


def _require_same_request(session: Session, choices: Choices) -> None:
    if not choices.under_existing_root:
        raise AlreadyInitialised(
            "the issuing CA was made to stand under an existing root and waits for its certificate: run signetry ca install FILE "
            "(signetry ca csr issuing prints its request)"
        )
    made = row_named(session, hierarchy.ISSUING).key_algorithm
    if choices.ca_key not in (None, made):
        raise AlreadyInitialised(f"the issuing CA has a key of kind {made} already; leave --ca-key out")


def _require_same(issuing: AuthorityRecord, existing: Mapping[CaName, AuthorityRecord], choices: Choices) -> None:
    if choices.under_existing_root and issuing.issuer is not None and existing[issuing.issuer].is_ours:
        raise AlreadyInitialised(
            "the issuing CA stands under a root of its own already; signetry ca csr issuing makes a request for another authority"
        )
    if choices.ca_key not in (None, issuing.key_algorithm):
        raise AlreadyInitialised(f"the issuing CA exists, with a key of kind {issuing.key_algorithm}; leave --ca-key out")
    limits = constraints_of(x509.load_der_x509_certificate(issuing.certificate_der))
    if choices.constraints not in (Constraints(), limits):
        raise AlreadyInitialised("the issuing CA exists, with other constraints; leave --purpose and the domains out")


def _create_root(house: House, algorithm: KeyAlgorithm, session: Session) -> IssuingAuthority:
    return hierarchy.create_root(
        session,
        house.keystore,
        new_authority(house, hierarchy.ROOT, algorithm, Constraints()),
        public_url=house.settings.public_url,
        actor=house.actor,
        now=house.clock.now(),
        listeners=house.issuance_listeners,
    )
