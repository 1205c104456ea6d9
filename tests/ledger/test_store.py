"""The ledger: guarded steps with a history each, one open job a name, one sending a target, grouped commits."""

from __future__ import annotations

import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropcap.ledger.database import TOLD, Conflict, Damaged, LedgerError
from dropcap.ledger.job import OPEN, TRANSITIONS, Address, Change, Job, Mark, MarkKind, NewFile, Pause, ReadBackFound, State
from dropcap.ledger.query import Query
from dropcap.ledger.sqlite import MIGRATIONS
from dropcap.ledger.store import Lead, Ledger
from dropcap.reasons import Scope
from tests.ledger.engine import Engine


def to(key: str | None = None) -> Address:
    return Address("p", "r", "101", "e", "f", None, key)


def claim(ledger: Ledger, *names: str, key: str | None = None, folder: str = "f") -> list[int]:
    return ledger.claim(folder, [NewFile(name, 1, 2, 3) for name in names], lambda _: to(key))


def job_of(ledger: Ledger, number: int) -> Job:
    found = ledger.query.job(number)
    assert found is not None
    return found


def state(ledger: Ledger, job: int) -> State:
    found = ledger.query.job(job)
    return found.state


def test_one_open_job_a_folder_and_name(ledger: Ledger) -> None:
    (job,) = claim(ledger, "a")
    with pytest.raises(Conflict):
        claim(ledger, "b", "a")
    assert list(ledger.query.open_files("f")) == ["a"], "all of a batch or nothing"
    claim(ledger, "a", folder="other")
    for step in (State.SENDING, State.STORED, State.DONE):
        assert ledger.change([Change(job, step)]) == {job}
    claim(ledger, "a")


def test_one_sending_a_target(ledger: Ledger) -> None:
    first, second = claim(ledger, "a", "b", key="k")
    assert ledger.change([Change(first, State.SENDING), Change(second, State.SENDING)]) == {first}
    assert state(ledger, second) is State.WAITING
    ledger.change([Change(first, State.UNKNOWN)])
    assert ledger.change([Change(second, State.SENDING)]) == set(), "its outcome is not known yet"
    ledger.change([Change(first, State.STORED)])
    assert ledger.change([Change(second, State.SENDING)]) == {second}


def test_files_to_one_target_are_due_one_after_the_other(ledger: Ledger) -> None:
    first, second = claim(ledger, "a", "b", key="k")
    (other,) = claim(ledger, "c", key="another")

    def due() -> list[int]:
        return [job.id for job in ledger.query.due("f", 1e12, 10, 100, small=True)]

    assert due() == [first, other]
    ledger.change([Change(first, State.HELD)])
    assert due() == [other], "also behind one that is held"
    ledger.change([Change(first, State.WAITING), Change(first, State.SENDING), Change(first, State.STORED)])
    assert due() == [second, other], "nobody waits for one that only has to be moved"
    ledger.change([Change(first, State.DONE)])
    assert due() == [second, other]


def test_only_allowed_steps_are_taken_and_each_leaves_a_trace(engine: Engine, ledger: Ledger) -> None:
    @settings(max_examples=60 if engine.sqlite else 20, deadline=None)
    @given(steps=st.lists(st.sampled_from(list(State)), max_size=12))
    def taken(steps: list[State]) -> None:
        (job,) = claim(ledger, os.urandom(8).hex())
        expected = [State.WAITING]
        for step in steps:
            went = ledger.change([Change(job, step, "because")])
            assert (went == {job}) == (step in TRANSITIONS[expected[-1]])
            if went:
                expected.append(step)
        assert state(ledger, job) is expected[-1]
        assert [event.state for event in ledger.query.history(job)] == expected
        ended = ledger.query.job(job)
        assert (ended.ended_at is None) == (expected[-1] in OPEN)

    taken()


def test_a_job_that_is_being_sent_is_not_withdrawn_from_outside(ledger: Ledger) -> None:
    (job,) = claim(ledger, "a")
    ledger.change([Change(job, State.SENDING)])
    assert not ledger.withdraw(job)
    ledger.change([Change(job, State.WAITING)])
    assert ledger.withdraw(job)
    assert state(ledger, job) is State.WITHDRAWN


