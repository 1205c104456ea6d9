"""What a file of a rule costs: requests, and entries in REDCap's log. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dropcap.delivery.lookup import GROUP
from dropcap.delivery.order import takes_next
from dropcap.delivery.plan import looks_at_field, lookup_reasons
from dropcap.routing.rule import Rule
from dropcap.routing.target import Confirm

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


def cost(rule: Rule) -> Cost:
    """The cost of one file of a rule."""
    asks = bool(lookup_reasons(rule))
    looks = looks_at_field(rule.settings, takes_next(rule.instance))
    return Cost(
        each=1 + looks + (rule.settings.confirm is not Confirm.NONE),
        shared=int(asks) + bool(rule.record_where),
        held=int(asks and not looks),
    )
