"""``/authorities``: the certification authorities, their requests, certificates and chains."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Response
from sqlmodel import Session

from ca import hierarchy
from ca.authorisation import CaName
from ca.errors import CertificateAwaited, UnknownAuthority
from ca.export import ChainFormat
from ca.installation import Installation
from ca.reissue import is_reissue_due
from foundation.errors import NotFound
from signetry.access.roles import Permission
from signetry.administration.hierarchy import (
    create_authority,
    export_chain,
    request_for,
)
from signetry.administration.installation import install_certificate
from signetry.api.authority_models import (
    AuthorityAsked,
    AuthorityMade,
    AuthorityShown,
    InstallationAsked,
    InstallationShown,
    Reissued,
)
from signetry.api.context import Here
from signetry.api.fields import AuthorityName, DryRun
from signetry.api.files import Chain, ChainAsPkcs7, Pem, SerializedStore, named
from signetry.api.idempotency import Once
from signetry.api.paging import InPages, Page
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/authorities", "Authorities")


class NoCertificate(NotFound):
    """The authority has no certificate yet."""


@routes.get("")
def list_all(
    _caller: Annotated[Caller, requires(Permission.READ_AUTHORITIES)], here: Here, paging: InPages
) -> Page[AuthorityShown]:
    """List the authorities, ours and those above them, in the order of their names."""
    (after,) = paging.after(str) or ("",)
    with here.transactions.reading() as session:
        found = sorted((each for each in _authorities(session) if each.name > after), key=lambda each: each.name)
    return paging.page(found[: paging.one_more], lambda each: (each.name,), lambda each: each)


@routes.get("/{ca}")
def show(ca: AuthorityName, _caller: Annotated[Caller, requires(Permission.READ_AUTHORITIES)], here: Here) -> AuthorityShown:
    """Show an authority."""
    with here.transactions.reading() as session:
        found = next((each for each in _authorities(session) if each.name == ca), None)
    if found is None:
        raise UnknownAuthority(f"there is no authority {ca!r}")
    return found


@routes.put("/{ca}")
def create(
    ca: AuthorityName, asked: AuthorityAsked, caller: Annotated[Caller, requires(Permission.CHANGE_AUTHORITIES)]
) -> AuthorityMade:
    """Make a further issuing CA. The same order again changes nothing, and finds the one that it made.

    An endpoint of the settings has to name it before it issues anything: the answer says which lines to add.
    """
    made = create_authority(caller.house, asked.order(ca))
    certificate = made.certificate
    return AuthorityMade(
        name=made.name,
        is_new=made.is_new,
        subject=made.subject,
        serial=None if certificate is None else f"{certificate.serial_number:032x}",
        valid_until=None if certificate is None else certificate.not_valid_after_utc,
        request=made.request or None,
        endpoint=made.endpoint or None,
    )


@routes.get("/{ca}/csr", response_class=Pem)
def request(ca: AuthorityName, caller: Annotated[Caller, requires(Permission.CHANGE_AUTHORITIES)]) -> Response:
    """Have a certificate request (PKCS #10, PEM) made over an issuing CA's key, for the authority above it to sign."""
    return Pem(request_for(caller.house, ca), headers=named(f"{ca}.csr"))


@routes.post("/{ca}/install")
def install(
    ca: AuthorityName,
    asked: InstallationAsked,
    caller: Annotated[Caller, requires(Permission.CHANGE_AUTHORITIES)],
    *,
    dry_run: DryRun = False,
) -> InstallationShown:
    """Install the certificate that another authority has made for an issuing CA, with the chain above it up to the root.

    Installing the same again changes nothing.
    """
    files = [file.encode() for file in asked.files]
    return _installed(ca, install_certificate(caller.house, ca, files, dry_run=dry_run), dry_run=dry_run)


@routes.post("/{ca}/reissue", response_model=Reissued)
def reissue(
    ca: AuthorityName,
    caller: Annotated[Caller, requires(Permission.CHANGE_AUTHORITIES)],
    once: Once,
    *,
    dry_run: DryRun = False,
) -> Response:
    """Certify an issuing CA's key again under today's public_url. Its previous certificate stays valid.

    A start of the service does this by itself where public_url has changed.
    """
    house = caller.house

    def act(session: Session) -> Reissued:
        due = is_reissue_due(session, CaName(ca), house.settings.public_url)
        try:
            made = None if dry_run else house.reissue(CaName(ca), session)
        except CertificateAwaited as awaited:
            raise NoCertificate(str(awaited)) from None
        serial = None if made is None else f"{made.certificate.serial_number:032x}"
        return Reissued(authority=ca, public_url=house.settings.public_url, due=due, serial=serial)

    return once.answer(act, status=200)


@routes.get("/{ca}/pem", response_class=Chain)
def download_pem(ca: AuthorityName, caller: Annotated[Caller, requires(Permission.READ_AUTHORITIES)]) -> Response:
    """Download an authority's certificate with those above it as PEM, the root last."""
    return Chain(_chain(caller, ca, ChainFormat.PEM), headers=named(f"{ca}.pem"))


@routes.get("/{ca}/p7c", response_class=ChainAsPkcs7)
def download_p7c(ca: AuthorityName, caller: Annotated[Caller, requires(Permission.READ_AUTHORITIES)]) -> Response:
    """Download an authority's certificate with those above it as a certs-only PKCS #7."""
    return ChainAsPkcs7(_chain(caller, ca, ChainFormat.P7C), headers=named(f"{ca}.p7c"))


@routes.get("/{ca}/sst", response_class=SerializedStore)
def download_sst(ca: AuthorityName, caller: Annotated[Caller, requires(Permission.READ_AUTHORITIES)]) -> Response:
    """Download an authority's certificate with those above it as the serialized store that Exchange Online takes."""
    return SerializedStore(_chain(caller, ca, ChainFormat.SST), headers=named(f"{ca}.sst"))


def _chain(caller: Caller, name: str, form: ChainFormat) -> bytes:
    try:
        return export_chain(caller.house, name, form)
    except CertificateAwaited as awaited:
        # Not an outage: it is not there before somebody has done something about it.
        raise NoCertificate(str(awaited)) from None


def _authorities(session: Session) -> Iterator[AuthorityShown]:
    for record in hierarchy.authorities(session):
        yield AuthorityShown(
            name=record.name,
            issuer=record.issuer,
            is_ours=record.is_ours,
            state=record.standing.value if record.is_ours else None,
            succeeds=record.succeeds,
            key=record.key_algorithm,
            subject=record.subject,
            serial=record.serial,
            not_after=record.not_after,
            revoked_at=record.revoked_at,
        )
    for name in hierarchy.awaiting_certificate(session):
        yield AuthorityShown(name=name, is_awaiting=True, state="awaiting")


def _installed(name: str, done: Installation, *, dry_run: bool) -> InstallationShown:
    own = done.own.certificate
    return InstallationShown(
        authority=name,
        installed=done.changes_something and not dry_run,
        subject=own.subject.rfc4514_string(),
        serial=f"{own.serial_number:032x}",
        valid_until=own.not_valid_after_utc,
        chain=[
            InstallationShown.Member(name=member.name, subject=member.certificate.subject.rfc4514_string())
            for member in done.chain[1:]
        ],
        warnings=list(done.warnings),
    )