def test_a_job_that_got_another_target_meanwhile_is_not_sent_to_the_old_one(ledger: Ledger) -> None:
    (job,) = claim(ledger, "a", key="old")
    ledger.reroute("f", [(job, to("new"))])
    assert ledger.change([Change(job, State.SENDING, target=("old", "f"))]) == set()
    assert ledger.change([Change(job, State.SENDING, target=("new", "another field"))]) == set()
    assert ledger.change([Change(job, State.SENDING, target=("new", "f"))]) == {job}


def test_after_a_crash_what_was_being_sent_is_unknown(engine: Engine) -> None:
    ledger = engine.open()
    job, other = claim(ledger, "a", "b")
    ledger.change([Change(job, State.SENDING)])
    ledger.close()
    again = engine.open()
    assert again.recover() == 1
    assert (state(again, job), state(again, other)) == (State.UNKNOWN, State.WAITING)
    assert again.installation == ledger.installation


def test_who_writes_while_dropcap_ends_is_told_and_has_met_no_fault(ledger: Ledger) -> None:
    """A person's `pause`, say, that the daemon has come to as it closed the ledger."""
    ledger.close()
    with pytest.raises(TOLD, match="the ledger is closed"):
        ledger.pause(Pause(Scope.FOLDER, "f", "by_hand", "m", "r", 1.0, True))


def test_names_that_are_not_utf8_and_values_made_of_them(ledger: Ledger) -> None:
    name = os.fsdecode(b"caf\xe9.pdf")
    (job,) = ledger.claim("f", [NewFile(name, 1, 2, 3)], lambda _: Address("p", "r", name, None, "f", None, name))
    ledger.change([Change(job, State.REFUSED, name, {"message": name, "filed_as": name})])
    found = ledger.query.job(job)
    assert (found.name, found.filed_as) == (name, name)
    assert "\\udce9" in found.record


def test_writes_of_many_threads_stand_and_one_that_fails_leaves_the_others(ledger: Ledger) -> None:
    failed: list[int] = []

    def work(number: int) -> None:
        try:
            claim(ledger, f"name {number % 50}")
        except Conflict:
            failed.append(number)

    with ThreadPoolExecutor(100) as threads:
        list(threads.map(work, range(100)))
    assert len(failed) == 50
    assert len(ledger.query.open_files("f")) == 50


def test_a_failed_file_is_known_until_it_is_tried_again(ledger: Ledger) -> None:
    (job,) = claim(ledger, "a")
    ledger.change([Change(job, State.REFUSED), Change(job, State.FAILED, "", {"filed_as": "failed/a"})])
    assert ledger.query.failed_files("f")["failed/a"].job == job
    (again,) = ledger.claim("f", [NewFile("a", 1, 2, 3, again_of=job)], lambda _: to())
    assert ledger.query.failed_files("f") == {}
    first = ledger.query.job(job)
    assert first.tried_again == again


def test_two_failed_files_with_one_place_are_both_known(ledger: Ledger) -> None:
    """The place was free again for the second: somebody has moved the first."""
    jobs = []
    for size in (1, 2):
        jobs += ledger.claim("f", [NewFile("a", size, 5, 7 + size)], lambda _: to())
        ledger.change([Change(jobs[-1], State.REFUSED, "no_rule")])
        ledger.change([Change(jobs[-1], State.FAILED, "filed", {"filed_as": "failed/a"})])
    first, second = jobs
    known = ledger.query.failed_files("f")
    assert (known["failed/a"].job, known["failed/a"].placed) == (second, True)
    assert {file.job: file.placed for file in known.values()} == {first: False, second: True}
    assert list(ledger.query.failed_files("f", [1])) != ["failed/a"]  # there lies the text about the second


def test_history_tells_the_old_name_and_where_the_file_may_have_arrived_under_it(ledger: Ledger) -> None:
    (job,) = claim(ledger, "a.pdf", key="old")
    ledger.change([Change(job, State.SENDING, columns={"instance": 3}), Change(job, State.UNKNOWN)])
    assert ledger.rename_open(job, "b.pdf", to("new"))
    assert ledger.rename_open(job, "c.pdf", to("new"))
    notes = [event.note for event in ledger.query.history(job)]
    assert notes[-2:] == [
        "renamed by a person, before: a.pdf; it may have arrived at 101 e f (3)",
        "renamed by a person, before: b.pdf",
    ]


def test_the_days_records_are_counted(ledger: Ledger) -> None:
    assert [ledger.count_created("f", "2026-11-24", 2) for _ in range(3)] == [True, True, False]
    assert ledger.count_created("f", "2026-11-25", 2)
    assert ledger.count_created("g", "2026-11-24", 2)


