"""Questions that REDCap refuses: the rule that asks one waits, and no other."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from dropcap.delivery.backoff import backoff
from dropcap.delivery.line import ProjectLine
from dropcap.delivery.lookup import NOBODY
from dropcap.delivery.queue import Candidate
from dropcap.display import shown
from dropcap.ledger.outcome import Later
from dropcap.reasons import Reason, Scope
from dropcap.redcap.client import RedcapError
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.window import Stopped

#: What is asked for whom: a folder, a rule of it, and the fields that its file needs.
Asking = tuple[str, ...]


class Refusals:
    """When a rule's question is asked again. May be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waits: dict[Asking, tuple[int, float]] = {}  # how often it was refused in a row, and until when it waits

    def refused(self, group: Sequence[Candidate], meaning: Meaning, *, of_this_file: bool) -> Later:
        """What becomes of files of one rule whose question was refused: all of them wait equally long.

        `of_this_file`: about others of the rule REDCap answers; one that is refused again and again is held in the end.
        """
        rule = asking(group[0])
        if of_this_file:
            message = f"REDCap refuses to be asked about this file's record: {meaning.message}"
            return Later(meaning.reason, message, meaning.remedy, Scope.FILE, own_fault=True)
        with self._lock:
            now = self._clock()
            tries, until = self._waits.get(rule, (0, 0.0))
            if now >= until:
                tries, until = tries + 1, now + backoff(tries + 1)
                self._waits[rule] = tries, until
        message = f"REDCap refuses what rule `{shown(rule[1])}` asks of the record: {meaning.message}"
        remedy = "run `dropcap check`, which asks the same; dropcap asks again by itself"
        return Later(meaning.reason, message, remedy, Scope.FILE, seconds=until - now)

    def answered(self, group: Sequence[Candidate]) -> None:
        """REDCap has answered what the rules of these files ask."""
        with self._lock:
            for candidate in group if self._waits else ():
                self._waits.pop(asking(candidate), None)


def asking(candidate: Candidate) -> Asking:
    """The question about a file's record. A rule asks one, or one for each field that it leads to."""
    target = candidate.route.target
    fields = (target.field, *sorted({*target.must_match, *target.record_where}))
    return candidate.job.folder, candidate.route.rule.name, *fields


def by_rule(group: Sequence[Candidate]) -> list[list[Candidate]]:
    """The group in parts, each of files of one rule that ask about the same fields."""
    parts: dict[Asking, list[Candidate]] = defaultdict(list)
    for candidate in group:
        parts[asking(candidate)].append(candidate)
    return list(parts.values())


def refuses_all(line: ProjectLine, candidate: Candidate, stop: threading.Event) -> bool:
    """Whether REDCap refuses even to say that any record is there: then it is no rule's trouble, but the project's."""
    record = candidate.route.target.record or candidate.job.record
    for name in dict.fromkeys((record or NOBODY, NOBODY)):
        try:
            line.client.records(records=[name], fields=[line.structure(stop=stop).record_id_field], stop=stop)
        except RedcapError:
            continue
        except Stopped:
            return True
        return False
    return True


def is_of_the_question(error: RedcapError | Stopped) -> bool:
    """Whether REDCap may answer another rule's question."""
    return isinstance(error, RedcapError) and (error.meaning.verdict is Verdict.REFUSED or error.meaning.reason == Reason.RIGHTS)
