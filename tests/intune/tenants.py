"""How to reach the strict tenant, and time that passes when somebody waits."""

from dataclasses import dataclass, field

from intune.tenant import ClientSecret, Tenant
from tests.intune.server import CALLER_INFO, CLIENT_ID, CLIENT_SECRET, TENANT, Cloud


@dataclass
class PassingTicker:
    """Time that passes when somebody waits, and never else."""

    seconds: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def now(self) -> float:
        """Return the time."""
        return self.seconds

    def wait(self, seconds: float) -> None:
        """Let it pass."""
        self.waits.append(seconds)
        self.seconds += seconds


def tenant_of(cloud: Cloud, **changes: object) -> Tenant:
    """Return how to reach the tenant."""
    values: dict[str, object] = {
        "tenant_id": TENANT,
        "client_id": CLIENT_ID,
        "credential": lambda: ClientSecret(CLIENT_SECRET),
        "caller_info": CALLER_INFO,
        "login_url": cloud.url,
        "graph_url": cloud.url,
        **changes,
    }
    return Tenant(**values)  # type: ignore[arg-type] # as the class declares them
