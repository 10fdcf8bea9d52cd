"""What is weak in how an endpoint is configured, said so that an administrator can weigh it. None of it is an error."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ca.profiles import SubjectKind, profile_named
from scep.endpoint import ChallengeKind, Endpoint
from scep.policies.webhook_messages import read_key
from signetry.access import tokens
from signetry.doctor.findings import Finding
from signetry.endpoint_settings import EndpointSettings
from signetry.errors import ConfigurationError
from signetry.house import House
from signetry.policy_settings import NdesSettings, StaticSettings, WebhookSettings
from signetry.secret_files import read_lines

# Random letters and digits: some hundred bits.
_LONG_ENOUGH = 20
_OLD = timedelta(days=366)
_LONG_LIVED_MINUTES = 60
# A pattern with fewer characters of its own matches nearly everything.
_TELLING_CHARACTERS = 3
# Whoever is there may send a message; each is compared with a guessable secret, kept for somebody to decide, or asked about.
_STRANGERS_COST = (ChallengeKind.STATIC, ChallengeKind.WEBHOOK, ChallengeKind.INTUNE, ChallengeKind.APPROVAL)
# Somebody else's answer says which profile it is to be.
_DECIDED_ELSEWHERE = (ChallengeKind.WEBHOOK, ChallengeKind.INTUNE)

Weakness = tuple[str, str]


def weak_choices(house: House, endpoint: Endpoint) -> Iterator[Finding]:
    """Find the weak choices at one endpoint, and whether the files of its policy can be used."""
    check = f"endpoint {endpoint.name}"
    configured = house.settings.endpoints[endpoint.name]
    try:
        weaknesses = [
            *_algorithms(endpoint),
            *_habits(endpoint),
            *_policy(house, endpoint, configured),
        ]
    except ConfigurationError as error:
        yield Finding(check, "error", str(error), "until it is mended, requests are answered with HTTP 503")
        return
    for warning, advice in weaknesses:
        yield Finding(check, "warning", warning, advice)


def _algorithms(endpoint: Endpoint) -> Iterator[Weakness]:
    if endpoint.museum:
        yield "museum accepts single DES, which anybody can break", "keep it off the Internet"
    elif endpoint.legacy:
        yield "legacy accepts SHA-1 and triple DES", "switch it off once the old clients are gone"


def _habits(endpoint: Endpoint) -> Iterator[Weakness]:
    if endpoint.renew_after == 0:
        yield "renew_after = 0 lets a certificate be renewed at any time, without end", "0.66 is the default"
    if endpoint.reply_chain:
        yield (
            "reply_chain puts the CA's certificate beside the issued one: iPhones take the wrong one of the two",
            "set it only at an endpoint of its own, for clients that need it (Cisco VPN)",
        )
    if endpoint.subject_from_request:
        yield (
            "subject_from_request copies organisational units from requests, unchecked: anybody may claim any",
            "make sure that nothing grants access by the OU of a certificate",
        )
    if endpoint.challenge in _STRANGERS_COST and not endpoint.limits.requests_per_minute:
        yield (
            f"with challenge = {endpoint.challenge}, every stranger's message makes work, or is a guess, and none is too many",
            "set requests_per_minute",
        )
    if endpoint.challenge in _DECIDED_ELSEWHERE and _mixes(endpoint):
        yield (
            "certificates for log-on and for mail are issued here, and whoever decides elsewhere may grant either",
            "give each an endpoint of its own, with its own issuing CA (docs/hierarchy.md)",
        )


def _mixes(endpoint: Endpoint) -> bool:
    """Say whether one profile logs on with a UPN, and another is for mail only."""
    profiles = [profile_named(name) for name in endpoint.profiles]
    logs_on = any(profile.security_identifier for profile in profiles)
    return logs_on and any(profile.subject is SubjectKind.MAILBOX for profile in profiles)


def _policy(house: House, endpoint: Endpoint, configured: EndpointSettings) -> Iterator[Weakness]:
    now = house.clock.now()
    if configured.static is not None:
        yield from _static(endpoint.name, configured.static, now)
    if configured.webhook is not None:
        yield from _webhook(endpoint.name, configured.webhook)
    if endpoint.challenge is ChallengeKind.NDES:
        yield from _ndes(house, endpoint, configured.ndes or NdesSettings())


def _static(name: str, configured: StaticSettings, now: datetime) -> Iterator[Weakness]:
    secrets = read_lines(configured.secret_file, f"endpoints.{name}.static.secret_file")
    if any(len(secret) < _LONG_ENOUGH for secret in secrets):
        yield (
            f"a static secret has fewer than {_LONG_ENOUGH} characters: it can be guessed",
            "make one with: openssl rand -base64 24",
        )
    age = now - datetime.fromtimestamp(configured.secret_file.stat().st_mtime, UTC)
    if age > _OLD:
        yield (
            f"the static secret has been the same for {age.days} days, and every device that ever enrolled knows it",
            "put a new one into the first line of its file, and take the old one out when all have changed over",
        )
    if len(configured.subject_pattern.replace("*", "").replace("?", "")) < _TELLING_CHARACTERS:
        yield (
            f"subject_pattern {configured.subject_pattern} lets a device call itself nearly anything",
            "begin it with what these devices have in common, router-*",
        )
    yield from _wide(configured.dns_suffixes)


def _webhook(name: str, configured: WebhookSettings) -> Iterator[Weakness]:
    setting = f"endpoints.{name}.webhook.secret_file"
    try:
        for secret in read_lines(configured.secret_file, setting):
            read_key(secret)
    except ValueError as error:
        raise ConfigurationError(f"{setting}: {error}") from None
    if not configured.is_encrypted:
        yield (
            "the webhook is asked without TLS: whoever listens on this machine reads the challenges",
            "use https:// unless this machine is nobody else's",
        )
    yield from _wide((*configured.domains, *configured.dns_suffixes))


def _wide(domains: tuple[str, ...]) -> Iterator[Weakness]:
    wide = sorted({domain for domain in domains if "." not in domain})
    if wide:
        yield (
            f"{', '.join(wide)} is a top-level domain: names of nearly every host are below it",
            "name your own domains, corp.example.com",
        )


def _ndes(house: House, endpoint: Endpoint, configured: NdesSettings) -> Iterator[Weakness]:
    if configured.password_minutes > _LONG_LIVED_MINUTES:
        yield (
            f"passwords of the NDES page are good for {configured.password_minutes} minutes, in whosever hands",
            f"{_LONG_LIVED_MINUTES} is the default",
        )
    with house.transactions.reading() as session:
        good = tokens.list_tokens(session, now=house.clock.now(), good=True)
    if not any(token.scope is not None and endpoint.name in token.scope.endpoints for token in good):
        yield (
            "no token of role mdm reaches it: nobody obtains a password from its page",
            f"signetry token create --role mdm --endpoint {endpoint.name} --profile NAME --group GROUP",
        )
