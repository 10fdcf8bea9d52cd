"""GetCert and GetCRL: what is on record, given to whoever can name it (RFC 8894 sections 3.3.4 and 3.3.5).

A certificate is asked for by its issuer and its serial number, 128 random bits that only those know who have seen it. Who has
signed the message does not matter: a client that lost its certificate has nothing of ours to sign with. The serial numbers of
revoked certificates stand in the CRL for everybody to read, so these are not given: a certificate holds a person's names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select

from ca.records import Certificate
from foundation.tables import table_of
from foundation.transactions import Transactions
from scep.errors import CrlTooLarge, NothingToGive
from scep.message import MessageType
from scep.queries import IssuerAndSerial, read_issuer_and_serial
from scep.records import Enrolment
from scep.signing import certificates_only, crl_only

QUERIES: Final = frozenset({MessageType.GET_CERT, MessageType.GET_CRL})
# A reply is sealed and signed as a whole, in a thread that others wait for; a file is sent as it is, and caches keep it.
MAX_CRL_BYTES: Final = 4 << 20

_CERTIFICATE = table_of(Certificate)
_ENROLMENT = table_of(Enrolment)


@dataclass(frozen=True, slots=True)
class FoundCrl:
    """An authority's newest CRL, and where it is published; ``der`` is None where it is larger than was asked for."""

    url: str
    der: bytes | None = field(repr=False)


# Returns the newest CRL of an authority of ours, by its number, if it has at most so many bytes; None before its first.
CrlSource = Callable[[int, int], FoundCrl | None]


@dataclass(frozen=True, slots=True)
class Query:
    """A GetCert or GetCRL about authorities of ours: those of that name (there is one), and the serial number."""

    message_type: int
    authority_ids: tuple[int, ...]
    serial_number: int


class Retrieval:
    """The use case behind GetCert and GetCRL.

    Args:
        transactions: the store.
        issuers: gives the numbers of our authorities by their encoded names, from memory (see ``understood``).
        crl: where CRLs are.
    """

    def __init__(self, transactions: Transactions, issuers: Callable[[], Mapping[bytes, Sequence[int]]], crl: CrlSource) -> None:
        self._transactions = transactions
        self._issuers = issuers
        self._crl = crl

    def understood(self, message_type: int, content: bytes) -> Query:
        """Return what the opened envelope of a query asks for.

        That it names an authority of ours is what tells it from bytes that only happen to read: until then nothing may be done
        that takes time, the database included (see ``NothingToGive``).

        Raises:
            MalformedMessage: it holds no query.
            NothingToGive: it names no authority of ours.
        """
        named: IssuerAndSerial = read_issuer_and_serial(content)
        authorities = self._issuers().get(named.issuer_der)
        if not authorities:
            raise NothingToGive
        return Query(message_type, tuple(authorities), named.serial_number)

    def answer(self, query: Query) -> bytes:
        """Return the degenerate SignedData with what a query asks for.

        Raises:
            NothingToGive: there is no such certificate, it is revoked or was never released; or the authority has no CRL yet.
            CrlTooLarge: the CRL does not fit into a message.
            Unavailable: the store is.
        """
        return self._crl_of(query) if query.message_type == MessageType.GET_CRL else self._certificate(query)

    def _certificate(self, query: Query) -> bytes:
        statement = (
            select(_CERTIFICATE.c.der)
            .outerjoin(_ENROLMENT, _ENROLMENT.c.certificate_id == _CERTIFICATE.c.id)
            .where(
                _CERTIFICATE.c.authority_id.in_(query.authority_ids),
                _CERTIFICATE.c.serial == f"{query.serial_number:032x}",
                _CERTIFICATE.c.revoked_at.is_(None),
                _ENROLMENT.c.withheld_until.is_(None),
            )
        )
        with self._transactions.reading() as session:
            der = session.execute(statement).scalars().first()
        if der is None:
            raise NothingToGive
        return certificates_only((bytes(der),))

    def _crl_of(self, query: Query) -> bytes:
        found = next((crl for crl in (self._crl(each, MAX_CRL_BYTES) for each in query.authority_ids) if crl is not None), None)
        if found is None:
            raise NothingToGive
        if found.der is None:
            raise CrlTooLarge(f"the CRL is too large for a message: fetch it from {found.url}")
        return crl_only(found.der)
