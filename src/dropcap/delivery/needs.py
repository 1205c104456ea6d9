"""What of a rule makes dropcap ask REDCap before and after it sends, and so what rights it needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from dropcap.delivery.order import takes_next
from dropcap.routing.rule import Rule
from dropcap.routing.target import NEXT, Confirm, ExistingFile, MissingRecord, RuleSettings, Target


class Asks(StrEnum):
    """What of a rule makes dropcap ask REDCap, as it is written there."""

    READ_BACK = f"confirm: {Confirm.READBACK}"
    LISTED = f"confirm: {Confirm.LISTED}"
    EXISTING_FILE = "existing_file"
    RECORD_WHERE = "record_where"
    MUST_MATCH = "must_match"
    NEXT_INSTANCE = f"instance: {NEXT}"
    MISSING_RECORD = "missing_record"


def needs_lookup(target: Target, settings: RuleSettings) -> bool:
    """Whether REDCap must be asked about the record before anything is sent."""
    return any(_asks(settings, bool(target.record_where), bool(target.must_match), target.instance == NEXT))


def lookup_reasons(rule: Rule) -> list[Asks]:
    """What of a rule makes dropcap look up the records of its files."""
    return list(_asks(rule.settings, bool(rule.record_where), bool(rule.must_match), takes_next(rule.instance)))


def export_reasons(rule: Rule) -> list[Asks]:
    """What of a rule needs the right to export: reading back, and all that looks records up."""
    reads_back = [Asks.READ_BACK] if rule.settings.confirm is Confirm.READBACK else []
    return reads_back + lookup_reasons(rule)


def _asks(settings: RuleSettings, by_value: bool, must_match: bool, chooses: bool) -> Iterator[Asks]:
    """The keys for which a record is looked up. `by_value`: it is not named itself; `chooses`: nor is the instance."""
    if settings.confirm is Confirm.LISTED:
        yield Asks.LISTED
    if settings.existing_file is not ExistingFile.REPLACE:
        yield Asks.EXISTING_FILE
    if by_value:
        yield Asks.RECORD_WHERE
    if must_match:
        yield Asks.MUST_MATCH
    if chooses:
        yield Asks.NEXT_INSTANCE
    if settings.missing_record is not MissingRecord.REFUSE:
        yield Asks.MISSING_RECORD


def looks_at_field(settings: RuleSettings, chooses: bool) -> bool:
    """Whether what the field holds is exported right before a file is sent. `chooses`: `instance: next`."""
    return settings.existing_file is not ExistingFile.REPLACE or chooses


def needs_field(settings: RuleSettings, chooses: bool) -> bool:
    """Whether a look-up must show the field itself; `chooses` as in `looks_at_field`."""
    return looks_at_field(settings, chooses) or settings.confirm is Confirm.LISTED
