"""Whose trouble it is, and when to try again; with a clock of our own."""

from __future__ import annotations

import pytest

from dropcap.delivery.circuit import FIRST, FRESH_FIRST, MOST, PROJECT_FIRST, TRIAL_LASTS, Breakers, backoff
from dropcap.ledger.job import Later, Pause

DOWN = Later("unreachable", "no connection", scope="server", certain=True)
ODD = Later("server_error", "500", scope="server", sent=True)
TOKEN = Later("token", "refused", scope="project", certain=True)
BAN = Later("banned", "banned", scope="server", until_resume=True, certain=True)


class Recorder:
    def __init__(self) -> None:
        self.opened: list[Pause] = []
        self.closed: list[tuple[str, str]] = []
        self.breakers = Breakers(self)

    def pause_began(self, pause: Pause) -> None:
        self.opened.append(pause)

    def pause_ended(self, scope: str, name: str, asked: bool) -> None:
        self.closed.append((scope, name))


def test_a_server_that_is_down_is_asked_again_one_probe_at_a_time_later_and_later() -> None:
    told, now = Recorder(), 0.0
    told.breakers.failed("server", "s", 1, DOWN, now)
    assert [pause.reason for pause in told.opened] == ["unreachable"]
    waits = []
    for _ in range(12):
        assert not told.breakers.lets_through("server", "s", 2, now)
        assert told.breakers.probes_due(now) == []
        wait = told.breakers.next_wake(now)
        assert wait is not None
        waits.append(wait)
        now += wait
        assert told.breakers.probes_due(now) == ["s"]
        assert told.breakers.probes_due(now) == [], "one at a time"
        told.breakers.failed("server", "s", None, DOWN, now)
    assert FIRST / 2 <= waits[0] <= FIRST
    assert MOST / 2 <= waits[-1] <= MOST
    assert len(told.opened) == 1, "one pause, however many probes"
    told.breakers.succeeded("server", "s", None)
    assert told.closed == [("server", "s")]
    assert told.breakers.lets_through("server", "s", 2, now)


def test_a_pause_by_hand_on_another_host_outlasts_one_that_ends_by_itself() -> None:
    told = Recorder()
    told.breakers.failed("server", "s", None, DOWN, 0.0)
    told.breakers.agree(told.opened, 0.0, 0.0)
    by_hand = Pause("server", "s", "by_hand", "m", "r", 2.0, True)
    assert told.breakers.agree([by_hand], 1.0, 1.0)
    told.breakers.succeeded("server", "s", None)  # of a probe that was under way
    assert told.closed == []
    assert told.breakers.stopped("server", "s")
    assert not told.breakers.agree([by_hand], 2.0, 2.0)
    assert told.breakers.agree([], 3.0, 3.0)
    assert told.breakers.lets_through("server", "s", 1, 3.0)


def test_a_pause_that_another_host_ends_before_it_was_looked_for_is_over() -> None:
    told = Recorder()
    by_hand = Pause("project", "p", "by_hand", "m", "r", 1.0, True)
    told.breakers.by_hand(by_hand)
    assert not told.breakers.agree([], 0.5, 1.0), "it is still to be entered"
    told.breakers.entered(by_hand, 2.0)
    assert not told.breakers.agree([], 1.5, 2.0), "it was entered since the ledger was asked"
    assert told.breakers.stopped("project", "p")
    assert told.breakers.agree([], 2.5, 2.5)
    assert not told.breakers.stopped("project", "p")

    told.breakers.by_hand(again := Pause("project", "p", "by_hand", "m", "r", 3.0, True))
    told.breakers.entered(by_hand, 3.0)
    assert not told.breakers.agree([], 4.0, 4.0), "what was entered is the one before"
    told.breakers.entered(again, 4.5)
    assert told.breakers.agree([], 5.0, 5.0)


