"""What a file of a rule costs: requests, and entries in REDCap's log. Pure; tests/preflight/test_cost.py counts them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from dropcap.config.model import REQUESTS_PER_MINUTE, Project
from dropcap.config.values import is_loopback
from dropcap.delivery.lookup import GROUP
from dropcap.delivery.needs import looks_at_field, lookup_reasons
from dropcap.delivery.order import takes_next
from dropcap.preflight.remark import Remark, place_of
from dropcap.redcap.window import WINDOW
from dropcap.routing.rule import Rule
from dropcap.routing.target import Confirm, MissingRecord

_MINUTE, _DAY = 60, 86_400


@dataclass(frozen=True, slots=True)
class Cost:
    """`each`: requests of a file that goes into an empty field. `shared`: those that up to 100 files which come together share.

    `looks` is 1 if what the field holds is exported first, which is another request only where `each` has none for it (`held`);
    if it is the same, or is not to be replaced, nothing more is asked. `logged`: entries of `each` in REDCap's log. A refused
    export of an empty field is none; the shared ones are entries too. `created`: requests more, at most, for a file whose
    record is created: another look-up for names that are almost the same, the record itself, and the look-up once it is there.
    """

    each: int
    shared: int
    held: int
    looks: int
    logged: int
    created: int = 0

    def files(self, per_minute: int, seconds: float) -> float:
        """How many files the limit allows in so many seconds at most, into empty fields and in large groups."""
        return per_minute * seconds / WINDOW * GROUP / (self.each * GROUP + self.shared)

    def told(self, per_minute: int) -> str:
        """The sentence for people; `per_minute` 0: no limit."""
        requests = [_many(self.each, "request") + " a file"]
        logged = [_many(self.logged, "entry") + " a file"]
        if self.shared:
            requests.append(f"{self.shared} for up to {GROUP} files that come together")
            logged.append(f"{self.shared} for those files")
        if self.held:
            requests.append("1 more where the field holds a file already")
        if self.created:
            requests.append(f"up to {self.created} more where the record is created")
            logged.append(f"up to {self.created} more where the record is created")
        if self.looks:
            requests.append("1 in all where it holds the same file")
            logged.append("1 more where the field holds a file already")
        most = "no limit is set"
        if per_minute:
            minute, day = self.files(per_minute, _MINUTE), int(self.files(per_minute, _DAY))
            few = f"{minute:.1f}" if minute < 10 else f"{int(minute):,}"
            most = f"at {per_minute} requests a minute at most {few} files a minute, {day:,} a day"
        return f"{', '.join(requests)}; in REDCap's log {', '.join(logged)}; {most}"


def cost(rule: Rule) -> Cost:
    """The cost of one file of a rule."""
    asks = bool(lookup_reasons(rule))
    chooses = takes_next(rule.instance)
    looks = looks_at_field(rule.settings, chooses)
    confirms = rule.settings.confirm is not Confirm.NONE
    return Cost(
        each=1 + looks + confirms,
        # A record that is found by its values is looked up once more when its files' place in the order is known.
        shared=int(asks) + 2 * bool(rule.record_where),
        held=int(asks and not looks),
        looks=int((asks or looks) and not chooses),  # a new instance holds nothing
        logged=1 + confirms,
        created=3 if rule.settings.missing_record is MissingRecord.CREATE else 0,
    )


def limit_remark(project: Project, limit: int) -> Remark:
    """What the request limit of a project's server leaves to others, and what to ask for before it is raised."""
    whose = f"the address of the proxy {project.proxy}" if project.proxy is not None else "this machine's address"
    others = (
        f"REDCap counts everything that comes from {whose}, the browsers of others behind it too, and bans the "
        "address for good above its own limit (600 a minute, if nobody has changed it)"
    )
    first = "ask its administrator for an exception for this address"
    if is_loopback(urlsplit(project.url).hostname or ""):  # a stand-in, or a gateway that people have put there
        message = f"at most {limit} requests in any minute" if limit else "any number of requests"
        return Remark("ok", place_of(project), f"{message} go to {project.host}, which is this machine itself")
    if not limit:
        message = f"no limit is set for the requests to {project.host}: {others}"
        return Remark("warning", place_of(project), message, f"set requests_per_minute, or {first}")
    message = f"at most {limit} requests in any minute go to {project.host}: {others}"
    if limit > REQUESTS_PER_MINUTE:
        return Remark("warning", place_of(project), message, f"{first}, or take {REQUESTS_PER_MINUTE}")
    return Remark("ok", place_of(project), message, f"before you raise requests_per_minute, {first}")


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word[:-1]}ies" if word.endswith("y") else f"{count} {word}s"
