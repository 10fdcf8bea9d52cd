"""Changing entries as planned: additions and deletions of single values, in one step where the server lets us."""

from collections.abc import Collection, Mapping

from ldap_publish.comparing import EntryPlan, planned_again
from ldap_publish.directory import ChangeKind, Directory, DirectoryClient
from ldap_publish.entry import Owned, one_by_one
from ldap_publish.errors import (
    AmbiguousEntry,
    DirectoryUnavailable,
    EntryChanged,
    EntryExists,
    ValueNotThere,
    ValueThereAlready,
    ValueTooLarge,
)
from ldap_publish.records import SubjectKind
from ldap_publish.subjects import SubjectState

# How often an entry that others keep changing is read again.
_ATTEMPTS = 4
# Servers bound what they read, and hang up on more: 389 DS at 2 MiB by default, slapd at what facts/ldap.md found.
_SUSPICIOUSLY_LARGE = 1_000_000


def apply(
    directory: Directory, state: SubjectState, entry_plan: EntryPlan, client: DirectoryClient, intended: Collection[Owned]
) -> EntryPlan:
    """Bring one entry to hold what it should; return the plan that was carried out.

    Only values in ``intended``, which are on record, are added.

    Raises:
        EntryRefused: the server does not do it.
        EntryChanged: others change the entry all the time.
        AmbiguousEntry: an entry to be made exists, and the search filter does not match it.
        ValueTooLarge: the server hung up on a large value.
        DirectoryUnavailable: it cannot be used now.
    """
    try:
        if not entry_plan.exists:
            _create(directory, state, entry_plan, client)
            return entry_plan
        return _modify(directory, state, entry_plan, client, intended)
    except DirectoryUnavailable as error:
        largest = max((len(value.content) for value in entry_plan.plan.missing), default=0)
        if largest < _SUSPICIOUSLY_LARGE:
            raise
        # Were the directory itself gone, the next operation shows it.
        raise ValueTooLarge(f"{entry_plan.entry.dn}: the server hung up on a value of {largest:,} bytes ({error})") from error


def _modify(
    directory: Directory, state: SubjectState, entry_plan: EntryPlan, client: DirectoryClient, intended: Collection[Owned]
) -> EntryPlan:
    current: EntryPlan | None = entry_plan
    for _ in range(_ATTEMPTS):
        if current is None or not {value.owned for value in current.plan.missing} <= set(intended):
            break
        if not current.plan.changes:
            return current
        before, changes = current, current.plan.changes
        try:
            client.modify(current.entry.dn, changes, current.plan.assertion)
        except EntryChanged:
            current = planned_again(directory, state, current, client)
        except (ValueThereAlready, ValueNotThere):
            current = planned_again(directory, state, current, client)
            if current is not None and current.plan.changes == changes:
                # What is in the way cannot be seen: not every log-on that may write an attribute may read it.
                _change_value_by_value(directory, before, client)
                return before
        else:
            return current
    raise EntryChanged(f"{entry_plan.entry.dn} is being changed by somebody else; tried again later")


def _change_value_by_value(directory: Directory, entry_plan: EntryPlan, client: DirectoryClient) -> None:
    """Make the changes one at a time, and count as done what is done already: only of a single value does a code say that."""
    dn = entry_plan.entry.dn
    for change in one_by_one(entry_plan.plan.changes):
        done_already = ValueThereAlready if change.kind is ChangeKind.ADD else ValueNotThere
        try:
            client.modify(dn, [change], entry_plan.plan.assertion if change.kind is ChangeKind.REPLACE else None)
        except done_already:
            # A server with one value for an attribute says the same of a second one.
            if change.attribute in directory.dialect.single:
                raise


def _create(directory: Directory, state: SubjectState, entry_plan: EntryPlan, client: DirectoryClient) -> None:
    of_person = state.subject.kind is SubjectKind.PERSON
    classes = directory.create_classes if of_person else directory.dialect.authority_classes
    attributes = _person_attributes(directory, state.fields) if of_person else {"cn": [state.name.encode()]}
    for value in entry_plan.plan.missing:
        attributes.setdefault(value.attribute, []).append(value.content)
    if not of_person:
        attributes = {name: [value] for name, value in directory.dialect.placeholders.items()} | attributes
    try:
        client.add(entry_plan.entry.dn, classes, attributes)
    except EntryExists as error:
        raise AmbiguousEntry(f"{entry_plan.entry.dn} exists, and the search filter does not match it") from error


def _person_attributes(directory: Directory, fields: Mapping[str, str]) -> dict[str, list[bytes]]:
    """Return what a new person's entry says: what its name says, what its classes demand, and what it is found by."""
    email, name = fields.get("email", ""), fields.get("display_name", "")
    attributes = {"cn": name or email, "sn": fields.get("surname", "") or name or email, "mail": email}
    attributes |= {"displayName": name, "givenName": fields.get("given_name", "")}
    for attribute, field in directory.search_filter.equalities.items():
        attributes[attribute] = fields[field]
    if directory.create_dn is not None:
        attributes[directory.create_dn.rdn_attribute] = directory.create_dn.rdn_value(fields)
    # Attributes are case-insensitive, and one given twice would be refused.
    merged: dict[str, tuple[str, str]] = {}
    for attribute, text in attributes.items():
        merged[attribute.lower()] = (attribute, text)
    return {attribute: [text.encode()] for attribute, text in merged.values() if text}