def test_a_pause_that_ends_by_itself_touches_none_that_waits_for_somebody(ledger: Ledger) -> None:
    """Another host has paused the same by itself, and does not know yet what a person has entered."""
    by_hand = Pause(Scope.SERVER, "h:443", "by_hand", "m", "r", 1.0, True)
    of_itself = Pause(Scope.SERVER, "h:443", "unreachable", "m", "r", 2.0, False)
    for pause in (of_itself, by_hand, of_itself):
        ledger.pause(pause)
    assert not ledger.resume(Scope.SERVER, "h:443", of_itself=True)
    assert ledger.query.pauses() == [by_hand]
    assert ledger.resume(Scope.SERVER, "h:443")
    ledger.pause(of_itself)
    assert ledger.resume(Scope.SERVER, "h:443", of_itself=True)
    assert ledger.query.pauses() == []


def test_a_newer_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(LedgerError, match="newer"):
        Ledger(path)


def test_what_may_have_been_sent_is_due_before_older_files_to_the_same_target(ledger: Ledger) -> None:
    first, second = claim(ledger, "a", "b")

    def due() -> list[int]:
        return [job.id for job in ledger.query.due("f", 1e12, 10, 100, small=True)]

    ledger.change([Change(second, State.SENDING)])
    assert ledger.found(job_of(ledger, second), "101", "k") is ReadBackFound.ENTERED
    assert ledger.found(job_of(ledger, first), "101", "k") is ReadBackFound.ENTERED, "learned while a newer one is on its way"
    assert due() == [], "the older one waits for it"
    ledger.change([Change(second, State.UNKNOWN)])
    assert due() == [second]
    assert ledger.change([Change(first, State.SENDING)]) == set()
    ledger.change([Change(second, State.SENDING), Change(second, State.STORED)])
    assert due() == [first]


def test_two_files_that_may_have_been_sent_do_not_share_a_target(ledger: Ledger) -> None:
    first, second = (claim(ledger, name, key=f"where {name}")[0] for name in ("a", "b"))
    ledger.change([Change(job, state) for state in (State.SENDING, State.UNKNOWN) for job in (first, second)])
    assert ledger.found(job_of(ledger, first), "101", "k") is ReadBackFound.ENTERED
    assert ledger.found(job_of(ledger, second), "101", "k") is ReadBackFound.ANOTHER_GOES
    job = ledger.query.job(second)
    assert (job.state, job.key) == (State.UNKNOWN, "where b"), "it stays as it was"


@pytest.mark.parametrize(("sent", "after"), [(False, State.WAITING), (True, State.UNKNOWN)])
def test_a_held_job_remembers_that_it_may_have_been_sent(ledger: Ledger, sent: bool, after: State) -> None:
    (job,) = claim(ledger, "a", key="k")
    if sent:
        ledger.change([Change(job, State.SENDING, columns={"attempts": 1, "instance": 4})])
    ledger.change([Change(job, State.HELD)])
    found = ledger.query.job(job)
    assert found.tried_again_as is after
    assert ledger.rename_open(job, "b", to("k"))
    assert state(ledger, job) is after
    ledger.change([Change(job, State.HELD)])
    assert ledger.rename_open(job, "c", to("another"))
    assert state(ledger, job) is State.WAITING, "nothing was sent there"


def test_new_rules_forget_what_was_fixed_for_another_target(ledger: Ledger) -> None:
    (job,) = claim(ledger, "a", key="k")
    ledger.note(job, "fixed", {"instance": 4, "preserved_sha256": "x", "sha256": "y"})
    ledger.reroute("f", [(job, to("k"))])
    kept = ledger.query.job(job)
    ledger.reroute("f", [(job, to("another"))])
    new = ledger.query.job(job)
    assert (kept.instance, kept.preserved_sha256, kept.sha256) == (4, "x", "y")
    assert (new.instance, new.preserved_sha256, new.sha256) == (None, None, None)


def test_numbers_of_more_than_63_bits(ledger: Ledger) -> None:
    # XFS and ext4 keep times beyond 2262, Windows servers number files with all 64 bits.
    mtime_ns, inode = 16_000_000_000 * 10**9, 2**64 - 7
    (job,) = ledger.claim("f", [NewFile("a", 1, mtime_ns, inode)], lambda _: to())
    ledger.change(
        [Change(job, State.REFUSED), Change(job, State.FAILED, columns={"filed_as": "failed/a", "mtime_ns": mtime_ns + 1})]
    )
    found, failed = ledger.query.job(job), ledger.query.failed_files("f")["failed/a"]
    assert (found.mtime_ns, found.inode) == (failed.mtime_ns, failed.inode) == (mtime_ns + 1, inode)
    ledger.claim("f", [NewFile("b", 1, -mtime_ns, inode)], lambda _: to())
    assert [(file.mtime_ns, file.inode) for _, file in ledger.query.each_open("f")] == [(-mtime_ns, inode)]


