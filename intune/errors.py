"""What can go wrong between us and Microsoft's services.

One rule parts them: what Intune says by a code of its own is a verdict and final (``RequestRejected``). Everything else (a
network that is down, a permission that is missing, an answer that is none) is no verdict: the same request may be answered
later, so it is ``Unavailable`` (docs/decisions/0009). The messages say nothing that a phone, which reads them, should not know.
"""

from foundation.errors import BadRequest, NotAuthorised, RefusedByPolicy, Unavailable


class IntuneUnavailable(Unavailable):
    """A service of Microsoft's does not answer, or not as documented."""


class Throttled(IntuneUnavailable):
    """A service wants to be left alone for longer than the caller can wait.

    Attributes:
        seconds: for how long.
    """

    def __init__(self, host: str, seconds: float) -> None:
        super().__init__(f"{host} asks for a pause of {seconds:.0f} seconds")
        self.seconds = seconds


class AccessRefused(IntuneUnavailable):
    """Our credentials or permissions do not do. An administrator can mend that; then the same request succeeds."""


class ServiceNotOffered(IntuneUnavailable):
    """The tenant's list of services does not hold the one that is needed."""


class BadConnectorKey(BadRequest):
    """What should be the public key of Intune's certificate connector is none."""


class BadPassphrase(BadRequest):
    """A passphrase that Intune's certificate connector could not read."""


class GraphRefused(RefusedByPolicy):
    """Microsoft Graph will not do what it was asked; the same would be refused again.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, host: str, status: int, code: str) -> None:
        super().__init__(f"{host} refuses this with HTTP {status}{f' ({code})' if code else ''}")
        self.status = status


class RequestRejected(NotAuthorised):
    """Intune's verdict: the request is not one of its devices', or not as Intune's profile wants it.

    Attributes:
        code: as documented (facts/mail_profiles.md section 4), or ``Unknown`` for any other.
    """

    def __init__(self, code: str) -> None:
        super().__init__(f"Intune rejects this request: {code}")
        self.code = code
