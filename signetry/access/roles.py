"""Who may do what: the roles of tokens, and the permissions that routes ask for.

Source: design.md section 5. A permission says nothing of an ``mdm`` token's scope (endpoints, profiles, a group): the routes that
such a token reaches narrow what they find to it.
"""

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What a token is for."""

    ADMIN = "admin"
    """Configuration and people: everything but what needs two."""
    OFFICER = "officer"
    """A named person who revokes, hands out challenges, and asks for archived keys."""
    RECOVERY = "recovery"
    """A named person who decides whether archived keys are recovered."""
    AUDITOR = "auditor"
    """Reads everything, changes nothing."""
    MDM = "mdm"
    """A device management, limited to endpoints, profiles and a group."""


class Permission(StrEnum):
    """What a route asks of its caller; every route of the API asks for exactly one."""

    KNOW_ONESELF = "know-oneself"
    READ_PERSONS = "read-persons"
    CHANGE_PERSONS = "change-persons"
    OFFBOARD_PERSONS = "offboard-persons"
    READ_GROUPS = "read-groups"
    CHANGE_GROUPS = "change-groups"
    READ_DEVICES = "read-devices"
    REGISTER_DEVICES = "register-devices"
    CHANGE_DEVICES = "change-devices"
    MINT_CHALLENGES = "mint-challenges"
    READ_REQUESTS = "read-requests"
    DECIDE_REQUESTS = "decide-requests"
    READ_CERTIFICATES = "read-certificates"
    REVOKE_CERTIFICATES = "revoke-certificates"
    HOLD_CERTIFICATES = "hold-certificates"
    READ_AUTHORITIES = "read-authorities"
    CHANGE_AUTHORITIES = "change-authorities"
    READ_ENDPOINTS = "read-endpoints"
    READ_CRLS = "read-crls"
    ISSUE_CRLS = "issue-crls"
    READ_DIRECTORIES = "read-directories"
    PUBLISH_TO_DIRECTORIES = "publish-to-directories"
    READ_TOKENS = "read-tokens"
    CHANGE_TOKENS = "change-tokens"
    READ_AUDIT_EVENTS = "read-audit-events"
    READ_FINDINGS = "read-findings"
    READ_NOTICES = "read-notices"
    SEND_NOTICES = "send-notices"
    READ_ARCHIVED_KEYS = "read-archived-keys"
    IMPORT_KEYS = "import-keys"
    MAKE_KEYS = "make-keys"
    READ_RECOVERIES = "read-recoveries"
    READ_DELIVERIES = "read-deliveries"
    DELIVER_KEYS = "deliver-keys"
    STOP_DELIVERIES = "stop-deliveries"
    ASK_FOR_RECOVERY = "ask-for-recovery"
    DECIDE_ON_RECOVERY = "decide-on-recovery"


_P = Permission

_READING = frozenset(
    {
        _P.KNOW_ONESELF,
        _P.READ_PERSONS,
        _P.READ_GROUPS,
        _P.READ_DEVICES,
        _P.READ_REQUESTS,
        _P.READ_CERTIFICATES,
        _P.READ_AUTHORITIES,
        _P.READ_ENDPOINTS,
        _P.READ_CRLS,
        _P.READ_DIRECTORIES,
        _P.READ_AUDIT_EVENTS,
        _P.READ_FINDINGS,
        _P.READ_NOTICES,
        _P.READ_ARCHIVED_KEYS,
        _P.READ_DELIVERIES,
        _P.READ_RECOVERIES,
    },
)

# What takes two named persons: of an administrator, who makes the tokens of both, neither is asked.
_TAKES_TWO = frozenset({_P.ASK_FOR_RECOVERY, _P.DECIDE_ON_RECOVERY})

# Keys go to the address on record, which an administrator may change: who has them sent is somebody else.
_TO_THE_ADDRESS = frozenset({_P.DELIVER_KEYS})

# The one table. docs/api.md shows it to people, and a test holds the two together.
PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.ADMIN: frozenset(Permission) - _TAKES_TWO - _TO_THE_ADDRESS,
    Role.OFFICER: _READING
    | {
        _P.OFFBOARD_PERSONS,
        _P.REGISTER_DEVICES,
        _P.CHANGE_DEVICES,
        _P.MINT_CHALLENGES,
        _P.DECIDE_REQUESTS,
        _P.REVOKE_CERTIFICATES,
        _P.HOLD_CERTIFICATES,
        _P.MAKE_KEYS,
        _P.DELIVER_KEYS,
        _P.STOP_DELIVERIES,
        _P.ASK_FOR_RECOVERY,
    },
    Role.RECOVERY: frozenset(
        {
            _P.KNOW_ONESELF,
            _P.READ_PERSONS,
            _P.READ_CERTIFICATES,
            _P.READ_ARCHIVED_KEYS,
            _P.READ_RECOVERIES,
            _P.DECIDE_ON_RECOVERY,
        },
    ),
    Role.AUDITOR: _READING | {_P.READ_TOKENS},
    Role.MDM: frozenset(
        {
            _P.KNOW_ONESELF,
            _P.READ_PERSONS,
            _P.READ_DEVICES,
            _P.REGISTER_DEVICES,
            _P.MINT_CHALLENGES,
            _P.READ_CERTIFICATES,
            _P.REVOKE_CERTIFICATES,
        },
    ),
}


def roles_with(permission: Permission) -> tuple[Role, ...]:
    """Return the roles that have ``permission``."""
    return tuple(role for role in Role if permission in PERMISSIONS[role])
