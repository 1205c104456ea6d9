"""What a file of a rule costs: requests, and entries in REDCap's log. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dropcap.delivery.lookup import GROUP
from dropcap.routing.rule import Rule
from dropcap.routing.target import NEXT, Confirm, ExistingFile, MissingRecord

_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Cost:
    """`each`: requests that every file makes. `shared`: requests that up to 100 files which come together share.

    `held` is 1 if a file that the field holds already is exported first where an empty field is not. REDCap logs each of these
    requests.
    """

    each: int
    shared: int
    held: int

    def files_a_day(self, per_minute: int) -> int:
        """How many files the limit allows at most, into empty fields and in large groups."""
        return int(per_minute * _MINUTES * GROUP // (self.each * GROUP + self.shared))

    def __str__(self) -> str:
        parts = [f"{self.each} request{'s' if self.each > 1 else ''} a file"]
        if self.shared:
            parts.append(f"{self.shared} for up to {GROUP} files that come together")
        if self.held:
            parts.append("1 where the field holds a file already")
        return ", ".join(parts)


def asks_about_records(rule: Rule) -> bool:
    """Whether files of this rule have their records looked up."""
    settings = rule.settings
    return bool(
        rule.record_where
        or rule.must_match
        or settings.existing_file is not ExistingFile.REPLACE
        or settings.missing_record is not MissingRecord.REFUSE
        or settings.confirm is Confirm.LISTED
        or (rule.instance is not None and rule.instance.text == NEXT)
    )


def exports(rule: Rule) -> bool:
    """Whether the token needs the right to export for this rule."""
    return asks_about_records(rule) or rule.settings.confirm is not Confirm.NONE


def cost(rule: Rule) -> Cost:
    """The cost of one file of a rule."""
    asks = asks_about_records(rule)
    # What the field holds is looked at right before each file is sent, and read back afterwards.
    looks = rule.settings.existing_file is not ExistingFile.REPLACE or (rule.instance is not None and rule.instance.text == NEXT)
    return Cost(
        each=1 + looks + (rule.settings.confirm is not Confirm.NONE),
        shared=int(asks) + bool(rule.record_where),
        held=int(asks and not looks),
    )
