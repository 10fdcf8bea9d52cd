"""The imported PKCS #12 files of a tenant, as Microsoft Graph keeps them: ``deviceManagement/userPfxCertificates``.

Source: facts/mail_profiles.md section 5. The application needs the permission DeviceManagementConfiguration.ReadWrite.All.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, Self

from intune.calls import Calls
from intune.errors import IntuneUnavailable
from intune.graph import Graph
from intune.imported_pfx import ImportedPfx, Listed, is_id
from intune.tenant import Tenant
from intune.tokens import Tokens
from intune.transport import Transport

_VERSION: Final = "beta"
_COLLECTION: Final = "deviceManagement/userPfxCertificates"


class PfxCertificates:
    """Every imported file of a tenant. All methods raise GraphRefused, and IntuneUnavailable where Graph cannot be asked."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    @classmethod
    def of(cls, tenant: Tenant, transport: Transport, *, patience_seconds: float = 0.0) -> Self:
        """Return those of ``tenant``, with tokens of their own; see ``Graph`` for the patience."""
        calls = Calls(transport, Tokens(tenant, transport))
        return cls(Graph(tenant, calls, transport.ticker, version=_VERSION, patience_seconds=patience_seconds))

    def everything(self) -> Iterator[Listed]:
        """Yield the files of all users."""
        return map(Listed.of, self._graph.listed(_COLLECTION))

    def of_user(self, upn: str) -> list[Listed]:
        """Return the files of one user."""
        # A quote within a text is written twice (OData 4.01 URL conventions, section 5.1.1.6.1).
        wanted = upn.lower().replace("'", "''")
        return [Listed.of(each) for each in self._graph.listed(_COLLECTION, where=f"tolower(userPrincipalName) eq '{wanted}'")]

    def find(self, number: str) -> Listed | None:
        """Return the file that Graph calls so; None where there is none."""
        found = self._graph.get(_path(number))
        return None if found is None else Listed.of(found)

    def create(self, pfx: ImportedPfx, now: datetime) -> str:
        """Add a file; return what Graph calls it."""
        # The service makes the number; an empty one says so.
        created = self._graph.create(_COLLECTION, {"id": "", **pfx.document(now)}).get("id")
        if not is_id(created):
            raise IntuneUnavailable("Microsoft Graph does not say what it calls the imported certificate")
        return str(created)

    def replace(self, number: str, pfx: ImportedPfx, now: datetime) -> None:
        """Put a file in the place of the one that Graph calls so, which is over the same certificate."""
        self._graph.update(_path(number), pfx.document(now))

    def delete(self, number: str) -> bool:
        """Delete the file that Graph calls so; return whether there was one."""
        return self._graph.delete(_path(number))


def _path(number: str) -> str:
    return f"{_COLLECTION}('{number}')"