def test_a_server_that_turns_files_away_is_asked_unless_one_arrives_before() -> None:
    told = Recorder()
    told.breakers.probe_at("s", 50.0)
    told.breakers.probe_at("s", 90.0)
    assert told.breakers.lets_through("server", "s", 1, 0.0), "it is not paused for that"
    assert told.breakers.next_wake(10.0) == 40.0
    told.breakers.succeeded("server", "s", 1)
    assert told.breakers.probes_due(60.0) == []
    told.breakers.probe_at("s", 100.0)
    assert told.breakers.probes_due(100.0) == ["s"]
    told.breakers.failed("server", "s", None, DOWN, 100.0)
    assert [pause.reason for pause in told.opened] == ["unreachable"]


def test_one_file_that_fails_on_a_well_server_is_to_blame_itself() -> None:
    told = Recorder()
    told.breakers.failed("server", "s", 1, ODD, 0.0)
    assert told.opened == []
    assert told.breakers.lets_through("server", "s", 2, 0.0), "others go on meanwhile"
    assert len(told.breakers.probes_due(0.0)) == 1
    assert told.breakers.succeeded("server", "s", None) == [1]
    assert told.breakers.succeeded("server", "s", None) == [], "blamed once"


def test_a_success_of_another_file_blames_the_one_that_failed() -> None:
    told = Recorder()
    told.breakers.failed("server", "s", 1, ODD, 0.0)
    assert told.breakers.succeeded("server", "s", 2) == [1]


def test_the_first_probe_that_finds_the_server_well_blames_the_file_for_the_pause() -> None:
    told = Recorder()
    told.breakers.failed("server", "s", 1, DOWN, 0.0)
    assert told.breakers.succeeded("server", "s", None) == [1]
    told.breakers.failed("server", "s", 1, DOWN, 0.0)
    told.breakers.failed("server", "s", None, DOWN, 0.0)
    assert told.breakers.succeeded("server", "s", None) == [], "it was down when it was asked"
    limited = Later("rate_limited", "", scope="server", seconds=1.0, certain=True)
    told.breakers.failed("server", "s", 1, limited, 0.0)
    assert told.breakers.succeeded("server", "s", None) == [], "it asked for a rest"


def test_a_server_whose_probes_alone_succeed_is_tried_with_one_file_at_a_time() -> None:
    told, now = Recorder(), 0.0
    for job in (1, 2):
        told.breakers.failed("server", "s", job, DOWN, now)
        assert told.breakers.succeeded("server", "s", None) == [job]
    told.breakers.failed("server", "s", 3, DOWN, now)
    now += MOST
    assert told.breakers.probes_due(now) == []
    assert told.breakers.lets_through("server", "s", 4, now)
    assert not told.breakers.lets_through("server", "s", 5, now)
    assert told.breakers.succeeded("server", "s", 4) == []
    assert told.breakers.lets_through("server", "s", 5, now)
    told.breakers.failed("server", "s", 5, DOWN, now)
    now += MOST
    assert len(told.breakers.probes_due(now)) == 1, "a file has arrived since: it is asked first again"


def test_a_file_on_trial_that_never_comes_back_is_not_waited_for_for_ever() -> None:
    told = Recorder()
    told.breakers.failed("project", "p", 1, TOKEN, 0.0)
    assert told.breakers.lets_through("project", "p", 2, PROJECT_FIRST)
    assert not told.breakers.lets_through("project", "p", 3, PROJECT_FIRST + TRIAL_LASTS)
    assert told.breakers.lets_through("project", "p", 3, PROJECT_FIRST + TRIAL_LASTS + 1)
    assert not told.breakers.lets_through("project", "p", 2, PROJECT_FIRST + TRIAL_LASTS + 1), "one at a time"


def test_a_project_that_takes_another_file_blames_the_one_that_it_refused() -> None:
    told = Recorder()
    told.breakers.failed("project", "p", 1, TOKEN, 0.0)
    assert told.breakers.succeeded("project", "p", 2) == [1]
    told.breakers.failed("project", "p", 1, TOKEN, 0.0)
    told.breakers.try_now("project", "p")
    assert told.breakers.succeeded("project", "p", 2) == [], "it was the token"


