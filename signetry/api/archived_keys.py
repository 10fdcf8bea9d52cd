"""``/archived-keys``: PKCS #12 files into the key archive, and what is in it. Private keys never come out here."""

import base64
from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import Field, SecretStr

from pkcs_import.container import MAX_BYTES
from pkcs_import.errors import ContainerTooBig, NotPkcs12
from pkcs_import.import_report import Outcome
from pkcs_import.keeping import Origin
from pkcs_import.purpose import Concern, Purpose
from pkcs_import.sources import Source
from pkcs_import.trust import Trust
from signetry.access.roles import Permission
from signetry.administration import archived_keys
from signetry.administration.pfx_import import importer
from signetry.api.context import Here
from signetry.api.fields import ASKS_FOR_SOMEBODY, TEXT, DryRun, OfPerson, Who
from signetry.api.models import Asked, Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.routing import LENGTHY, body_at_most, router
from signetry.api.security import Caller, requires

routes = router("/archived-keys", "Archived keys")

# In base64, and with what else the body holds.
_BODY_AT_MOST = MAX_BYTES * 4 // 3 + (16 << 10)
_FILE_AT_MOST = MAX_BYTES * 4 // 3 + 4

KeyNumber = Annotated[
    int,
    Path(ge=1, le=2**31 - 1, description="The key's number.", openapi_examples={"seven": {"value": 7}}),
]

_CERTIFICATE = {
    "subject": "CN=Taro Yamada",
    "issuer": "CN=Example Mail CA,O=Example",
    "serial": "4f02a3c1d5e6f708192a3b4c5d6e7f80",
    "sha256": "5f" * 32,
    "not_before": "2024-06-01T12:00:00Z",
    "not_after": "2026-06-01T12:00:00Z",
    "purpose": "encryption",
    "trust": "system",
    "concerns": [],
}
_KEY = {
    "id": 7,
    "person": "taro@corp.example.com",
    "origin": "imported",
    "algorithm": "rsa2048",
    "spki_sha256": "6e" * 32,
    "kept_at": "2026-06-01T12:00:00Z",
    "certificates": [{**_CERTIFICATE, "is_ours": False}],
}


class PfxUpload(Asked):
    """A PKCS #12 file."""

    model_config = with_examples({"file": "MIIKPAIBAzCCCf…", "password": "correct horse", "person": "taro@corp.example.com"})

    file: Annotated[str, Field(min_length=1, max_length=_FILE_AT_MOST, description="The file in base64; up to 1 MiB.")]
    password: Annotated[SecretStr | None, Field(max_length=1024, description="What opens it; it is kept nowhere.")] = None
    person: Annotated[Who | None, Field(description="Whose it is; null for whose mail address is in its certificates.")] = None
    purpose: Annotated[Purpose | None, Field(description="Take only what is for this; null for everything.")] = None
    name: Annotated[str, Field(max_length=255, pattern=TEXT, description="What the answer calls the file.")] = ""


class CertificateInFile(Shown):
    """A certificate over a key of the file."""

    model_config = with_examples({**_CERTIFICATE, "algorithm": "rsa2048"})

    subject: str
    issuer: str
    serial: str
    sha256: str
    algorithm: Annotated[str, Field(description="The key's.")]
    not_before: datetime
    not_after: datetime
    purpose: Purpose
    trust: Annotated[Trust, Field(description="Who vouches for it: our authority, the operating system's roots, or nobody.")]
    concerns: Annotated[tuple[Concern, ...], Field(description="What a key in an archive should not be able to do.")]


class PfxReport(Shown):
    """What became of the file."""

    model_config = with_examples(
        {
            "file": "taro.p12",
            "outcome": "imported",
            "upn": "taro@corp.example.com",
            "notes": [],
            "certificates": [{**_CERTIFICATE, "algorithm": "rsa2048"}],
        }
    )

    file: str
    outcome: Annotated[Outcome, Field(description="`already there` where nothing of it is new.")]
    upn: Annotated[str, Field(description="Whose it is.")]
    notes: Annotated[tuple[str, ...], Field(description="What somebody should look at all the same.")]
    certificates: Annotated[tuple[CertificateInFile, ...], Field(description="Empty where the file was imported before.")]


class ArchivedCertificate(Shown):
    """A certificate over an archived key."""

    model_config = with_examples({**_CERTIFICATE, "is_ours": False})

    subject: str
    issuer: str
    serial: str
    sha256: str
    not_before: datetime
    not_after: datetime
    purpose: Purpose
    trust: Annotated[Trust, Field(description="Who vouched for it when it was kept.")]
    concerns: tuple[Concern, ...]
    is_ours: Annotated[bool, Field(description="Whether our authority issued it.")]


class ArchivedKey(Shown):
    """A key in the archive, of which only the public half is to be seen."""

    model_config = with_examples(_KEY)

    id: int
    person: Annotated[str, Field(description="Its owner's UPN.")]
    origin: Annotated[Origin, Field(description="`made` of a key that was made here.")]
    algorithm: str
    spki_sha256: Annotated[str, Field(description="SHA-256 of the SubjectPublicKeyInfo, in hexadecimal.")]
    kept_at: datetime
    certificates: Annotated[tuple[ArchivedCertificate, ...], Field(description="The latest first.")]


@routes.post("", dependencies=[body_at_most(_BODY_AT_MOST), LENGTHY])
def import_file(
    asked: PfxUpload, caller: Annotated[Caller, requires(Permission.IMPORT_KEYS)], *, dry_run: DryRun = False
) -> PfxReport:
    """Import a PKCS #12 file; importing it again does nothing.

    It is opened in a process of its own, which seals its private keys to the archive. What is wrong with a file that is refused
    stands in `detail`.
    """
    data = _decoded(asked.file)
    password = None if asked.password is None else asked.password.get_secret_value()
    source = Source(1, asked.name, lambda: data, asked.person or "", password, asked.purpose)
    return PfxReport.model_validate(importer(caller.house, dry_run=dry_run).import_one(source))


@routes.get("", responses=ASKS_FOR_SOMEBODY)
def list_all(
    _caller: Annotated[Caller, requires(Permission.READ_ARCHIVED_KEYS)],
    here: Here,
    paging: InPages,
    *,
    person: OfPerson = None,
) -> Page[ArchivedKey]:
    """List archived keys, those kept last first."""
    (before,) = paging.after(int) or (None,)
    with here.transactions.reading() as session:
        found = archived_keys.listed(session, person=person, before=before, limit=paging.one_more)
    return paging.page(found, lambda each: (each.id,), ArchivedKey.model_validate)


@routes.get("/{key_id}")
def show(key_id: KeyNumber, _caller: Annotated[Caller, requires(Permission.READ_ARCHIVED_KEYS)], here: Here) -> ArchivedKey:
    """Show an archived key and the certificates over it."""
    with here.transactions.reading() as session:
        return ArchivedKey.model_validate(archived_keys.show(session, key_id))


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise NotPkcs12("file: it is not base64") from None
    if len(data) > MAX_BYTES:
        raise ContainerTooBig(f"it has more than {MAX_BYTES >> 20} MiB")
    return data
