"""The table of mails that are owed to persons."""

from datetime import datetime

from sqlalchemy import JSON, LargeBinary
from sqlmodel import Field

from foundation.due import DueRow
from foundation.tables import UtcDateTime


class OwedNotice(DueRow, table=True):
    """A mail to be sent, or sent: ``template`` and ``values`` are its words, ``attachment`` a file of the template's kind.

    Once it is sent (``sent_at``) its values and the attachment are gone. Neither due nor sent means: given up. ``reference`` says
    what it belongs to, for those who are told what became of it (``notices.outcome``).
    """

    __tablename__ = "owed_notice"

    id: int | None = Field(default=None, primary_key=True)
    person_id: int | None = Field(default=None, index=True)
    address: str = Field(max_length=320)
    language: str = Field(max_length=35)
    template: str = Field(max_length=60)
    reference: str = Field(default="", max_length=60, index=True)
    values: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    attachment_name: str = Field(default="", max_length=200)
    attachment: bytes | None = Field(default=None, sa_type=LargeBinary)
    owed_at: datetime = Field(sa_type=UtcDateTime)
    good_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failures: int = Field(default=0)
    error: str = Field(default="")
