"""What requests about certification authorities say, and what they are told."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from ca.certificate_files import MAX_SIZE
from ca.hierarchy import ISSUING_ALGORITHMS
from ca.keys import KeyAlgorithm
from people.addresses import normalise_dns_name
from signetry.administration.hierarchy import PROFILE_SETS, AuthorityOrder
from signetry.api.models import Asked, Shown, with_examples

_SUBJECT = "CN=Example Issuing CA,O=Example"
_SERIAL = "4f02a3c1d5e6f708192a3b4c5d6e7f80"
_MOST_DOMAINS = 100

Domains = Annotated[list[Annotated[str, Field(min_length=1, max_length=254)]], Field(max_length=_MOST_DOMAINS)]


class AuthorityShown(Shown):
    """An authority, and its newest certificate."""

    model_config = with_examples(
        {
            "name": "issuing",
            "issuer": "root",
            "is_ours": True,
            "is_awaiting": False,
            "state": "active",
            "succeeds": None,
            "key": "rsa3072",
            "subject": _SUBJECT,
            "serial": _SERIAL,
            "not_after": "2031-06-01T12:00:00Z",
            "revoked_at": None,
        }
    )

    name: str
    issuer: Annotated[str | None, Field(description="The authority above it; null of a root, and of one that awaits.")] = None
    is_ours: Annotated[bool, Field(description="Whether its key is here.")] = True
    is_awaiting: Annotated[bool, Field(description="Whether it has a key and no certificate yet.")] = False
    state: Annotated[
        Literal["awaiting", "prepared", "active", "former", "retired"] | None,
        Field(description="How far its roll-over is: exactly one of those that succeed each other is active. Null if not ours."),
    ] = None
    succeeds: Annotated[str | None, Field(description="The issuing CA whose place it takes, or will take.")] = None
    key: str | None = None
    subject: str | None = None
    serial: str | None = None
    not_after: datetime | None = None
    revoked_at: datetime | None = None


class AuthorityAsked(Asked):
    """A further issuing CA."""

    model_config = with_examples(
        {"profile_set": "mail", "mail_domains": ["example.com"]}, {"profile_set": "logon", "elsewhere": True}
    )

    profile_set: Annotated[
        str,
        WithJsonSchema({"type": "string", "enum": list(PROFILE_SETS)}),
        Field(description="What it is for. It is constrained to their purpose where they share one."),
    ] = "all"
    key: Annotated[
        KeyAlgorithm | None,
        WithJsonSchema({"anyOf": [{"type": "string", "enum": list(map(str, ISSUING_ALGORITHMS))}, {"type": "null"}]}),
        Field(description="Its key; without it, of the kind that `issuing` has."),
    ] = None
    mail_domains: Domains = Field(
        default=[], description="Constrain it to mail addresses at these hosts; with a leading dot, at every host below."
    )
    dns_domains: Domains = Field(default=[], description="Constrain it to DNS names in these domains.")
    elsewhere: Annotated[
        bool, Field(strict=True, description="Whether somebody else's authority is to certify it: a request is made.")
    ] = False

    def order(self, name: str) -> AuthorityOrder:
        """Return the order for an authority of this name."""
        return AuthorityOrder(
            name=name,
            profile_set=self.profile_set,
            algorithm=self.key,
            mail_domains=tuple(
                "." * domain.startswith(".") + normalise_dns_name(domain.removeprefix("."), field="mail_domains")
                for domain in self.mail_domains
            ),
            dns_domains=tuple(normalise_dns_name(domain, field="dns_domains") for domain in self.dns_domains),
            elsewhere=self.elsewhere,
        )


class AuthorityMade(Shown):
    """What became of an order for an issuing CA."""

    model_config = with_examples(
        {
            "name": "mail",
            "is_new": True,
            "subject": "CN=Example Mail CA,O=Example",
            "serial": _SERIAL,
            "valid_until": "2031-06-01T12:00:00Z",
            "request": None,
            "endpoint": '[endpoints.mail]\nissuing_ca = "mail"\nprofiles = ["smime-signing"]\n',
        }
    )

    name: str
    is_new: Annotated[bool, Field(description="False where the same order had been carried out before.")]
    subject: str
    serial: str | None
    valid_until: datetime | None
    request: Annotated[str | None, Field(description="The certificate request (PEM) for somebody else's authority to sign.")]
    endpoint: Annotated[
        str | None, Field(description="What to add to the settings, where no endpoint names it yet; then restart the service.")
    ]


class InstallationAsked(Asked):
    """The certificate that somebody else's authority has made, and what is above it."""

    model_config = with_examples({"files": ["-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n"]})

    files: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_SIZE)]],
        Field(min_length=1, max_length=16, description="Each as PEM, or as base64 of DER or PKCS #7; in any order."),
    ]


class InstallationShown(Shown):
    """What installing came to."""

    model_config = with_examples(
        {
            "authority": "issuing",
            "installed": True,
            "subject": _SUBJECT,
            "serial": _SERIAL,
            "valid_until": "2031-06-01T12:00:00Z",
            "chain": [{"name": "root", "subject": "CN=Example Root CA,O=Example"}],
            "warnings": [],
        }
    )

    class Member(Shown):
        """An authority above."""

        name: str
        subject: str

    authority: str
    installed: Annotated[bool, Field(description="False in a dry run, and where all of it was there.")]
    subject: str
    serial: str
    valid_until: datetime
    chain: Annotated[list[Member], Field(description="What is above it, the root last.")]
    warnings: list[str]


class Reissued(Shown):
    """What certifying an issuing CA again came to."""

    model_config = with_examples({"authority": "issuing", "public_url": "http://pki.example.com", "due": True, "serial": _SERIAL})

    authority: str
    public_url: str
    due: Annotated[bool, Field(description="Whether its certificate pointed at an earlier public_url.")]
    serial: Annotated[str | None, Field(description="Of the new certificate; null in a dry run.")]