def test_a_trouble_of_one_project_among_others_is_no_files_fault() -> None:
    told, now, blamed = Recorder(), 0.0, []
    for number in range(40):
        for job in (100 + number, *range(5)) if number % 2 else (*range(5), 100 + number):  # no folder is always first
            project = "p" if job < 100 else "q"
            if not (
                told.breakers.lets_through("server", "s", job, now) and told.breakers.lets_through("project", project, job, now)
            ):
                told.breakers.give_back(job)
            elif project == "p":
                told.breakers.failed("server", "s", job, ODD, now)
                told.breakers.doubt("p", "s", job, ODD, now)
            else:
                blamed += told.breakers.succeeded("project", "q", job)
                blamed += told.breakers.succeeded("server", "s", job)
        for server in told.breakers.probes_due(now):
            blamed += told.breakers.succeeded("server", server, None)
        now += MOST
    assert len(blamed) <= 3
    assert [(pause.scope, pause.name) for pause in told.breakers.pauses()] == [("project", "p")]
    now += 2 * FRESH_FIRST  # until then only one that has not failed yet
    assert told.breakers.lets_through("project", "p", 1, now)
    assert not told.breakers.lets_through("project", "p", 2, now), "one at a time"
    assert told.breakers.succeeded("project", "p", 1) == []
    assert told.breakers.succeeded("server", "s", 1) == []
    assert told.breakers.pauses() == []


def test_three_different_files_in_a_row_are_the_servers_trouble_and_one_at_a_time_finds_out() -> None:
    told, now = Recorder(), 0.0
    for job in (1, 2, 3):
        assert told.opened == []
        blamed = told.breakers.failed("server", "s", job, ODD, now)
        assert told.breakers.probes_due(now) == (["s"] if job == 1 else []), "one probe a minute serves all"
        if job < 3:
            assert blamed + told.breakers.succeeded("server", "s", None) == [job]
    assert [pause.reason for pause in told.opened] == ["server_error"]
    assert not told.breakers.lets_through("server", "s", 4, now)
    now += MOST
    assert told.breakers.lets_through("server", "s", 4, now), "one, on trial"
    assert not told.breakers.lets_through("server", "s", 5, now)
    assert told.breakers.lets_through("server", "s", 4, now)
    told.breakers.give_back(4)
    assert told.breakers.lets_through("server", "s", 5, now)
    assert told.breakers.succeeded("server", "s", 5) == [], "nobody is blamed for what was the server's"
    assert told.breakers.lets_through("server", "s", 6, now)


def test_a_ban_ends_with_resume_only() -> None:
    told = Recorder()
    told.breakers.failed("server", "s", 1, BAN, 0.0)
    assert not told.breakers.lets_through("server", "s", 2, 1e9)
    assert told.breakers.probes_due(1e9) == []
    assert told.breakers.next_wake(0.0) is None
    told.breakers.succeeded("server", "s", 1)
    told.breakers.failed("server", "s", 3, DOWN, 0.0)
    assert [pause.reason for pause in told.breakers.pauses()] == ["banned"]
    assert told.breakers.resume("server", "s")
    assert told.breakers.lets_through("server", "s", 2, 0.0)
    assert not told.breakers.resume("server", "s")


def test_a_project_waits_longer_and_a_new_token_is_tried_at_once() -> None:
    told = Recorder()
    told.breakers.failed("project", "p", 1, TOKEN, 0.0)
    assert not told.breakers.lets_through("project", "p", 2, PROJECT_FIRST / 2 - 1)
    assert told.breakers.try_now("project", "p")
    assert told.breakers.lets_through("project", "p", 2, 0.0)
    told.breakers.succeeded("project", "p", 2)
    assert told.closed == [("project", "p")]


def test_what_a_reply_asks_for_is_waited_for() -> None:
    told = Recorder()
    told.breakers.failed("server", "s", 1, Later("rate_limited", "", scope="server", seconds=17.0, certain=True), 0.0)
    assert told.breakers.next_wake(0.0) == pytest.approx(17.0)


