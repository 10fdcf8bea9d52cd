"""Installations that send mails to a server of the test's."""

from pathlib import Path

from people.person import PersonFields
from people.persons import add_person
from signetry.house import House

TARO = PersonFields(upn="taro@example.com", email="taro.yamada@example.com", display_name="山田 太郎", language="ja-JP")


def with_mail(home: Path, port: int, *lines: str) -> None:
    """Name the mail server on ``port`` of this machine in the settings."""
    section = ("[notices]", 'host = "127.0.0.1"', f"port = {port}", 'sender = "pki@example.com"', *lines)
    given = () if any(line.startswith("security") for line in lines) else ('security = "none"',)
    path = home / "signetry.toml"
    path.write_text("\n".join([path.read_text(encoding="utf-8"), *section, *given, ""]), encoding="utf-8")


def with_taro(house: House) -> int:
    """Record a person; return the number."""
    now = house.clock.now()
    return house.transactions.write(lambda session: add_person(session, TARO, actor=house.actor, now=now)).id
