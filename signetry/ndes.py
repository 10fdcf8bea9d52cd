"""``/certsrv/mscep_admin/``: one-time passwords for management systems that know NDES, on the device listener (HTTPS) only.

NDES hands out passwords that are good for whatever names the request brings (CERT VU#971035). Here a password belongs to a person
or a device of our records, whom the address names, and the certificate's names come from there. Who asks is a token of role
``mdm``, as the password of HTTP Basic authentication or as a bearer token; it reaches its endpoints, profiles and group, and no
further. The API has the same beside it: ``POST /api/v1/challenges``.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from audit.log import Actor
from ca.authorisation import CaName
from foundation.errors import BadRequest, Conflict, NotFound, RefusedByPolicy, SignetryError, Unavailable
from scep.endpoint import ChallengeKind, Endpoint, UnknownEndpoint
from signetry import ndes_page
from signetry.access import tokens
from signetry.access.errors import NotAuthenticated, RoleRefused
from signetry.access.roles import Role
from signetry.access.tokens import TokenRecord
from signetry.administration.challenges import ChallengeRequest, Form, TooManyUnused, mint
from signetry.administration.holders import HolderMissing
from signetry.administration.reach import Reach
from signetry.house import House
from signetry.policy_settings import NdesSettings

# 128 bits. NDES's own have 64, and whoever scrapes the page takes any length: PasswordLength is a setting of NDES.
_PASSWORD_BYTES: Final = 16
_PARAMETERS: Final = frozenset({"upn", "device", "profile"})
_LONGEST: Final = 1024
_STATUS: Final[Mapping[type[SignetryError], int]] = {
    BadRequest: 400,
    NotFound: 404,
    Conflict: 409,
    RefusedByPolicy: 422,
    Unavailable: 503,
}
_HEADERS: Final = {
    "cache-control": "no-store",
    "pragma": "no-cache",
    "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_BASIC: Final = 'Basic realm="signetry", charset="UTF-8"'


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who asks, at which endpoint, for whom."""

    token: TokenRecord
    endpoint: Endpoint
    person: str
    device: str
    profile: str


def routes(house: House) -> list[Route]:
    """Return the routes of the page, none where no endpoint hands out such passwords."""
    if not any(endpoint.challenge is ChallengeKind.NDES for endpoint in house.endpoints.values()):
        return []
    page = _Page(house)
    paths = (
        "/certsrv/mscep_admin",
        "/certsrv/mscep_admin/",
        "/certsrv/{endpoint}/mscep_admin",
        "/certsrv/{endpoint}/mscep_admin/",
    )
    return [Route(path, page.answer, methods=["GET"]) for path in paths]