def test_an_older_file_finds_that_a_newer_one_has_gone_to_its_place(ledger: Ledger) -> None:
    older, newer, elsewhere = claim(ledger, "a", "b", "c")
    ledger.found(job_of(ledger, newer), "101", "k")
    ledger.change([Change(newer, State.SENDING, columns={"attempts": 1}), Change(newer, State.STORED), Change(newer, State.DONE)])
    assert ledger.found(job_of(ledger, older), "101", "k") is ReadBackFound.NEWER_WENT
    assert ledger.found(job_of(ledger, elsewhere), "102", "other") is ReadBackFound.ENTERED


def test_files_that_take_the_next_instance_do_not_mind_who_went_before(ledger: Ledger) -> None:
    address = Address("p", "r", "101", "e", "f", None, "provisional", takes_next=True)
    older, newer = ledger.claim("f", [NewFile(name, 1, 2, 3) for name in ("a", "b")], lambda _: address)
    ledger.found(job_of(ledger, newer), "101", "k")
    ledger.change([Change(newer, State.SENDING, columns={"attempts": 1, "instance": 2}), Change(newer, State.STORED)])
    assert ledger.found(job_of(ledger, older), "101", "k") is ReadBackFound.ENTERED


def test_what_redcap_told_is_kept_as_long_as_it_was_meant_to_be(ledger: Ledger) -> None:
    now = time.time()
    ledger.learn("p", "no_file", "nothing here", now + 50)
    assert set(ledger.query.learned(now + 49)) == {("p", "no_file", "nothing here")}
    assert set(ledger.query.learned(now + 51)) == set()


_SAME, _OTHER = "the token", "another token"


@pytest.mark.parametrize(
    ("kept", "told", "configured", "now"),
    [
        (None, Lead(17, _SAME), None, Lead(17, _SAME)),
        (None, Lead(None, _SAME), None, Lead(None, _SAME)),
        (None, Lead(None, _SAME), 17, Lead(17, _SAME)),
        (None, Lead(19, _SAME), 17, None),
        (Lead(17, _SAME), Lead(17, _OTHER), None, Lead(17, _OTHER)),
        (Lead(17, _SAME), Lead(19, _OTHER), None, None),
        (Lead(17, _SAME), Lead(None, _SAME), None, Lead(17, _SAME)),
        (Lead(17, _SAME), Lead(None, _OTHER), None, None),
        (Lead(17, _SAME), Lead(19, _OTHER), 19, Lead(19, _OTHER)),
        (Lead(17, _SAME), Lead(None, _OTHER), 19, Lead(19, _OTHER)),
        (Lead(17, _SAME), Lead(17, _SAME), 19, None),
        (Lead(None, _SAME), Lead(17, _SAME), None, Lead(17, _SAME)),
        (Lead(None, _SAME), Lead(17, _OTHER), None, None),
        (Lead(None, _SAME), Lead(None, _OTHER), None, None),
    ],
)
def test_an_entry_leads_to_the_first_project_until_another_is_configured(
    ledger: Ledger, kept: Lead | None, told: Lead, configured: int | None, now: Lead | None
) -> None:
    if kept is not None:
        assert ledger.lead("p", kept, None) == (None, True)
    assert ledger.lead("p", told, configured) == (kept, now is not None)
    left = now or kept
    assert ledger.lead("p", Lead(1_000, "whose?"), None)[0] == left
    if left is not None:
        assert ledger.query.told_projects() == ({} if left.number is None else {"p": left.number})


def test_marks_go_with_their_folder_until_its_file_is_claimed(ledger: Ledger) -> None:
    mark = Mark("a\udcff.pdf", MarkKind.CUT, 1, 2**63, 3, 2**64 - 1, 5.0)
    ledger.remember_folder("consents", "/srv", "m", "ext4")
    ledger.mark("consents", [mark])
    ledger.rename_folder("consents", "forms")
    assert (ledger.query.marks("consents"), ledger.query.marks("forms", mark.name)) == ([], [mark])
    ledger.claim("forms", [NewFile(mark.name, 1, 2, 3)], lambda _: Address())
    assert ledger.query.marks("forms") == []


