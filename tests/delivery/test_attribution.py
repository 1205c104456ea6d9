"""How often a server is asked, for how long its answer serves, and against whom a trouble counts; with a clock of our own."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from dropcap.delivery import attribution
from dropcap.delivery.attribution import LEAST, SERVES, Attribution, Limit, Limits, known_limits, limit_of, outcome_for
from dropcap.delivery.circuit import Breakers
from dropcap.delivery.project_client import ProjectClient
from dropcap.delivery.queue import OutcomeHandler, Queues
from dropcap.ledger.job import Held, Job, Later, Refused, State
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.redcap.client import RedcapError
from dropcap.redcap.reply import Meaning, Verdict
from tests.site import NobodyTold

BAN = Meaning(Verdict.BANNED, Reason.BANNED, "banned", "lift it", worded=True)
PAGE = Meaning(Verdict.NOT_THE_API, Reason.NOT_THE_API, "a page", "correct it")
SHUT_OUT = replace(PAGE, shut_out=True)
FORBIDDEN = Meaning(Verdict.PROJECT, Reason.RIGHTS, "no right", "give it")
REFUSED = Meaning(Verdict.REFUSED, Reason.REFUSED, "no", "ask")
MIB = 1024 * 1024


def job(number: int, **more: Any) -> Job:
    base = Job(
        *(number, "f", f"{number}.pdf", State.SENDING, "p", "r", "1", None, "x", None, False, "k", 10, 0, 0, None),
        *(1, 0, 0, 0.0, None, None, None, None, None, None, None, None, None, None, 0.0, 0.0, None, None),
    )
    return replace(base, **more)


class There:
    """A line to a server that answers probes as it is told to."""

    host = server = "s"

    def __init__(self, name: str = "p") -> None:
        self.project = self
        self.name = name
        self.redcap = self
        self.says: Meaning | None = None
        self.asked = self.provoked = 0
        self.stamp = 1
        self.dialect = self
        self.speaks: bool | None = True  # JSON
        self.will_speak: bool | None = None  # once it is provoked

    def is_json(self) -> bool | None:
        return self.speaks

    def provoke(self, stop: object) -> None:
        self.provoked += 1
        self.speaks = self.will_speak

    def token_stamp(self) -> int:
        return self.stamp

    def version(self, stop: object) -> str:
        self.asked += 1
        if self.says is not None:
            raise RedcapError(self.says)
        return "15.0.0"


class Recorder:
    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self.ledger = Ledger(path / "ledger.db")
        self.limits = Limits(self.ledger)
        self.attribution = Attribution(self.limits, threading.Event())

    def a_file(self, meaning: Meaning, one: Job, there: There, **more: Any) -> Any:
        asked = {"sent": False, "importing": True} | more
        return self.attribution.of_a_file(meaning, one, cast("ProjectClient", there), **asked)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Recorder(tmp_path)
    monkeypatch.setattr(attribution, "monotonic", lambda: made.now)
    yield made
    made.ledger.close()


@pytest.mark.parametrize("met", [BAN, PAGE, FORBIDDEN, replace(PAGE, outcome_unknown=True)])
def test_one_probe_a_minute_serves_all(told: Recorder, met: Meaning) -> None:
    there = There()
    for number in range(50):
        told.now += 1.1
        outcome = told.a_file(met, job(number), there)
        told.attribution.stored(job(999), cast("ProjectClient", there))
        assert isinstance(outcome, Later)
        assert outcome.scope is Scope.FILE
        assert outcome.sent == met.outcome_unknown
    assert there.asked == 1
    told.now += SERVES
    told.a_file(met, job(60), there)
    assert there.asked == 2


def test_a_ban_is_believed_once_the_probe_agrees(told: Recorder) -> None:
    there = There()
    there.says = BAN
    outcome = told.a_file(replace(BAN, outcome_unknown=True), job(1), there)
    assert (outcome.scope, outcome.until_resume, outcome.sent) == (Scope.SERVER, True, True)
    there.says = SHUT_OUT
    told.attribution.forget(Scope.SERVER, "s")
    outcome = told.a_file(BAN, job(1), there)
    assert (outcome.reason, outcome.until_resume, outcome.seconds) == (Reason.NOT_THE_API, False, 900.0)
    there.says = FORBIDDEN
    told.attribution.forget(Scope.SERVER, "s")
    assert told.a_file(BAN, job(1), there).scope is Scope.FILE, "who refuses a token bans nobody"


def test_a_question_that_hears_of_a_ban_concerns_its_own_files(told: Recorder) -> None:
    there = cast("ProjectClient", There())
    outcome = told.attribution.of_a_question(BAN, there, sent=True, alone=True)
    assert isinstance(outcome, Later)
    assert (outcome.scope, outcome.own_fault, outcome.sent) == (Scope.FILE, True, True)
    outcome = told.attribution.of_a_question(SHUT_OUT, there, sent=False, alone=False)
    assert isinstance(outcome, Later)
    assert (outcome.scope, outcome.seconds) == (Scope.SERVER, None), "not for a quarter of an hour: the probe is well"


def test_a_refused_token_is_asked_for_by_itself(told: Recorder) -> None:
    two = There("q")
    two.says = replace(FORBIDDEN, reason=Reason.TOKEN)
    assert told.a_file(FORBIDDEN, job(2, project="q"), two).reason is Reason.TOKEN
    assert told.a_file(FORBIDDEN, job(2, project="q"), two).scope is Scope.PROJECT
    told.now += SERVES
    two.says, two.stamp = None, 2
    assert told.a_file(FORBIDDEN, job(2, project="q"), two).scope is Scope.FILE, "a new token"
    assert two.asked == 2
    told.now += SERVES
    two.says, two.stamp = REFUSED, 3
    assert told.a_file(FORBIDDEN, job(3), two).scope is Scope.PROJECT, "it does not even tell its version"


def test_many_projects_of_a_server_share_one_probe_a_minute(told: Recorder) -> None:
    """A file waits for its project's turn, and is not to blame meanwhile; a second one that meets the same waits for nothing."""
    projects = [There(name) for name in "abcdefgh"]
    token = replace(FORBIDDEN, reason=Reason.TOKEN, remedy="a new one")
    outcomes = [told.a_file(token, job(n, project=there.name), there) for n, there in enumerate(projects)]
    assert sum(there.asked for there in projects) == 1
    assert {outcome.scope for outcome in outcomes} == {Scope.FILE}
    assert [outcome.own_fault for outcome in outcomes] == [True] + [False] * 7
    assert [outcome.remedy == "a new one" for outcome in outcomes] == [False] + [True] * 7, "nobody knows better yet"
    assert min(outcome.seconds for outcome in outcomes[1:]) > SERVES
    assert told.a_file(token, job(90, project="h"), projects[-1]).scope is Scope.PROJECT
    told.now += SERVES
    projects[3].says = token
    assert told.a_file(token, job(3, project="d"), projects[3]).scope is Scope.PROJECT, "its turn"
    assert told.a_file(token, job(4, project="e"), projects[4]).scope is Scope.FILE
    assert sum(there.asked for there in projects) == 2


