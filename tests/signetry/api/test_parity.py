"""What the command line does, the API does: a command that is added needs its operation, or a reason to have none."""

from collections.abc import Iterator, Mapping

import typer.main
from typer.core import TyperGroup

from signetry.api.app import ROUTERS
from signetry.api.routing import ApiRoute
from signetry.cli.main import app

OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "person add": ("POST /persons",),
    "person show": ("GET /persons/{person}",),
    "person list": ("GET /persons",),
    "person change": (
        "PATCH /persons/{person}",
        "PUT /persons/{person}/aliases/{email}",
        "DELETE /persons/{person}/aliases/{email}",
    ),
    "person deactivate": ("POST /persons/{person}/deactivate",),
    "person activate": ("POST /persons/{person}/activate",),
    "person offboard": ("POST /persons/{person}/offboard",),
    "person import": ("POST /imports/persons",),
    "group add": ("POST /groups",),
    "group list": ("GET /groups",),
    "group show": ("GET /groups/{group}", "GET /groups/{group}/members"),
    "group add-member": ("PUT /groups/{group}/members/{person}",),
    "group remove-member": ("DELETE /groups/{group}/members/{person}",),
    "group remove": ("DELETE /groups/{group}",),
    "device add": ("POST /devices",),
    "device show": ("GET /devices/{device}",),
    "device list": ("GET /devices",),
    "device change": ("PATCH /devices/{device}",),
    "device deactivate": ("POST /devices/{device}/deactivate",),
    "device activate": ("POST /devices/{device}/activate",),
    "challenge create": ("POST /challenges",),
    "request list": ("GET /requests",),
    "request show": ("GET /requests/{request_id}",),
    "request approve": ("POST /requests/{request_id}/approve",),
    "request reject": ("POST /requests/{request_id}/reject",),
    "cert list": ("GET /certificates",),
    "cert show": ("GET /certificates/{serial}",),
    "cert export": ("GET /certificates/{serial}/pem", "GET /certificates/{serial}/der", "GET /certificates/{serial}/chain"),
    "cert revoke": ("POST /certificates/{serial}/revoke", "POST /revocations", "POST /imports/revocations"),
    "cert hold": ("POST /certificates/{serial}/hold",),
    "cert release": ("POST /certificates/{serial}/release",),
    "ca list": ("GET /authorities", "GET /authorities/{ca}"),
    "ca create": ("PUT /authorities/{ca}",),
    "ca csr": ("GET /authorities/{ca}/csr",),
    "ca install": ("POST /authorities/{ca}/install",),
    "ca reissue": ("POST /authorities/{ca}/reissue",),
    "ca rollover prepare": ("POST /authorities/{ca}/rollover/prepare",),
    "ca rollover activate": ("POST /authorities/{ca}/rollover/activate",),
    "ca rollover retire": ("POST /authorities/{ca}/rollover/retire",),
    "ca rollover ra": ("POST /authorities/{ca}/rollover/ra",),
    "ca export": ("GET /authorities/{ca}/pem", "GET /authorities/{ca}/p7c", "GET /authorities/{ca}/sst"),
    "crl issue": ("POST /crls", "POST /crls/{ca}/issue"),
    "crl show": ("GET /crls", "GET /crls/{ca}", "GET /crls/{ca}/entries", "GET /crls/{ca}/pem"),
    "ldap publish": ("POST /directories/{directory}/publish",),
    "ldap status": ("GET /directories", "GET /directories/{directory}"),
    "ldap forget": ("DELETE /directories/{directory}",),
    "ldap check": ("GET /directories/{directory}/differences",),
    "notice list": ("GET /notices", "GET /notices/{notice_id}"),
    "notice send": ("POST /notices/{notice_id}/send",),
    "archive status": ("GET /archive",),
    "pfx import": ("POST /archived-keys",),
    "pfx issue": ("POST /encryption-keys", "POST /encryption-keys/group"),
    "pfx list": ("GET /archived-keys",),
    "pfx show": ("GET /archived-keys/{key_id}",),
    "pfx deliver link": ("POST /deliveries",),
    "pfx deliver mail": ("POST /deliveries",),
    "pfx deliver list": ("GET /deliveries",),
    "pfx deliver show": ("GET /deliveries/{delivery_id}",),
    "pfx deliver stop": ("POST /deliveries/{delivery_id}/stop",),
    "pfx recover ask": ("POST /recoveries",),
    "pfx recover approve": ("POST /recoveries/{recovery_id}/approve",),
    "pfx recover reject": ("POST /recoveries/{recovery_id}/reject",),
    "pfx recover export": ("POST /recoveries/{recovery_id}/export",),
    "pfx recover list": ("GET /recoveries",),
    "pfx recover show": ("GET /recoveries/{recovery_id}",),
    "token create": ("POST /tokens",),
    "token list": ("GET /tokens", "GET /tokens/{token_id}"),
    "token revoke": ("POST /tokens/{token_id}/revoke",),
    "doctor": ("GET /doctor",),
    "intune check": ("GET /doctor",),
    "intune push-pfx": ("POST /intune/push-pfx",),
}
LOCAL: Mapping[str, str] = {
    "init": "makes the installation, before there is a service to ask",
    "serve": "is the service",
    "demo": "is a client of the running service",
    **dict.fromkeys(("archive create", "archive rotate"), "makes a key that no web process may hold"),
    "notice test": "writes to any address, past what is owed; the doctor tries the mail server",
    "enrol": "is a SCEP client: its key stays where it runs",
    "pfx deliver file": "hands out a key with what opens it: no token gets hold of both",
    **dict.fromkeys(("scep show", "scep get-cert", "scep get-crl", "scep next-ca"), "is a SCEP client, of any server"),
}
# What the command line has no command for.
API_ONLY = {"GET /whoami", "GET /endpoints", "GET /endpoints/{endpoint}", "GET /audit-events"}


def commands(group: TyperGroup, path: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name


def operations() -> Iterator[str]:
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, ApiRoute)
            yield from (f"{method} {route.path}" for method in route.methods or ())


def test_every_command_has_an_operation_or_a_reason_to_have_none() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    assert set(commands(root)) == OPERATIONS.keys() | LOCAL.keys()
    assert not OPERATIONS.keys() & LOCAL.keys()


def test_every_operation_is_a_commands_or_known_to_have_none() -> None:
    of_commands = {operation for each in OPERATIONS.values() for operation in each}
    assert set(operations()) == of_commands | API_ONLY
