"""The table of roles."""

from pathlib import Path

from signetry.access.roles import PERMISSIONS, Permission, Role, roles_with

ROOT = Path(__file__).parents[3]


def test_who_only_reads_changes_nothing() -> None:
    changing = {p for p in PERMISSIONS[Role.AUDITOR] if not p.startswith("read-")} - {Permission.KNOW_ONESELF}
    assert changing == set()


def test_recovery_takes_two_and_administrators_are_neither() -> None:
    assert roles_with(Permission.ASK_FOR_RECOVERY) == (Role.OFFICER,)
    assert roles_with(Permission.DECIDE_ON_RECOVERY) == (Role.RECOVERY,)


def test_auditors_read_everything() -> None:
    assert PERMISSIONS[Role.AUDITOR] >= {permission for permission in Permission if permission.startswith("read-")}


def test_only_administrators_make_tokens_and_change_authorities() -> None:
    for permission in (Permission.CHANGE_TOKENS, Permission.CHANGE_AUTHORITIES, Permission.CHANGE_PERSONS):
        assert roles_with(permission) == (Role.ADMIN,)


def test_every_role_is_in_the_table_and_knows_itself() -> None:
    assert roles_with(Permission.KNOW_ONESELF) == tuple(Role)


def test_the_documentation_shows_this_table() -> None:
    shown: dict[str, dict[str, bool]] = {}
    header: list[str] = []
    for line in (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "permission":
            header = cells[2:]
        elif header and cells[0].startswith("`"):
            shown[cells[0].strip("`")] = {role: cell == "✓" for role, cell in zip(header, cells[2:], strict=True)}
        elif header and not line:
            break
    expected = {permission: {role: permission in PERMISSIONS[role] for role in Role} for permission in Permission}
    assert shown == expected
