"""One ledger with all that is unusual in it, kept by both engines: each question is asked of both, and answered alike."""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from dropcap.ledger.chain import Act, AuditAction, AuditActor, AuditChannel, Head
from dropcap.ledger.job import Address, Back, Change, Mark, MarkKind, NewFile, Pause, State
from dropcap.ledger.query import Absent, DeliveryQuery, IntakeQuery, Query
from dropcap.ledger.reports import Figures, PeopleQuery, WantedJobs
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from tests.ledger.engine import Engine, PostgresEngine, SqliteEngine

START = 1_800_000_000.0
SHA = "ab" * 32
HUGE = 2**64 - 7  # an inode
FAR = 16_000_000_000 * 10**9  # a time beyond 2262, in nanoseconds
LATIN1 = os.fsdecode(b"caf\xe9.pdf")
#: A key, record and note may hold what PostgreSQL's text refuses, and what stands for it there.
NUL = "1\x002\x1e0\x1e1\x1e"
FOLDERS = ("f", "café ☕", NUL)
ME = AuditActor(1000, 2**31, AuditChannel.COMMAND, "j\u00f6rg \0")

NAMES = (
    *("plain.pdf", "sub/plain.pdf", LATIN1, "sub/deep/" + LATIN1, "Ünïcode É.pdf", "E\u0301t\u00e9.pdf", "日本語.pdf"),
    *("100%_?.pdf", "line\nbreak.pdf", "'quoted' \\x41.pdf", "a" * 255, "\x1e0.pdf", "sub0"),
)


