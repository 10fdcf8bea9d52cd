"""What CRL publication refuses, in the categories of ``foundation/errors.py``."""

from foundation.errors import Conflict, NotFound, Unavailable


class UnknownIssuer(NotFound):
    """There is no certification authority of this name."""


class NoCrlYet(Unavailable):
    """The authority has not published a CRL; one is about to be built."""


class DefectiveCrl(Conflict):
    """A CRL just built does not say what it was to say; it is not published."""