def test_a_maintenance_that_begins_right_after_a_probe_was_well_is_found_out_by_the_next_one(told: Recorder) -> None:
    """Though no file has its turn just then, and nothing else is asked: 40 files that are turned away have it asked, once."""
    down = Meaning(Verdict.SERVER, Reason.MAINTENANCE, "503", "wait", page=True)
    there, breakers = There(), Breakers(NobodyTold())
    outcome_handler = OutcomeHandler(told.ledger, Queues(told.ledger, breakers))
    told.a_file(down, job(99), there)
    began = time.monotonic()
    told.now += 10.0
    for tries in (1, 2):
        for number in range(40):
            outcome = told.a_file(down, job(number, attempts=tries), there)
            outcome_handler.apply(job(number), outcome, cast("ProjectClient", there))
            assert outcome.scope is Scope.FILE
            if tries == 2 and not outcome.own_fault:
                assert SERVES - 10.0 < outcome.seconds <= SERVES - 10.0 + 4.0, "no longer than until the probe"
    assert there.asked == 1
    assert breakers.probes_due(began + SERVES - 11.0) == []
    assert breakers.probes_due(time.monotonic() + SERVES - 10.0) == ["s"]
    assert breakers.probes_due(time.monotonic() + SERVES) == [], "one for all"