def test_what_a_sentence_said_of_a_new_record_is_said_by_columns_now(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in ";".join(MIGRATIONS[:4]).split(";"):
        connection.execute(statement)
    connection.execute("insert into meta values ('installation', 'before')")
    told = [
        (1, "waiting", "501", "its record was created", "asks REDCap to create record 501"),
        (2, "waiting", "502", "the server is ill", "asks REDCap to create record 502"),
        (3, "waiting", "503", "the server is ill", "asks REDCap to create record 999"),  # renamed since
        (4, "waiting", "504", "the server is ill", "attempt 1"),
        (5, "done", "505", "", "asks REDCap to create record 505"),
    ]
    for number, state, record, message, note in told:
        connection.execute(
            "insert into job (id, folder, name, state, project, rule, record, field, size, mtime_ns, inode, claimed_at,"
            " changed_at, reason, message) values (?,'f',?,?,'p','r',?,'x',1,1,1,1.0,1.0,'of_another_version',?)",
            (number, str(number).encode(), state, record, message),
        )
        connection.execute("insert into history values (?,1.0,'waiting',?)", (number, note))
    connection.execute("insert into pause values ('moon', 'm', 'by_hand', '', '', 1.0, 1)")
    connection.execute("pragma user_version = 4")
    connection.close()
    ledger = Ledger(path)
    try:
        jobs = [ledger.query.job(number) for number in range(1, 6)]
        asked = [("501", "501"), ("502", None), (None, None), (None, None), (None, None)]
        assert [(one.create_asked, one.created) for one in jobs if one] == asked
        assert {one.reason for one in jobs if one} == {"of_another_version"}, "kept as it is"
        assert ledger.query.pauses() == [], "of something that this version does not know"
    finally:
        ledger.close()


# What a clock that was ahead has put off is due once it stands right


NOW, HOUR, DAY = 1_800_000_000.0, 3600.0, 86400.0


@pytest.mark.parametrize(
    ("says", "entered", "columns", "due"),
    [
        ("put off for two seconds", NOW - 1, {"due": NOW + 1}, NOW + 1),
        ("an hour, for its record", NOW - 10, {"due": NOW + HOUR, "reason": "no_record"}, NOW + HOUR),
        ("until tomorrow", NOW - 10, {"due": NOW + DAY, "reason": "create_limit"}, NOW + DAY),
        ("by a clock that was 400 days ahead", NOW + 400 * DAY, {"due": NOW + 400 * DAY + 2}, 0.0),
        ("ten minutes ahead", NOW + 600, {"due": NOW + 602}, 0.0),
        ("its day was 400 days ahead", NOW + 400 * DAY, {"due": NOW + 401 * DAY, "reason": "create_limit"}, 0.0),
        ("the day's limit, ten minutes ahead", NOW + 600, {"due": NOW + DAY, "reason": "create_limit"}, NOW + DAY),
        ("due for long", NOW + 400 * DAY, {"due": 0.0}, 0.0),
        ("later than any delay, whenever it was entered", NOW - 10, {"due": NOW + 3 * DAY}, 0.0),
    ],
)
def test_what_is_due(engine: Engine, says: str, entered: float, columns: dict[str, Any], due: float) -> None:
    clock = [entered]
    ledger = engine.open(lambda: clock[0])
    (job,) = ledger.claim("f", [NewFile("a", 1, 1, 1)], lambda _: Address())
    ledger.change([Change(job, State.WAITING, "", columns)])
    clock[0] = NOW
    assert ledger.clock_was_set() == (due != columns["due"])
    found = ledger.query.job(job)
    assert found.due == due, says


# A ledger whose header was written over is damaged, though SQLite has no code for it


#: Fields of the header, four bytes each (the file format of SQLite, 1.3).
SCHEMA_FORMAT, TEXT_ENCODING = 44, 56


@pytest.mark.parametrize("field", [SCHEMA_FORMAT, TEXT_ENCODING])
def test_a_field_of_the_header_that_is_none(tmp_path: Path, field: int) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    with path.open("r+b") as file:
        file.seek(field)
        file.write(b"\xff" * 4)
    with pytest.raises(Damaged):
        Ledger(path)
    found = Query(path)
    with pytest.raises(Damaged):
        found.pauses()
    found.close()
