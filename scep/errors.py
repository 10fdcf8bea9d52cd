"""The refusals of SCEP enrolment, each with the failInfo a client is told (RFC 8894 section 3.2.1.4)."""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from foundation.errors import BadRequest, NotAuthorised, NotFound, RefusedByPolicy, SignetryError, Unavailable
from scep.algorithms import Digest


class FailInfo(IntEnum):
    """Why a request failed (RFC 8894 section 3.2.1.4)."""

    BAD_ALG = 0
    BAD_MESSAGE_CHECK = 1
    BAD_REQUEST = 2
    BAD_TIME = 3
    BAD_CERT_ID = 4


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a reply repeats of its request. ``digest`` is the request's where that is acceptable, else SHA-256."""

    transaction_id: str
    sender_nonce: bytes | None
    digest: Digest


class ScepRefusal(SignetryError):
    """A message is refused. ``exchange`` is set once its transactionID was read: then the refusal can be a signed FAILURE."""

    fail_info: ClassVar[FailInfo] = FailInfo.BAD_REQUEST

    def __init__(self, message: str, exchange: Exchange | None = None) -> None:
        super().__init__(message)
        self.exchange = exchange


class MalformedMessage(ScepRefusal, BadRequest):
    """The bytes are no SCEP message."""


class BadSignature(ScepRefusal, BadRequest):
    """The signature or the message digest does not hold."""

    fail_info = FailInfo.BAD_MESSAGE_CHECK


class AlgorithmRefused(ScepRefusal, RefusedByPolicy):
    """An algorithm is unknown, too weak, or not switched on at this endpoint."""

    fail_info = FailInfo.BAD_ALG


class EnvelopeUndecryptable(ScepRefusal, BadRequest):
    """The envelope does not open to a certificate request that verifies.

    Always the same words: anybody may sign somebody else's envelope, with some bits changed, and send it again. Which step failed
    would tell them, bit by bit, what is in it (CBC padding oracles; Bleichenbacher).
    """

    fail_info = FailInfo.BAD_MESSAGE_CHECK

    def __init__(self, exchange: Exchange | None = None) -> None:
        super().__init__("the envelope cannot be decrypted, or holds no certificate request that verifies", exchange)


class UnsupportedMessage(ScepRefusal, BadRequest):
    """A message type that is not answered here; refused before anything in the message is acted on (CVE-2026-30836)."""


class ChallengeRefused(ScepRefusal, NotAuthorised):
    """No challenge, or one that is unknown, spent, expired or another endpoint's: the words never say which."""

    def __init__(self) -> None:
        super().__init__("the challenge password is missing or not valid here")


class RenewalRefused(ScepRefusal, NotAuthorised):
    """The certificate that signed the request does not entitle to another one now; the message says why."""


class AnswerExpired(RenewalRefused):
    """The certificate that an identical request got has expired; what lets such a request in still may let it in anew."""

    def __init__(self) -> None:
        super().__init__("the certificate issued to this request has expired")


class UnknownSigner(ScepRefusal, NotAuthorised):
    """A RenewalReq that is not signed with a certificate of this authority."""

    fail_info = FailInfo.BAD_CERT_ID

    def __init__(self) -> None:
        super().__init__("a renewal must be signed with the certificate to be renewed, issued by this authority")


class UnknownRequest(ScepRefusal, NotFound):
    """A CertPoll for a transaction of which nothing is kept here, or which is somebody else's: the words never say which."""

    fail_info = FailInfo.BAD_CERT_ID

    def __init__(self) -> None:
        super().__init__("no request of this transaction waits here; send the request again")


class HolderUnknown(ScepRefusal, NotAuthorised):
    """The names of a request, vouched for elsewhere, are not those of a person or a device of ours; the message says why."""


class NothingToGive(ScepRefusal, NotFound):
    """A GetCert or GetCRL that names nothing that is given here, or whose envelope does not open: the words never say which.

    What a query holds is not signed by those who sealed it, so an answer that told the two apart would be a padding oracle:
    somebody could have a piece of another's request read as the serial number of a query.
    """

    fail_info = FailInfo.BAD_CERT_ID

    def __init__(self, exchange: Exchange | None = None) -> None:
        super().__init__("the envelope cannot be decrypted, or names nothing that is given here", exchange)


class CrlTooLarge(ScepRefusal, RefusedByPolicy):
    """The CRL that was asked for is more than is put into a message; the words say where it is."""


class NoNextCa(NotFound):
    """No successor of the issuing CA is prepared (RFC 8894 section 4.7.1: such a request is rejected)."""


class RequestRejected(ScepRefusal, NotAuthorised):
    """Somebody decided against the request; the message is theirs."""


class CannotWait(ScepRefusal, RefusedByPolicy):
    """A request that would have to wait for a decision, and cannot: too much waits already, or it is too large to be kept."""


class LimitReached(ScepRefusal, RefusedByPolicy):
    """The requester was here too often; the message says when to come back."""


class TooManyRequests(Unavailable):
    """The same from somebody who did not take that for an answer: not worth a signature. ``retry_after`` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests from this address; come back in {retry_after} seconds")
        self.retry_after = retry_after


# --- what our client meets ---


class ServerMisbehaved(SignetryError):
    """The server's answer is malformed, unsigned, or not about what was asked."""


class HttpFailed(ServerMisbehaved):
    """The server answered with an HTTP error."""


class ServerUnreachable(Unavailable):
    """The server does not answer, or not now."""


class ServerLacks(SignetryError):
    """The server does not offer what is asked for, by its own GetCACaps or by how it fails."""


class EnrolmentRefused(SignetryError):
    """The server answered FAILURE; ``fail_info`` and the message are its own."""

    def __init__(self, fail_info: int | None, text: str) -> None:
        name = FailInfo(fail_info).name if fail_info in set(FailInfo) else str(fail_info)
        super().__init__(f"the server refused: {text}" if text else f"the server refused with failInfo {name}")
        self.fail_info = fail_info


class EnrolmentPending(Unavailable):
    """The server answered PENDING: somebody has to approve the request."""