def test_pauses_by_hand_outlive_troubles_and_restarts() -> None:
    told = Recorder()
    hand = Pause("project", "p", "by_hand", "m", "r", 1.0, True)
    told.breakers.by_hand(hand)
    told.breakers.failed("project", "p", 1, TOKEN, 0.0)
    assert told.breakers.pauses() == [hand]
    again = Recorder()
    again.breakers.load([hand], 0.0)
    assert not again.breakers.lets_through("project", "p", 1, 1e9)


@pytest.mark.parametrize(
    ("tries", "low", "high"), [(0, 1, 2), (1, 1, 2), (2, 2, 4), (3, 4, 8), (50, 450, 900), (10**6, 450, 900)]
)
def test_backoff(tries: int, low: float, high: float) -> None:
    waits = [backoff(tries, 2.0, 900.0) for _ in range(200)]
    assert low <= min(waits) < max(waits) <= high


def test_a_probe_answers_for_a_minute() -> None:
    told = Recorder()
    for second in range(0, 180, 5):
        now = float(second)
        blamed = told.breakers.failed("server", "s", 1, ODD, now)
        asked = told.breakers.probes_due(now)
        assert bool(asked) == (second % 60 == 0)
        assert blamed + (told.breakers.succeeded("server", "s", None) if asked else []) == [1]
    told.breakers.failed("server", "s", 1, DOWN, 181.0)
    assert told.breakers.pauses(), "what is certain pauses all the same"


def test_a_file_that_has_not_failed_is_tried_before_those_that_have() -> None:
    told = Recorder()
    for job in (1, 2, 3):
        told.breakers.failed("project", "p", job, TOKEN, 0.0)
    wait = told.breakers.next_wake(0.0)
    assert wait is not None
    assert not told.breakers.lets_through("project", "p", 1, wait)
    assert told.breakers.lets_through("project", "p", 4, wait), "though it is behind them"
    told.breakers.give_back(4)
    assert told.breakers.lets_through("project", "p", 2, wait + FRESH_FIRST), "there may be no other"


def test_where_files_are_refused_alike_those_of_other_folders_are_tried_first_and_soon() -> None:
    told, now = Recorder(), 0.0
    for job in (1, 2, 3, 4, 5):  # four of them were on their way
        told.breakers.failed("project", "p", job, Later("refused", "no", scope="project", certain=True), now, "a")
    wait = told.breakers.next_wake(now)
    assert wait is not None
    assert wait <= FIRST, "not later for having been many"
    now += wait
    assert not told.breakers.lets_through("project", "p", 6, now, "a"), "perhaps the folder's own trouble"
    assert told.breakers.lets_through("project", "p", 9, now, "b")
    told.breakers.give_back(9)
    assert not told.breakers.lets_through("project", "p", 1, now + FRESH_FIRST, "a")
    assert told.breakers.lets_through("project", "p", 6, now + FRESH_FIRST, "a")
    told.breakers.failed("project", "p", 6, Later("refused", "no", scope="project", certain=True), now, "a")
    wait = told.breakers.next_wake(now)
    assert wait is not None
    assert FIRST < wait <= 2 * FIRST, "longer after each try"
    now += wait + 2 * FRESH_FIRST + 0.01
    assert told.breakers.lets_through("project", "p", 1, now, "a"), "if there is no other"
    told.breakers.succeeded("project", "p", 1)
    assert told.breakers.lets_through("project", "p", 2, now, "a")


def test_where_three_files_in_a_row_fail_those_of_other_folders_are_tried_first() -> None:
    told = Recorder()
    told.breakers.failed("server", "s", 1, ODD, 0.0, "a")
    told.breakers.probes_due(0.0)
    told.breakers.succeeded("server", "s", None)
    for job in (2, 3, 4, 5):  # the last of them was on its way
        told.breakers.failed("server", "s", job, ODD, 1.0, "a")
    wait = told.breakers.next_wake(1.0)
    assert wait is not None
    assert wait <= FIRST
    assert not told.breakers.lets_through("server", "s", 6, 1.0 + wait, "a")
    assert told.breakers.lets_through("server", "s", 9, 1.0 + wait, "b")
