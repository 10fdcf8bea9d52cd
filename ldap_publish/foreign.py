"""Certificates of other authorities that are published like ours: those over keys that are kept here for their owner.

Whoever has several, has them for several addresses, or one after the other. One whose addresses a newer one has as well is not
current any more.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Select
from sqlmodel import Session

from ldap_publish.directory import Policy


@dataclass(frozen=True, slots=True)
class ForeignCertificate:
    """A person's certificate, for encrypting mail to them, that none of our authorities issued.

    Attributes:
        der: the certificate.
        chain: what is known of the certificates above it, its issuer first.
        serial: its serial number, in hexadecimal.
        key: the SHA-256 of its public key, in hexadecimal.
        addresses: the mail addresses in it.
        not_before, not_after: from when and until when it is in force.
        signed_by: the authority of ours that signs where its value must be signed; None where there is none.
    """

    der: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
    serial: str
    key: str
    addresses: frozenset[str]
    not_before: datetime
    not_after: datetime
    signed_by: int | None = None


@dataclass(frozen=True, slots=True)
class ForeignSource:
    """Where such certificates come from.

    ``certificates`` returns those of each of some persons; ``persons`` the query for everybody who has one that has not expired,
    as ``subject_id``.
    """

    certificates: Callable[[Session, Collection[int]], Mapping[int, Sequence[ForeignCertificate]]]
    persons: Callable[[datetime], Select[tuple[int]]]


def current(
    certificates: Iterable[ForeignCertificate], policy: Policy, now: datetime, *, lost: Collection[str]
) -> list[ForeignCertificate]:
    """Return those of a person's that are published, the oldest first; ``lost`` are the keys that are known to be compromised."""
    in_force = [each for each in certificates if each.not_before <= now < each.not_after and each.key not in lost]
    in_force.sort(key=lambda each: (each.not_before, each.not_after, each.der))
    if policy is Policy.ALL:
        return in_force
    return [
        each
        for place, each in enumerate(in_force, start=1)
        if not any(each.addresses <= newer.addresses for newer in in_force[place:])
    ]
