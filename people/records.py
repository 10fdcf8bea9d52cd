"""The tables of persons, groups and devices."""

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from foundation.tables import Table, UtcDateTime


class Person(Table, table=True):
    """Somebody with a mailbox. Addresses are stored normalised (``people/addresses.py``)."""

    __tablename__ = "person"

    id: int | None = Field(default=None, primary_key=True)
    upn: str = Field(max_length=320, unique=True)
    email: str = Field(max_length=320, unique=True)
    display_name: str = Field(default="", max_length=200)
    given_name: str = Field(default="", max_length=100)
    middle_name: str = Field(default="", max_length=100)
    surname: str = Field(default="", max_length=100)
    account_name: str = Field(default="", max_length=100)
    domain: str = Field(default="", max_length=255)
    employee_code: str = Field(default="", max_length=100)
    sid: str | None = Field(default=None, max_length=184, unique=True)
    language: str = Field(default="en", max_length=35)
    active: bool = True
    created_at: datetime = Field(sa_type=UtcDateTime)
    changed_at: datetime = Field(sa_type=UtcDateTime)


class MailAddress(Table, table=True):
    """An address at which a person is reached: the primary one (which ``person.email`` names) and every alias.

    All of them stand in this one column, so that its unique constraint says that an address belongs to one person, whichever
    transactions race.
    """

    __tablename__ = "mail_address"

    id: int | None = Field(default=None, primary_key=True)
    person_id: int = Field(foreign_key="person.id", index=True)
    email: str = Field(max_length=320, unique=True)


class Group(Table, table=True):
    """A named set of persons."""

    __tablename__ = "person_group"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=100, unique=True)
    description: str = Field(default="", max_length=500)
    created_at: datetime = Field(sa_type=UtcDateTime)


class GroupMember(Table, table=True):
    """A person's membership in a group."""

    __tablename__ = "person_group_member"
    __table_args__ = (UniqueConstraint("group_id", "person_id"),)

    id: int | None = Field(default=None, primary_key=True)
    group_id: int = Field(foreign_key="person_group.id")
    person_id: int = Field(foreign_key="person.id", index=True)


class Device(Table, table=True):
    """A phone, laptop or router; ``owner_id`` is the person who carries it, none for shared equipment."""

    __tablename__ = "device"

    id: int | None = Field(default=None, primary_key=True)
    owner_id: int | None = Field(default=None, foreign_key="person.id", index=True)
    name: str = Field(max_length=100, unique=True)
    dns_name: str | None = Field(default=None, max_length=253, unique=True)
    platform: str = Field(default="", max_length=30)
    serial_number: str | None = Field(default=None, max_length=100, unique=True)
    udid: str | None = Field(default=None, max_length=100, unique=True)
    imei: str | None = Field(default=None, max_length=20, unique=True)
    phone_number: str = Field(default="", max_length=30)
    wifi_mac: str | None = Field(default=None, max_length=17, unique=True)
    iccid: str | None = Field(default=None, max_length=22, unique=True)
    eas_device_id: str | None = Field(default=None, max_length=64, unique=True)
    mdm_id: str | None = Field(default=None, max_length=100, unique=True)
    active: bool = True
    created_at: datetime = Field(sa_type=UtcDateTime)
    changed_at: datetime = Field(sa_type=UtcDateTime)
