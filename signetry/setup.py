"""``signetry init``: from an empty directory to an authority, in steps that can be repeated.

Each step looks whether its result is there already. A run that was interrupted, by anything, is completed by the next one; a run
over a complete installation changes nothing.
"""

import secrets
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tomlkit
from sqlmodel import Session

from ca import hierarchy
from ca.authorisation import CaName
from ca.hierarchy import NewAuthority
from ca.issuance import IssuingAuthority
from ca.keys import KeyAlgorithm
from crl import publication
from foundation.errors import Conflict
from signetry import tls
from signetry.assembly import House, open_house
from signetry.files import write_private
from signetry.settings import Settings, configuration_file

_PASSPHRASE_BYTES = 32


class AlreadyInitialised(Conflict):
    """The installation exists and was made with other choices than those given."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be decided once only, at the beginning."""

    organisation: str = ""
    ca_key: KeyAlgorithm = KeyAlgorithm.RSA3072


def write_configuration(settings: Settings, choices: Choices, *, public_url: str) -> Path | None:
    """Write a first settings file; return where, or None when there is one already, which is never touched."""
    path = configuration_file()
    if path.exists():
        return None
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
    default = tomlkit.table()
    configured = settings.endpoints["default"]
    default.add("issuing_ca", configured.issuing_ca)
    default.add("profiles", list(configured.profiles))
    default.add("renew_after", configured.renew_after)
    endpoints = tomlkit.table(is_super_table=True)
    endpoints.add("default", default)
    document.add("endpoints", endpoints)
    write_private(path, tomlkit.dumps(document).encode())
    return path


def initialise(settings: Settings, choices: Choices) -> House:
    """Create what is missing of an installation and return it, open.

    Raises:
        AlreadyInitialised: there is an authority, and its key is of another kind than the one chosen.
        ConfigurationError: the settings cannot be used.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not settings.key_passphrase_file.exists():
        write_private(settings.key_passphrase_file, secrets.token_hex(_PASSPHRASE_BYTES).encode() + b"\n")
    house = open_house(settings)
    house.database.migrate()
    tls.ensure(settings, house.clock)
    with house.transactions.reading() as session:
        existing = {record.name: record for record in hierarchy.authorities(session)}
    if hierarchy.ISSUING in existing and existing[hierarchy.ISSUING].key_algorithm is not choices.ca_key:
        had = existing[hierarchy.ISSUING].key_algorithm
        raise AlreadyInitialised(f"the issuing CA exists, with a key of kind {had}; a new one comes with signetry ca create")
    house.transactions.write(partial(_create_hierarchy, house, choices))
    house.transactions.write(lambda session: publication.ensure_schedules(session, house.clock.now()))
    house.renew_ra_keys()
    house.publish_crls()
    return house


def _create_hierarchy(house: House, choices: Choices, session: Session) -> None:
    existing = {record.name for record in hierarchy.authorities(session)}
    if hierarchy.ROOT not in existing:
        _create_root(house, choices, session)
    if hierarchy.ISSUING not in existing:
        root = hierarchy.load_authority(session, house.keystore, hierarchy.ROOT, house.settings.public_url)
        hierarchy.create_issuing(
            session,
            house.keystore,
            root,
            _named(house, hierarchy.ISSUING, "Issuing CA", choices.ca_key, choices),
            public_url=house.settings.public_url,
            actor=house.actor,
            now=house.clock.now(),
        )


def _create_root(house: House, choices: Choices, session: Session) -> IssuingAuthority:
    return hierarchy.create_root(
        session,
        house.keystore,
        _named(house, hierarchy.ROOT, "Root CA", hierarchy.root_algorithm(choices.ca_key), choices),
        public_url=house.settings.public_url,
        actor=house.actor,
        now=house.clock.now(),
    )


def _named(house: House, name: CaName, role: str, algorithm: KeyAlgorithm, choices: Choices) -> NewAuthority:
    return NewAuthority(
        name=name,
        common_name=f"{choices.organisation or 'Signetry'} {role}",
        algorithm=algorithm,
        organisation=house.organisation,
    )
