"""A tenant of Microsoft's cloud, and as whom we speak to it (facts/mail_profiles.md section 4)."""

from collections.abc import Callable
from dataclasses import dataclass, field

# Microsoft Intune's own application, the same in every tenant.
INTUNE_APP_ID = "0000000a-0000-0000-c000-000000000000"


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A secret that the app registration was given."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate that the app registration was given, with its key; both in PEM, the key without passphrase."""

    certificate: str
    private_key: str = field(repr=False)


Credential = ClientSecret | ClientCertificate


@dataclass(frozen=True, slots=True)
class Tenant:
    """Where a tenant's services are, and who asks them.

    Attributes:
        tenant_id: the tenant's GUID or one of its domains.
        client_id: the app registration's application ID.
        credential: reads what proves that we are this application; asked anew whenever the proof before was refused. It raises a
            ``SignetryError`` where there is none to be had.
        caller_info: the provider's name and version, as Intune's administrator sees it.
        login_url, graph_url, resource_url: of the cloud that the tenant is in, without a path; the last one names the Intune
            services when a token for them is asked for.
        timeout_seconds: how long one question may take, tokens, discovery and pauses included.
    """

    tenant_id: str
    client_id: str
    credential: Callable[[], Credential]
    caller_info: str
    login_url: str = "https://login.microsoftonline.com"
    graph_url: str = "https://graph.microsoft.com"
    resource_url: str = "https://api.manage.microsoft.com/"
    timeout_seconds: float = 20.0

    @property
    def authority(self) -> str:
        """Who issues the tenant's tokens."""
        return f"{self.login_url.rstrip('/')}/{self.tenant_id}"

    @property
    def graph_scope(self) -> str:
        """What a token for Microsoft Graph is asked for."""
        return f"{self.graph_url.rstrip('/')}/.default"

    @property
    def intune_scope(self) -> str:
        """What a token for the Intune services is asked for; the resource ends with a slash, and another one follows."""
        return f"{self.resource_url.rstrip('/')}//.default"
