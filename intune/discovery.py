"""Where a tenant's Intune services are: the endpoints of Intune's service principal, by Microsoft Graph, remembered.

Source: facts/mail_profiles.md section 4 (Discovery). The list is asked for again after a day, and whenever a call of one of the
services has failed: they move between Microsoft's scale units.
"""

import threading
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from intune.calls import Call, Calls, JsonObject
from intune.errors import IntuneUnavailable, ServiceNotOffered
from intune.tenant import INTUNE_APP_ID, Tenant
from intune.transport import host_of
from intune.waiting import Deadline, Ticker

_KEPT_SECONDS: Final = 24 * 3600.0
# As many pages as any list of endpoints could have, and no more.
_PAGES: Final = 10


class Discovery:
    """The services of one tenant, shared by all threads."""

    def __init__(self, tenant: Tenant, calls: Calls, ticker: Ticker) -> None:
        self._tenant = tenant
        self._calls = calls
        self._ticker = ticker
        self._lock = threading.Lock()
        self._known: Mapping[str, str] = {}
        self._until = 0.0

    def endpoint(self, service: str, deadline: Deadline) -> str:
        """Return the URL of a service, without a slash at its end.

        Raises:
            ServiceNotOffered: the tenant has none of this name.
            IntuneUnavailable: Microsoft Graph does not tell.
        """
        uri = self.services(deadline).get(service.lower())
        if uri is None:
            self.clear()
            raise ServiceNotOffered(f"the tenant has no service {service}: is Intune licensed there?")
        return uri

    def services(self, deadline: Deadline) -> Mapping[str, str]:
        """Return the URLs of all services by their names in lower case. Raises IntuneUnavailable."""
        if not self._lock.acquire(timeout=deadline.remaining):
            raise IntuneUnavailable(f"{host_of(self._tenant.graph_url)} does not answer in time")
        try:
            if not self._known or self._ticker.now() >= self._until:
                self._known = self._fetched(deadline)
                self._until = self._ticker.now() + _KEPT_SECONDS
            return self._known
        finally:
            self._lock.release()

    def clear(self) -> None:
        """Forget where the services are."""
        # Without the lock: whoever fetches them at this moment gets what is true now.
        self._until = 0.0

    def _fetched(self, deadline: Deadline) -> Mapping[str, str]:
        base = self._tenant.graph_url.rstrip("/")
        url = f"{base}/v1.0/servicePrincipals/appId={INTUNE_APP_ID}/endpoints"
        found: dict[str, str] = {}
        for _ in range(_PAGES):
            page = self._calls.perform(Call("GET", url, self._tenant.graph_scope), deadline)
            found.update(_services_in(page, base))
            following = page.get("@odata.nextLink")
            # Our token for Graph is Graph's alone.
            if not isinstance(following, str) or not following.startswith(f"{base}/"):
                return found
            url = following
        raise IntuneUnavailable(f"{host_of(base)} lists services without end")


def _services_in(page: JsonObject, graph_url: str) -> Mapping[str, str]:
    listed = page.get("value")
    if not isinstance(listed, list):
        raise IntuneUnavailable(f"{host_of(graph_url)} answers with something else than a list of services")
    return {each["providerName"].lower(): each["uri"].rstrip("/") for each in listed if _is_service(each)}


def _is_service(entry: object) -> bool:
    """Say whether an entry of the list names a service; what is none is of no concern here."""
    if not isinstance(entry, dict) or not isinstance(entry.get("providerName"), str) or not isinstance(entry.get("uri"), str):
        return False
    try:
        parts = urlsplit(entry["uri"])
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)
