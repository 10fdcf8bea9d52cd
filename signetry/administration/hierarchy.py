"""Further issuing CAs, under our root or somebody else's, and their chains as files for others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import tomlkit
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import Session

from ca import hierarchy, rows
from ca.authorisation import CaName, ProfileName
from ca.authority_certificates import authority_name
from ca.constraints import Constraints, constraints_of
from ca.errors import AuthorityExists, BadAuthorityName, ForeignAuthority
from ca.export import ChainFormat, exported
from ca.hierarchy import ISSUING, ROOT, NewAuthority
from ca.keys import KeyAlgorithm
from ca.profiles import (
    DEVICE,
    IDENTITY,
    PERSON_PROFILES,
    SMIME_DUAL,
    SMIME_ENCRYPTION,
    SMIME_SIGNING,
    profile_named,
)
from ca.rows import chain_above, current_certificate, find_row, row_named
from ca.subject import COMMON_NAME_BYTES
from crl import publication
from foundation.errors import BadRequest
from signetry.house import House
from signetry.sections import is_name

DEFAULT_KEY = KeyAlgorithm.RSA3072
# ``mail-all-in-one`` is mail and log-on at once, so it belongs to neither half: log-on certificates need their CA in NTAuth, and
# a mail CA should not be there (design.md section 3).
PROFILE_SETS: Mapping[str, tuple[ProfileName, ...]] = {
    "mail": (SMIME_SIGNING.name, SMIME_ENCRYPTION.name, SMIME_DUAL.name),
    "logon": (IDENTITY.name,),
    "device": (DEVICE.name,),
    "all": PERSON_PROFILES,
}


@dataclass(frozen=True, slots=True)
class AuthorityOrder:
    """A further issuing CA.

    Attributes:
        name: what it is called in URLs and settings.
        profile_set: one of ``PROFILE_SETS``; it is constrained to their purposes where they have the same.
        algorithm: of its key; that of the CA ``issuing`` where it is not said.
        mail_domains: as in ``ca.constraints.Constraints``.
        dns_domains: as there.
        elsewhere: somebody else's authority is to certify it: a request is made, and that authority decides its limits.

    Raises:
        BadRequest: the name or the set cannot be, or limits are given that somebody else decides.
    """

    name: str
    profile_set: str
    algorithm: KeyAlgorithm | None = None
    mail_domains: tuple[str, ...] = ()
    dns_domains: tuple[str, ...] = ()
    elsewhere: bool = False

    def __post_init__(self) -> None:
        if not is_name(self.name) or self.name == ROOT or self.name.endswith("-delta"):
            # /crl/NAME-delta.crl is where the delta CRL of NAME is.
            raise BadAuthorityName(
                "an issuing CA's name consists of a-z, 0-9 and inner hyphens, 60 characters at most; it is not root and does not "
                "end in -delta"
            )
        if self.profile_set not in PROFILE_SETS:
            raise BadRequest(f"the profile set is one of {', '.join(PROFILE_SETS)}")
        if self.elsewhere and (self.mail_domains or self.dns_domains):
            raise BadRequest("whoever certifies the request decides its domains: leave them out")

    @property
    def constraints(self) -> Constraints:
        """What its certificate will be limited to."""
        purposes = {frozenset(profile_named(name).extended_key_usage or ()) for name in PROFILE_SETS[self.profile_set]}
        shared = purposes.pop() if len(purposes) == 1 else frozenset[x509.ObjectIdentifier]()
        return Constraints(shared, self.mail_domains, self.dns_domains)


@dataclass(frozen=True, slots=True)
class Ordered:
    """What became of an order: the CA, its certificate or the request for one (PEM), and the settings that use it.

    ``is_new`` is False where the same order had been carried out before. ``endpoint`` is TOML, empty where an endpoint names the
    CA already.
    """

    name: CaName
    is_new: bool
    subject: str
    certificate: x509.Certificate | None = field(repr=False)
    request: str = field(repr=False)
    endpoint: str


def create_authority(house: House, order: AuthorityOrder) -> Ordered:
    """Make an issuing CA; the same order again finds the one that it made.

    Its first CRL is due at once, and the worker gives it an RA key once an endpoint of the running service names it.

    Raises:
        AuthorityExists: there is one of this name, made otherwise.
        ForeignAuthority: the root is somebody else's, so only a request can be made.
    """
    return house.transactions.write(partial(_create, house, order))


def request_for(house: House, name: str) -> str:
    """Return a certificate request (PEM) over an issuing CA's key, for the authority above it to sign.

    Raises:
        UnknownAuthority: there is no issuing CA of this name.
        ForeignAuthority, KeyUnavailable: its key is not ours, or cannot be opened.
    """
    with house.transactions.reading() as session:
        return request_in(house, session, CaName(name))


def export_chain(house: House, name: str, form: ChainFormat) -> bytes:
    """Return an authority's current certificate and those above it as one file.

    Raises:
        UnknownAuthority, CertificateAwaited: there is no such authority, or it has no certificate in force.
    """
    return exported(chain_of(house, name), form)


def chain_of(house: House, name: str) -> tuple[bytes, ...]:
    """Return an authority's current certificate and those above it in DER. Raises as ``export_chain``."""
    with house.transactions.reading() as session:
        row = row_named(session, CaName(name))
        return (current_certificate(session, row).der, *chain_above(session, row))


