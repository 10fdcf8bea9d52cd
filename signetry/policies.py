"""The challenge policy of every endpoint, put together from the settings; each is a module of ``scep.policies``."""

from collections.abc import Mapping

from scep.challenge import digest
from scep.endpoint import ChallengeKind
from scep.policies.approval import Approval
from scep.policies.constraints import Pattern
from scep.policies.one_time import OneTime
from scep.policies.static import Static, StaticRules
from scep.policies.webhook import Webhook, WebhookRules
from scep.policies.webhook_client import WebhookAddress, WebhookClient
from scep.policies.webhook_messages import read_key
from scep.policy import ChallengePolicy
from signetry import intune
from signetry.errors import ConfigurationError
from signetry.house import House
from signetry.policy_settings import StaticSettings, WebhookSettings
from signetry.secret_files import SecretFile


def policies(house: House) -> dict[str, ChallengePolicy]:
    """Return the challenge policy of each endpoint by the endpoint's name.

    Raises:
        ConfigurationError: what one needs is missing or cannot be used.
    """
    of_intune = intune.policies(house.settings.intune, house.endpoints.values())
    return {name: of_intune.get(name) or _policy(house, name) for name in house.endpoints}


def close(configured: Mapping[str, ChallengePolicy]) -> None:
    """Close the connections that policies keep."""
    for policy in configured.values():
        policy.close()


def _policy(house: House, name: str) -> ChallengePolicy:
    kind = house.endpoints[name].challenge
    match kind:
        # What the NDES page hands out is a one-time challenge like any other; who mints it, and how it looks, is signetry.ndes.
        case ChallengeKind.ONE_TIME | ChallengeKind.NDES:
            return OneTime()
        case ChallengeKind.APPROVAL:
            return Approval()
        case ChallengeKind.STATIC:
            return _static(name, house.settings.endpoints[name].static)
        case ChallengeKind.WEBHOOK:
            return _webhook(house, name, house.settings.endpoints[name].webhook)
        case _:
            raise ConfigurationError(f"endpoints.{name}.challenge: {kind} needs settings that are not there")


def _static(name: str, configured: StaticSettings | None) -> Static:
    if configured is None:
        raise ConfigurationError(f"endpoints.{name}.static is missing")
    digests = SecretFile(configured.secret_file, f"endpoints.{name}.static.secret_file", digest)
    return Static(digests, StaticRules(Pattern(configured.subject_pattern), configured.dns_suffixes))


def _webhook(house: House, name: str, configured: WebhookSettings | None) -> Webhook:
    if configured is None:
        raise ConfigurationError(f"endpoints.{name}.webhook is missing")
    keys = SecretFile(configured.secret_file, f"endpoints.{name}.webhook.secret_file", read_key)
    address = WebhookAddress(configured.url, configured.ca_file, configured.timeout_seconds)
    try:
        client = WebhookClient(address, keys, house.clock)
    except OSError as error:
        # An SSLError, too, is one: the file holds no certificates.
        raise ConfigurationError(f"endpoints.{name}.webhook.ca_file cannot be used: {error.strerror or error}") from None
    return Webhook(client, WebhookRules(configured.domains, configured.dns_suffixes, configured.uri_prefixes))