def address(number: int, key: str | None = None, **other: Any) -> Address:
    record = ("", "101", NUL, "Ä 7", LATIN1)[number % 5]
    event = (None, "e", "")[number % 3]
    instance = (None, 1, 3)[number // 2 % 3]
    key = key if key is not None else (None, "k", NUL, f"k{number}")[number % 4]
    plain = Address("p", f"r{number % 2}", record, event, "f", instance, key, origin=f'{{"dropcap":"{number % 2}"}}')
    return replace(plain, **other)


def fill(ledger: Ledger) -> None:
    """What no ledger has all at once. All that is done goes well, so that both engines give the same numbers."""
    (nothing,) = ledger.claim("f", [NewFile("nothing", 1, 1, 1)], lambda _: Address())
    ledger.withdraw(nothing)
    for folder in FOLDERS:
        ledger.remember_folder(folder, f"/srv/{LATIN1.encode('utf-8', 'replace').decode()}", "marker", "ext4")
        files = [NewFile(n, 10 + i % 3, FAR - i, HUGE - i, owner=2**31 + 5) for i, n in enumerate(NAMES)]
        jobs = ledger.claim(folder, files, lambda name, folder=folder: address(NAMES.index(name), f"{folder} {name}"))  # type: ignore[misc]
        on_their_way(ledger, folder, jobs)
        marks = [Mark(n, kind, 2**40, FAR, -FAR, HUGE, 5.5) for n in NAMES[:3] for kind in MarkKind]
        ledger.mark(folder, marks)
        ledger.unmark(folder, NAMES[:1], [MarkKind.FULL])
        ledger.count_created(folder, "2026-11-27", 3)
        for record in ("101", NUL, LATIN1):
            ledger.mismatched(folder, record, 1e6)
        ledger.pause(Pause(Scope.FOLDER, folder, Reason.BY_HAND, NUL, "", 3.25, until_resume=True))
        ledger.keep_left_marks(folder, f"left {NUL}")
        ledger.act(ME, AuditAction.PAUSE, folder=folder, names=list(NAMES))
    ledger.learn("p", "project_id", "7", 1e12)
    ledger.learn("p", "no_file", LATIN1 + NUL, 1e12)
    same_key(ledger)
    come_back(ledger)


def on_their_way(ledger: Ledger, folder: str, jobs: list[int]) -> None:
    """One job in each state that there is, and some more."""
    sent = {"attempts": 1, "sent_sha256": SHA, "sent_ctime_ns": -FAR}
    done, failed, held, refused, stored, unknown, waiting, withdrawn, sending, taken, *_ = jobs
    for job in (done, stored, taken):
        ledger.change([Change(job, State.SENDING, NUL, sent)])
        columns = {"sha256": SHA, "result": "stored", "confirmed": "readback", "seconds": 1.5}
        ledger.change([Change(job, State.STORED, LATIN1, columns)])
    ledger.change([Change(done, State.DONE, "", {"filed_as": "done/" + LATIN1, "preserved_as": LATIN1, "preserved_sha256": SHA})])
    ledger.change([Change(taken, State.DONE)])
    for job in (failed, refused):
        ledger.change([Change(job, State.REFUSED, "", {"reason": Reason.NO_RULE, "message": NUL, "remedy": "r"})])
    ledger.change([Change(failed, State.FAILED, "", {"filed_as": "failed/" + LATIN1})])
    ledger.copying(refused, LATIN1 + ".part", LATIN1)
    ledger.change([Change(held, State.HELD, "", {"reason": Reason.RIGHTS, "message": "m", "remedy": "r"})])
    ledger.change([Change(unknown, State.SENDING, "", sent | {"instance": 4}), Change(unknown, State.UNKNOWN)])
    ledger.change([Change(waiting, State.WAITING, "", {"due": START + 100, "reason": Reason.NO_RECORD, "lookups": 2})])
    ledger.change([Change(withdrawn, State.SENDING, "", sent), Change(withdrawn, State.UNKNOWN)])
    ledger.withdraw(withdrawn)
    ledger.change([Change(sending, State.SENDING, "", sent)])
    ledger.blame([sending, waiting])


def same_key(ledger: Ledger) -> None:
    """Files to one place, of which some wait for others."""
    files = [NewFile(f"same {n}", 10, 1, 1) for n in range(4)]
    numbers = itertools.count(1)
    first, *_ = ledger.claim("f", files, lambda _: address(1, "one place", instance=next(numbers) // 4 or None))
    ledger.change([Change(first, State.HELD, "", {"reason": Reason.RIGHTS})])
    (next_one,) = ledger.claim("away", [NewFile("n", 10, 1, 1)], lambda _: address(1, "next", takes_next=True, instance=None))
    ledger.claim("f", [NewFile("after n", 10, 1, 1)], lambda _: address(1, "next", instance=2))
    for key in ("p\0Ä \x1e7\0e\0f\0", "pq\0101\0\0instances"):
        ledger.claim("f", [NewFile(key[:2].strip("\0"), 10, 1, 1)], lambda _, key=key: address(1, key))  # type: ignore[misc]
    ((last, before),) = ledger.query.keys_without_project("p")
    ledger.claim("f", [NewFile("completed", 10, 1, 1)], lambda _: address(1, before))
    ledger.order([(last, before, f"https://redcap/api/#7{before[1:]}")])
    ledger.note(next_one, NUL, {"instance": 2**40, "preserved_as": LATIN1})


def come_back(ledger: Ledger) -> None:
    """One that was taken away is back under another name, and one that failed is tried again."""
    (away,) = ledger.claim("f", [NewFile("taken", 77, 1, 1)], lambda _: address(1, "back", instance=None, record="9"))
    sent = {"attempts": 1, "instance": 5, "sent_sha256": SHA}
    ledger.change([Change(away, State.SENDING, "", sent), Change(away, State.UNKNOWN)])
    ledger.withdraw(away)
    back = NewFile("back", 77, 1, 1, back=Back(away, SHA, goes_on=False))
    (heir,) = ledger.claim("f", [back], lambda _: address(1, "back", instance=None, record="9"))
    other = ledger.query.job(away)
    assert other is not None
    ledger.read_back_later(away, -1e6)
    (second,) = ledger.claim("f", [NewFile("gone", 78, 1, 1)], lambda _: address(1, "gone"))
    ledger.change([Change(second, State.SENDING, "", sent), Change(second, State.UNKNOWN)])
    ledger.withdraw(second)
    ledger.claim("f", [NewFile("gone too", 78, 1, 1, back=Back(second, SHA, goes_on=False))], lambda _: address(1, "elsewhere"))
    told = ledger.query.job(second)
    assert told is not None
    assert ledger.tell_read_back(told, "no", NUL, None)
    (failed,) = ledger.claim("f", [NewFile("again", 5, 1, 1, found=True)], lambda _: address(2, "again"))
    ledger.change([Change(failed, State.REFUSED), Change(failed, State.FAILED, "", {"filed_as": "failed/again"})])
    ledger.claim("f", [NewFile("again", 5, 1, 1, again_of=failed)], lambda _: address(2, "again"))
    (dragged,) = ledger.claim("f", [NewFile("dragged", 79, FAR, HUGE)], lambda _: address(1, "dragged", record=NUL))
    ledger.change([Change(dragged, State.SENDING, "", sent), Change(dragged, State.STORED)])
    ledger.change([Change(dragged, State.DONE, "", {"filed_as": "done/" + LATIN1})])
    ledger.claim("f", [NewFile("dragged too", 79, FAR, HUGE)], lambda _: address(1, "dragged", record=NUL))
    ledger.rename_open(heir, LATIN1 + " renamed", address(3, NUL + "new"))
    named = ledger.query.names(NUL, (State.WAITING, State.HELD))
    ledger.reroute(NUL, [(job, address(len(name), f"led {name}")) for job, name in named])


SIZES = tuple(range(400)), tuple(range(700))
_GROUPS = ((State.HELD, "rights"), (State.FAILED, "no_rule"))
EVERYWHERE = (None, *FOLDERS, "nowhere")
ABSENT = Absent(frozenset({"away", NUL}), frozenset({"f"}))


#: Each question with what it is asked: all public methods of the classes, as is shown below.
ASKED: dict[str, list[Callable[[Any], object]]] = {
    "read_back_and_filed": [lambda q, f=f: q.read_back_and_filed(f, 1e12, 0) for f in FOLDERS],
    "stored_there": [lambda q: [q.stored_there(job) for job in q.recent(1000)]],
    "stored_lately": [lambda q, p=p, n=n: q.stored_lately(p, n) for p in ("p", "pq", "nowhere") for n in (1, 50)],
    "is_on_its_way": [lambda q: [q.is_on_its_way(job) for job in q.recent(1000)]],
    "instances_of_others": [lambda q: [q.instances_of_others(job) for job in q.recent(1000)]],
    "was_filed": [lambda q: [q.was_filed(job) for job in q.recent(1000)]],
    "over": [lambda q, f=f: (q.over(f, 1e12), q.over(f, 1e12, 3, 1)) for f in FOLDERS],
    "claimed_since": [lambda q, t=t: q.claimed_since(t, 1e12) for t in (0.0, 5.0, 1e11)],
    "rely_on_copies": [lambda q, f=f: sorted(q.rely_on_copies(f)) for f in FOLDERS],
    "folders": [lambda q: q.folders()],
    "last_claim_beneath": [lambda q, d=d: q.last_claim_beneath("f", d) for d in ("sub", "sub/deep", "su", "nowhere", LATIN1)],
    "open_files": [lambda q, f=f: q.open_files(f) for f in FOLDERS],
    "each_open": [lambda q, f=f: sorted(q.each_open(f)) for f in FOLDERS],
    "open_names": [
        *(lambda q, f=f: q.open_names(f, NAMES) for f in FOLDERS),
        lambda q: q.open_names("f", []),
        lambda q: q.open_names(FOLDERS[1], [*NAMES, *map(str, range(450))]),
    ],
    "last_claims": [
        lambda q: q.last_claims("f", [*NAMES, "never"]),
        lambda q: q.last_claims("f", []),
        lambda q: q.last_claims(NUL, [*NAMES, *map(str, range(450))]),
    ],
    "failed_files": [lambda q, s=s, f=f: q.failed_files(f, s) for f in FOLDERS for s in ((), (11,), SIZES[0])],
    "each_done": [lambda q, f=f: sorted(q.each_done(f, 0, 1e12)) for f in FOLDERS],
    "each_filed": [
        lambda q, s=s, f=f, t=t: sorted(q.each_filed(f, s, t), key=str)
        for f in FOLDERS
        for s in ((), *SIZES)
        for t in (None, 0.0, START + 5)
    ],
    "taken_away": [
        lambda q, p=p, s=s: q.taken_away(p, s, START + 1e4)
        for p in ((), ["p"], ["p", NUL, "q"])
        for s in ((), (10, 77), SIZES[0])
    ],
    "to_read_back": [lambda q: q.to_read_back(START + 1e4)],
    "read_back": [lambda q, f=f: q.read_back(0.0, f) for f in EVERYWHERE],
    "heir": [lambda q: [q.heir(n) for n in range(60)]],
    "copying": [lambda q, f=f: q.copying(f) for f in FOLDERS],
    "marks": [lambda q, f=f, n=n: sorted(q.marks(f, n), key=str) for f in FOLDERS for n in (None, LATIN1, "never")],
    "known_folder": [lambda q, f=f: q.known_folder(f) for f in (*FOLDERS, "nowhere")],
    "left_marks": [lambda q, f=f: q.left_marks(f) for f in (*FOLDERS, "nowhere")],
    "due": [
        lambda q, f=f, s=s, a=a: q.due(f, 1e12, 100, 11, small=s, absent=a)
        for f in (*FOLDERS, "away")
        for s in (True, False)
        for a in (Absent(), ABSENT, replace(ABSENT, long=frozenset()))
    ],
    "overtaken": [lambda q: [q.overtaken(n) for n in range(60)]],
    "last_job": [lambda q: q.last_job()],
    "next_due": [lambda q, f=f: q.next_due(f, START) for f in (*FOLDERS, "nowhere")],
    "folders_waiting_for": [
        lambda q: q.folders_waiting_for(["one place", "next", NUL, *(f"{FOLDERS[1]} {n}" for n in NAMES if n.isprintable())]),
        lambda q: q.folders_waiting_for([]),
        lambda q: q.folders_waiting_for([f"café ☕ {n}" for n in range(450)]),
    ],
    "waits_for": [lambda q, r=r, f=f: q.waits_for(["p", NUL], r, f) for r in ("9", "101", NUL, "") for f in ("f", "none")],
    "highest_instance": [
        lambda q, k=k: q.highest_instance(k)
        for k in ("next", "one place", "nothing", *(f"f {n}" for n in NAMES if n.isprintable()))
    ],
    "unfiled": [lambda q, f=f: q.unfiled(f) for f in FOLDERS],
    "names": [lambda q, f=f: sorted(q.names(f, (State.WAITING, State.HELD))) for f in FOLDERS] + [lambda q: q.names("f", ())],
    "keys_without_project": [lambda q, p=p: sorted(q.keys_without_project(p)) for p in ("p", "pq", "nowhere")],
    "mismatches": [lambda q, r=r: q.mismatches("f", r, START, 1e9) for r in ("101", NUL, LATIN1, "never")],
    "pauses": [lambda q: sorted(q.pauses(), key=str)],
    "told_projects": [lambda q: q.told_projects()],
    "learned": [lambda q: q.learned(START)],
    "heads": [lambda q: [(head.chain, head.n) for head in q.heads()]],
    "has_head": [
        lambda q: [q.has_head(head) for head in q.heads()],
        lambda q: [q.has_head(replace(head, hash="0" * 64)) for head in q.heads()],
        lambda q: q.has_head(Head("nowhere", 0, "")),
    ],
    "acts": [lambda q: [_anywhere(act) for act in q.acts() if act.what != "created"], lambda q: q.acts(0.0, 1.0)],
    "document": [lambda q: q.document(None), lambda q: [q.document(job.origin) for job in q.recent(100)]],
    "counts": [lambda q: q.counts()],
    "in_state": [lambda q, f=f: q.in_state((State.HELD, State.STORED), f) for f in EVERYWHERE] + [lambda q: q.in_state(())],
    "failed": [lambda q, f=f: q.failed(f) for f in EVERYWHERE],
    "folders_due": [lambda q: q.folders_due(1e12), lambda q: q.folders_due(-1.0)],
    "may_retry": [lambda q: q.may_retry(1000), lambda q: q.may_retry(2)],
    "alike": [lambda q, f=f: sorted(q.alike(f), key=str) for f in EVERYWHERE],
    "ended_since": [lambda q, s=s: q.ended_since("f", 0.0, s) for s in State],
    "last_done": [lambda q, f=f: q.last_done(f, 0.0) for f in FOLDERS],
    "stored_as": [lambda q, n=n: q.stored_as("f", n) for n in NAMES],
    "history": [lambda q: [q.history(n) for n in range(60)]],
    "put_off": [lambda q, f=f: q.put_off(f) for f in EVERYWHERE],
    "behind_held": [lambda q, f=f: q.behind_held(f) for f in EVERYWHERE],
    "recent": [
        lambda q: q.recent(100),
        lambda q: q.recent(3),
        *(lambda q, n=n: q.recent(9, name=n) for n in (*NAMES, "é.pdf", "done/" + LATIN1, "af\udce9.pdf", "", "plain.pdf" * 40)),
        *(lambda q, r=r: q.recent(99, record=r) for r in ("101", NUL, LATIN1)),
        lambda q: q.recent(9, failed=True, since=START, folder=NUL),
    ],
    "each": [
        lambda q: list(q.each(WantedJobs())),
        lambda q: list(q.each(WantedJobs(project="p", job=4, until=1e12))),
        lambda q: list(q.each(WantedJobs(folder=NUL), newest=3)),
    ],
    "number": [lambda q: q.number(WantedJobs()), lambda q: q.number(WantedJobs(failed=True, name=LATIN1))],
    "stored_since": [lambda q, f=f: q.stored_since(0.0, f, 0, 50) for f in EVERYWHERE],
    "job": [lambda q: [q.job(n) for n in range(60)]],
    "metas": [lambda q: q.metas("left "), lambda q: q.metas("never")],
    "meta": [lambda q: q.meta(f"left {NUL}"), lambda q: q.meta("never")],
    "version": [lambda q: q.version() > 0],
    "check": [lambda q: q.check() is None],
    "newest_step": [lambda q: q.newest_step()],
    "ended": [lambda q: sorted(q.ended(0, 10**6), key=str), lambda q: sorted(q.ended(10, 40), key=str)],
    "claimed": [lambda q: q.claimed(0), lambda q: q.claimed(10)],
    "of_group": [lambda q, s=s, r=r, b=b: q.of_group(NUL, s, r, 9, b) for s, r in _GROUPS for b in (None, 30)],
    "failed_since": [lambda q: q.failed_since(0.0, 1e12)],
    "per_span": [lambda q: q.per_span([0.0, START + 50, START + 500, float("inf")])],
    "took": [lambda q: q.took(0.0)],
    "found": [
        lambda q, t=t, f=f, s=s: q.found(t, f, s, 50)
        for t in (
            "",
            "plain",
            "PLAIN",
            "日本",
            "é",
            "É",
            "ïcode",
            "%_",
            "\x1e0",
            NUL,
            "\\x41",
            "'",
            "\n",
            "ä 7",
            "caf",
            "\0",
            "0",
            LATIN1,
            LATIN1[3:],
            "\udce9",
        )
        for f, s in ((None, ()), (NUL, (State.WAITING, State.HELD)))
    ]
    + [lambda q: q.found("", None, (), 5, 20)],
}
#: Not asked of the ledger, or by another test (of what PostgreSQL alone has).
LEFT_OUT = {"close", "late_sends", "put_aside", "hosts", "changes", "keys_without_project"}


class Every(Query, Figures):
    """Asks whatever can be asked."""


@pytest.fixture(scope="module")
def both(postgres_of_a_file: PostgresEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Every, Every]]:
    """The same ledger by both engines, to be asked."""
    engines: list[Engine] = [SqliteEngine(tmp_path_factory.mktemp("both")), postgres_of_a_file]
    asked = []
    for engine in engines:
        numbers = itertools.count()
        ledger = engine.open(lambda numbers=numbers: START + next(numbers) / 8)  # type: ignore[misc]
        fill(ledger)
        ledger.close()
        assert engine.said() == []
        asked.append(Every(engine.database()))
    yield asked[0], asked[1]
    for one in asked:
        one.close()


def _anywhere(act: Act) -> Act:
    """Without its time and, in a ledger that several hosts share, the host."""
    return replace(act, at=0, told={key: value for key, value in act.told.items() if key != "host"})


def test_every_question_is_asked() -> None:
    classes = (IntakeQuery, DeliveryQuery, PeopleQuery, Figures)
    named = {name for one in classes for name, what in inspect.getmembers(one, inspect.isfunction) if not name.startswith("_")}
    assert named == set(ASKED) | LEFT_OUT


def _worth(answer: object) -> bool:
    return answer not in (None, 0, False) and (not isinstance(answer, (list, dict, set, tuple)) or any(map(bool, answer)))


@pytest.mark.parametrize("name", ASKED)
def test_both_engines_answer_alike(both: tuple[Every, Every], name: str) -> None:
    in_sqlite, in_postgres = both
    answers = [(ask(in_sqlite), ask(in_postgres)) for ask in ASKED[name]]
    for number, (expected, answer) in enumerate(answers):
        assert answer == expected, f"question {number}"
        assert type(answer) is type(expected)
    assert any(_worth(expected) for expected, _ in answers), "the ledger has nothing of the kind: this shows nothing"


def test_answers_of_any_length_come_whole(engine: Engine) -> None:
    """Many more rows than travel at a time; other questions are asked meanwhile, and others write."""
    ledger = engine.open()
    for start in range(0, 2100, 700):
        ledger.claim("f", [NewFile(f"{n:04}", n, 1, 1) for n in range(start, start + 700)], lambda name: Address(record=name))
    for limit in (1999, 2000, 2001, 2100):
        jobs = ledger.query.each(WantedJobs(folder="f"), newest=limit)
        first = next(jobs)
        ledger.note(first.id, "read meanwhile", {})
        nested = [next(ledger.query.each_open("f")) for _ in range(4)]
        assert len(nested) == 4
        assert [int(job.name) for job in (first, *jobs)] == list(range(2100 - limit, 2100))
    assert len(dict(ledger.query.each_open("f"))) == 2100
    assert engine.prove().entries == 2104