def test_words_about_a_maintenance_at_400_are_believed_once_a_probe_agrees(told: Recorder) -> None:
    there = There()
    said = Meaning(Verdict.SERVER, Reason.MAINTENANCE, "REDCap is offline", "wait", worded=True)
    outcome = told.a_file(said, job(1), there)
    assert (outcome.scope, outcome.own_fault, outcome.reason) == (Scope.FILE, True, Reason.MAINTENANCE)
    told.now += SERVES
    there.says = replace(said, message="so says the probe")
    outcome = told.a_file(said, job(1), there)
    assert (outcome.scope, outcome.certain, outcome.message) == (Scope.SERVER, True, "so says the probe")


@pytest.mark.parametrize("importing", [True, False])
def test_the_remedy_for_a_right_is_that_of_what_was_tried(told: Recorder, importing: bool) -> None:
    remedy = told.a_file(replace(FORBIDDEN, reason=Reason.TOKEN), job(1), There(), importing=importing).remedy
    assert ("to import files" in remedy, "to export" in remedy) == (importing, not importing)


def test_a_page_at_5xx_is_the_files_own_while_a_probe_is_well(told: Recorder) -> None:
    there = There()
    for importing, page in ((True, Verdict.UNKNOWN), (False, Verdict.SERVER)):
        ill = Meaning(page, Reason.SERVER_ERROR, "a page", outcome_unknown=importing, page=True, retry_after=700.0)
        outcomes = [told.a_file(ill, job(n), there, importing=importing) for n in range(1, 6)]
        assert {(o.scope, o.sent, o.certain) for o in outcomes} == {(Scope.FILE, importing, False)}
        assert min(o.seconds for o in outcomes) == 700, "as it asks for"
        assert told.a_file(replace(ill, page=False), job(9), there, importing=importing).scope is Scope.SERVER
    assert there.asked == 1
    told.now += SERVES
    there.says = ill
    assert told.a_file(ill, job(1), there).certain, "all meet it"


def test_the_second_file_that_is_forbidden_pauses_the_project_but_for_a_success(told: Recorder) -> None:
    there = There()
    for _ in range(3):
        assert told.a_file(FORBIDDEN, job(1), there).own_fault, "one file, however often"
    assert told.a_file(FORBIDDEN, job(7, name="1.pdf"), there).own_fault, "also if it is dropped again"
    told.attribution.stored(job(9), cast("ProjectClient", there))
    assert told.a_file(FORBIDDEN, job(2), there).scope is Scope.FILE
    assert told.a_file(FORBIDDEN, job(1), there).scope is Scope.PROJECT


def test_a_page_counts_against_a_file_only_if_others_arrive(told: Recorder) -> None:
    there = There()
    assert [told.a_file(PAGE, job(n), there).own_fault for n in range(1, 6)] == [True, True, False, False, False]
    assert told.a_file(PAGE, job(5), there).seconds > SERVES / 2, "no sooner than it may be asked again"
    told.now += 1
    told.attribution.stored(job(9), cast("ProjectClient", there))
    told.now += 1
    assert [told.a_file(PAGE, job(n), there).own_fault for n in range(3, 9)] == [True, True, True, True, True, False]
    assert told.a_file(PAGE, job(8, faults=1), there).own_fault


@pytest.mark.parametrize(
    ("size", "meaning", "large"),
    [
        (MIB, replace(FORBIDDEN, in_xml=True), True),
        (MIB, Meaning(Verdict.UNKNOWN, Reason.SERVER_ERROR, "501", outcome_unknown=True, in_xml=True), True),
        (MIB, replace(REFUSED, in_xml=True), True),
        (MIB, replace(FORBIDDEN, reason=Reason.TOKEN), False),  # in JSON, so the form was there
        (MIB - 1, replace(FORBIDDEN, in_xml=True), False),
        (MIB, FORBIDDEN, False),
        (MIB, REFUSED, False),
    ],
)
def test_who_is_too_large(told: Recorder, size: int, meaning: Meaning, large: bool) -> None:
    there = There()
    outcome = told.a_file(meaning, job(1, size=size), there)
    assert (outcome.reason == Reason.TOO_LARGE) == large
    assert isinstance(outcome, Refused) or not large
    there.says, there.stamp = replace(FORBIDDEN, reason=Reason.TOKEN), 2
    told.now += SERVES
    assert told.a_file(meaning, job(2, size=size), there).reason != Reason.TOO_LARGE, "the token is at fault"