class _Page:
    """Answers the page's requests; works with the database, so not in the event loop."""

    def __init__(self, house: House) -> None:
        self._house = house

    def answer(self, request: Request) -> Response:
        """Return the page: a password, a form, or why there is none."""
        try:
            return self._answer(request)
        except NotAuthenticated:
            words = "A token of role mdm is needed, as the password of HTTP Basic authentication or as a bearer token."
            return _shown(ndes_page.refused_page(words), 401, {"www-authenticate": _BASIC})
        except RoleRefused as error:
            return _shown(ndes_page.refused_page(str(error)), 403)
        except SignetryError as error:
            status = next((number for category, number in _STATUS.items() if isinstance(error, category)), 400)
            more = {"retry-after": "10"} if isinstance(error, Unavailable) else {}
            return _shown(ndes_page.problem_page(str(error)), status, more)

    def _answer(self, request: Request) -> Response:
        now = self._house.clock.now()
        presented = _presented(request.headers.getlist("authorization"))
        with self._house.transactions.reading() as session:
            token = tokens.authenticate(session, presented, now=now)
        if tokens.is_use_worth_noting(token, now):
            self._house.transactions.write(lambda session: tokens.note_use(session, token.id, now=now))
        if token.role is not Role.MDM:
            raise RoleRefused("A token of role mdm is needed; others use the API or the command line.")
        if request.method != "GET":
            # HEAD, which would mint what nobody sees.
            raise BadRequest("a password is asked for with GET")
        # A browser that remembers the token must not be sent here by somebody else's page.
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise RoleRefused("A password is not handed out to another site's page.")
        reach = Reach.of(token.scope)
        endpoint = self._endpoint(request.path_params.get("endpoint", ""), reach)
        profiles = [name for name in sorted(endpoint.profiles) if reach.includes_profile(name)]
        asked = _asked(request, token, endpoint, profiles)
        if asked is None:
            return _shown(ndes_page.form_page(profiles), 400)
        return self._minted(asked, reach, request.client.host if request.client else "unknown")

    def _endpoint(self, name: str, reach: Reach) -> Endpoint:
        endpoint = reach.endpoint(self._house, name or self._house.settings.certsrv_endpoint)
        if endpoint.challenge is not ChallengeKind.NDES:
            raise UnknownEndpoint(f"endpoint {endpoint.name} hands out no passwords: its policy is {endpoint.challenge}")
        return endpoint

    def _minted(self, asked: _Asked, reach: Reach, origin: str) -> Response:
        configured = self._house.settings.endpoints[asked.endpoint.name].ndes or NdesSettings()
        acting = self._house.acting_as(Actor(f"token:{asked.token.id}:{asked.token.name}", origin=origin))
        request = ChallengeRequest(
            endpoint=asked.endpoint.name,
            profile=asked.profile,
            person=asked.person,
            device=asked.device,
            lifetime=timedelta(minutes=configured.password_minutes),
        )
        form = Form(_password, configured.passwords_at_most)

        def act(session: Session) -> str:
            (password,) = mint(session, acting, request, reach, form).challenges
            return password

        try:
            password = self._house.transactions.write(act)
        except TooManyUnused:
            # With the status that NDES has for it: whoever scrapes the page looks for the words only then.
            return _shown(ndes_page.full_page(configured.password_minutes), 200)
        except HolderMissing as missing:
            raise BadRequest(f"{missing}, with ?{missing.field}=") from None
        return _shown(ndes_page.password_page(self._thumbprint(asked.endpoint), password, configured.password_minutes), 200)

    def _thumbprint(self, endpoint: Endpoint) -> str:
        authority = self._house.authorities.issuing_now(CaName(endpoint.issuing_ca))
        return hashlib.sha256(authority.certificate_der).hexdigest()


def _asked(request: Request, token: TokenRecord, endpoint: Endpoint, profiles: Sequence[str]) -> _Asked | None:
    """Return what the address asks for, None where it names nobody.

    Raises:
        BadRequest: it says something that is not known here, something twice, or no profile where there are several.
    """
    given = request.query_params.multi_items()
    names = [name for name, _ in given]
    if not set(names) <= _PARAMETERS or len(set(names)) != len(names):
        raise BadRequest("the address says upn, device and profile, each once at most, and nothing else")
    if any(len(value) > _LONGEST or not value.isprintable() for _, value in given):
        raise BadRequest("a value in the address is too long, or not printable")
    values = dict(given)
    if not (values.get("upn") or values.get("device")):
        return None
    profile = values.get("profile") or (profiles[0] if len(profiles) == 1 else "")
    if not profile:
        raise BadRequest(f"say for which profile with ?profile=: {', '.join(profiles)}")
    return _Asked(token, endpoint, values.get("upn", ""), values.get("device", ""), profile)


def _presented(headers: Sequence[str]) -> str:
    """Return the token in the one Authorization header. Raises NotAuthenticated."""
    if len(headers) != 1:
        raise NotAuthenticated
    scheme, _, value = headers[0].partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            try:
                # Whatever the user is called: a token says by itself whose it is.
                return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                raise NotAuthenticated from None
        case _:
            raise NotAuthenticated


def _password() -> str:
    return secrets.token_hex(_PASSWORD_BYTES).upper()


def _shown(page: bytes, status: int, more: Mapping[str, str] | None = None) -> Response:
    # The content type as a header: as a media type it would get a charset of Starlette's.
    return Response(page, status, headers={"content-type": ndes_page.CONTENT_TYPE, **_HEADERS, **(more or {})})