def new_authority(house: House, name: CaName, algorithm: KeyAlgorithm, constraints: Constraints) -> NewAuthority:
    """Return what an authority of this installation is to be made as.

    Its names come from the settings, not from a command line: a second run completes the first without being told again. The
    second of a lineage, ``issuing-2``, is the "Issuing CA 2".
    """
    base, _, number = name.rpartition("-")
    base, number = (base, f" {number}") if base and number.isdecimal() else (name, "")
    role = "Root CA" if name == ROOT else f"{base.replace('-', ' ').title()} CA{number}"
    common_name = f"{house.settings.organisation.name or 'Signetry'} {role}"
    if len(common_name.encode()) > COMMON_NAME_BYTES:
        # The organisation stands in the name beside it.
        common_name = role
    return NewAuthority(name, common_name, algorithm, house.organisation, constraints)


def endpoint_block(name: str, profiles: Sequence[str]) -> str:
    """Return the section of the settings file for an endpoint that issues ``profiles`` from the CA ``name``."""
    endpoint = tomlkit.table()
    endpoint.add("issuing_ca", name)
    endpoint.add("profiles", list(profiles))
    endpoints = tomlkit.table(is_super_table=True)
    endpoints.add(name, endpoint)
    document = tomlkit.document()
    document.add("endpoints", endpoints)
    return tomlkit.dumps(document)


def _create(house: House, order: AuthorityOrder, session: Session) -> Ordered:
    name = CaName(order.name)
    rows.lock_authorities(session)
    is_new = find_row(session, name) is None
    if is_new:
        new = new_authority(house, name, order.algorithm or _usual_key(session), Constraints())
        if order.elsewhere:
            hierarchy.create_awaiting(session, house.keystore, new, actor=house.actor, now=house.clock.now())
        else:
            _create_under_root(house, session, new, order.constraints)
            publication.ensure_schedules(session, house.clock.now())
    else:
        _require_same(session, order)
    certificate = rows.newest_or_none(session, row_named(session, name))
    request = request_in(house, session, name) if certificate is None else ""
    subject = (x509.load_pem_x509_csr(request.encode()) if certificate is None else certificate).subject
    used = any(endpoint.issuing_ca == name for endpoint in house.endpoints.values())
    return Ordered(
        name=name,
        is_new=is_new,
        subject=subject.rfc4514_string(),
        certificate=certificate,
        request=request,
        endpoint="" if used else endpoint_block(name, PROFILE_SETS[order.profile_set]),
    )


def _create_under_root(house: House, session: Session, new: NewAuthority, constraints: Constraints) -> None:
    try:
        root = hierarchy.load_authority(session, house.keystore, ROOT, house.settings.public_url)
    except ForeignAuthority:
        raise ForeignAuthority(
            "the root is not ours, so it cannot certify another authority here: make a request with --csr, have it signed there, "
            "and install what comes back"
        ) from None
    hierarchy.create_issuing(
        session,
        house.keystore,
        root,
        NewAuthority(new.name, new.common_name, new.algorithm, new.organisation, constraints),
        public_url=house.settings.public_url,
        actor=house.actor,
        now=house.clock.now(),
        listeners=house.issuance_listeners,
    )


def _require_same(session: Session, order: AuthorityOrder) -> None:
    """Return if an earlier order like this one made the CA that is there."""
    row = row_named(session, CaName(order.name))
    if row.succeeds_id is not None:
        raise AuthorityExists(
            f"{order.name!r} was made by a roll-over, as the successor of another: endpoints go on naming that one"
        )
    above = rows.issuer_of(session, row)
    is_elsewhere = above is None or above.key_reference is None
    certificate = rows.newest_or_none(session, row)
    same_limits = is_elsewhere or certificate is None or constraints_of(certificate) == order.constraints
    if row.key_reference is None or is_elsewhere != order.elsewhere or not same_limits:
        raise AuthorityExists(f"there is already an authority {order.name!r}, made otherwise")
    if order.algorithm not in (None, row.key_algorithm):
        raise AuthorityExists(f"there is already an authority {order.name!r}, with a key of kind {row.key_algorithm}")


def _usual_key(session: Session) -> KeyAlgorithm:
    issuing = find_row(session, ISSUING)
    return DEFAULT_KEY if issuing is None else KeyAlgorithm(issuing.key_algorithm)


def request_in(house: House, session: Session, name: CaName) -> str:
    """Return what ``request_for`` does, from the transaction of ``session``."""
    algorithm = KeyAlgorithm(row_named(session, name).key_algorithm)
    new = new_authority(house, name, algorithm, Constraints())
    subject = authority_name(new.common_name, new.organisation)
    request = hierarchy.certificate_request(session, house.keystore, name, subject)
    return request.public_bytes(Encoding.PEM).decode()