def test_xml_is_no_sign_where_all_errors_come_in_xml(told: Recorder) -> None:
    """Which is asked for once, where no small request has met an error yet, and by one project a minute."""
    xml, there, other = replace(REFUSED, in_xml=True), There(), There("q")
    there.speaks, there.will_speak, other.speaks = None, False, None
    for number in range(5):
        outcome = told.a_file(xml, job(number, size=MIB), there)
        assert isinstance(outcome, Refused)
        assert outcome.reason == Reason.REFUSED
    assert there.provoked == 1
    waits = told.a_file(xml, job(7, size=MIB, project="q"), other)
    assert (type(waits), waits.scope, waits.own_fault) == (Later, Scope.FILE, False)
    told.now += SERVES
    other.will_speak = True
    assert told.a_file(xml, job(7, size=MIB, project="q"), other).reason == Reason.TOO_LARGE
    told.now += SERVES
    other.speaks, other.will_speak = None, None
    assert told.a_file(xml, job(8, size=MIB, project="q"), other).reason == Reason.REFUSED, "it tells nothing: no sign"
    assert other.provoked == 2


def test_limits(told: Recorder) -> None:
    assert limit_of(["5 1", "rubbish", "x 2"]) is None
    assert limit_of(["9 1", "5 2", "7 3"]) == Limit(7, 3)
    assert known_limits({("p", "too_large", "5 1"): 9.0, ("p", "too_large", "6 2"): 9.0, ("q", "no_file", "5 1"): 9.0}) == {
        "p": Limit(6, 2)
    }
    limits = told.limits
    limits.refused(job(1, size=500 * MIB), "a")
    limits.refused(job(1, size=500 * MIB), "a")
    fresh = job(9, size=900 * MIB, attempts=0)
    limits.refused(job(4, size=500 * MIB, again_of=1), "d")
    assert limits.forbids(fresh) is None, "one file, though refused three times"
    limits.refused(job(5, size=500 * MIB), "a")
    assert limits.forbids(fresh) is None, "under another name"
    limits.refused(job(6, name="1.pdf", size=600 * MIB), "b")
    assert limits.forbids(fresh) is None, "what was dropped under the same name"
    limits.refused(job(2, size=800 * MIB), "c")
    assert limits.forbids(fresh) is not None
    assert Limits(told.ledger).forbids(fresh) is not None, "a restart forgets nothing"
    assert limits.forbids(replace(fresh, size=799 * MIB)) is None
    assert limits.forbids(replace(fresh, project="q")) is None
    assert limits.forbids(replace(fresh, attempts=1)) is None
    assert limits.forbids(replace(fresh, again_of=3)) is None
    limits.stored(job(3, size=600 * MIB))
    assert limits.forbids(fresh) is None, "only one is left that is larger than what arrives"
    assert Limits(told.ledger).forbids(fresh) is None
    limits.refused(job(5, size=600 * MIB), "e")
    assert limits.forbids(fresh) is None, "one as large has arrived: it is no limit"
    for number in range(10, 20):
        limits.refused(job(number, project="q", size=LEAST - 1), f"{number}")
    assert limits.forbids(replace(fresh, project="q")) is None, "nor is what refuses small files"


def test_three_breaks_of_one_file_while_smaller_ones_arrive(told: Recorder) -> None:
    limits, large = told.limits, job(1, size=500)
    for _ in range(3):
        limits.broke_off(large)
    assert limits.gives_up(large) is None, "nothing arrives: the line may be down"
    limits.stored(job(2, size=600))
    assert limits.gives_up(large) is None, "a larger one arrives"
    limits.stored(job(3, size=400))
    assert isinstance(limits.gives_up(large), Held)
    assert limits.gives_up(large) is None, "`retry` begins anew"


# How long a server that asks for a pause is left alone


@pytest.mark.parametrize(
    ("verdict", "asked_for", "seconds"),
    [
        (Verdict.RATE_LIMITED, None, 60.0),
        (Verdict.RATE_LIMITED, 5.0, 5.0),
        (Verdict.RATE_LIMITED, 0.0, 1.0),
        (Verdict.SERVER, None, None),
        (Verdict.SERVER, 120.0, 120.0),
        (Verdict.UNKNOWN, 0.0, 1.0),
        (Verdict.UNKNOWN, 999_999_999.0, 3600.0),
    ],
)
def test_retry_after_is_kept_to_within_reason(verdict: Verdict, asked_for: float | None, seconds: float | None) -> None:
    outcome = outcome_for(Meaning(verdict, "maintenance", "later", retry_after=asked_for), sent=False)
    assert isinstance(outcome, Later)
    assert outcome.seconds == seconds
