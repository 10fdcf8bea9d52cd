"""Persons to test with, and a look at what was recorded of an act."""

from datetime import UTC, datetime

from sqlmodel import Session, col, select

from audit.log import Actor
from audit.records import AuditEvent
from foundation.transactions import Transactions
from people.person import PersonFields, PersonRecord
from people.persons import add_person

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
ACTOR = Actor("test:people")

TARO = PersonFields(
    upn="taro@corp.example.com",
    email="taro.yamada@example.com",
    aliases=("t.yamada@example.com", "taro@example.jp"),
    display_name="山田 太郎",
    given_name="太郎",
    surname="山田",
    account_name="tyamada",
    domain="CORP",
    employee_code="E-1001",
    sid="S-1-5-21-1004336348-1177238915-682003330-1103",
    language="ja",
)
ALICE = PersonFields(upn="alice@corp.example.com", email="alice@example.com", display_name="Alice Smith")


def added(store: Transactions, fields: PersonFields) -> PersonRecord:
    """Record a person and return them."""
    return store.write(lambda session: add_person(session, fields, actor=ACTOR, now=NOW))


def events(store: Transactions) -> list[AuditEvent]:
    """Return the audit events, oldest first."""

    def read(session: Session) -> list[AuditEvent]:
        found = list(session.exec(select(AuditEvent).order_by(col(AuditEvent.id))))
        session.expunge_all()
        return found

    with store.reading() as session:
        return read(session)


def actions(store: Transactions) -> list[str]:
    """Return what was done, oldest first."""
    return [event.action for event in events(store)]
