"""The chains: what is entered is sealed with it; what somebody changes by hand is found, and named."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading

import pytest

from dropcap.ledger.chain import AuditAction, AuditActor, AuditChannel, Head, heads_in
from dropcap.ledger.database import Conflict
from dropcap.ledger.job import Address, Change, Job, NewFile, State
from dropcap.ledger.store import Ledger
from tests.ledger.engine import Engine, Statement, ticking

ME = AuditActor(1000, None, AuditChannel.COMMAND)


def claim(ledger: Ledger, *names: str, folder: str = "f") -> list[int]:
    address = Address("p", "r", "101", "e", "x", None, None, origin='{"dropcap":"1"}')
    return ledger.claim(folder, [NewFile(name, 1, 2, 3, owner=1) for name in names], lambda _: address)


def through(ledger: Ledger, job: int, name: str) -> None:
    """A job's whole way."""
    ledger.change([Change(job, State.SENDING, "attempt 1", {"attempts": 1})])
    ledger.change([Change(job, State.STORED, "stored", {"sha256": "ab" * 32, "result": "stored", "confirmed": "readback"})])
    ledger.change([Change(job, State.DONE, "", {"filed_as": f"done/{name}"})])


@pytest.fixture
def kept(engine: Engine) -> Engine:
    """A ledger with four jobs in two folders, closed."""
    ledger = engine.open(ticking())
    first, second, _ = claim(ledger, "a", "b", "c")
    for job, name in ((first, "a"), (second, "b")):
        through(ledger, job, name)
    through(ledger, *claim(ledger, "d", folder="g"), "d")
    for _ in range(4):
        ledger.act(ME, AuditAction.PAUSE, scope="folder", name="f")
    ledger.close()
    return engine


def test_what_nobody_has_touched_is_whole(kept: Engine) -> None:
    proof = kept.prove()
    assert (proof.broken, proof.entries, proof.jobs, proof.acts) == ([], 13, 4, 5)
    assert {head.chain: head.n for head in proof.heads} == {"": 5, "f": 9, "g": 4}
    assert kept.said(*proof.heads) == [], "its own heads are in it"
    kept.surgery("vacuum")
    assert kept.prove() == proof


_CHANGED = "is not what was sealed: it, or its place in the chain, was changed"
#: What somebody does, and what is said of it (so far, and perhaps more).
BY_HAND = [
    (["update job set record = '102' where id = 1"], ["job 1: its record is '102' now; '101' was sealed"]),
    (["update job set rule = 'other' where id = 2"], ["job 2: its rule is 'other' now; 'r' was sealed"]),
    (["update job set claimed_at = 1 where id = 1"], ["job 1: its claimed_at is 1000000 now; 18000000"]),
    ([("update job set filed_as = ? where id = 1", (b"z",))], ["job 1: its filed_as is 'z' now; 'done/a' was sealed"]),
    (["update job set sha256 = null where id = 1"], [f"job 1: its sha256 is nothing now; {'ab' * 32!r} was sealed"]),
    (["update job set state = 'done' where id = 3"], ["job 3: its state is 'done' now; 'waiting' was sealed"]),
    (["update job set dropped_by_name = 'x' where id = 1"], ["job 1: its dropped_by_name is 'x' now"]),
    (["update history set at = at - 86400 where id = 5"], [f"folder f: entry 5 (job 1, stored: stored) {_CHANGED}"]),
    (["update history set note = 'attempt 2' where id = 4"], [f"folder f: entry 4 (job 1, sending: attempt 2) {_CHANGED}"]),
    (
        ["update seal set established = replace(established, '101', '102') where entry = 1"],
        [f"folder f: entry 1 (job 1, waiting: claimed) {_CHANGED}", "job 1: its record is '101' now; '102' was sealed"],
    ),
    (
        ["delete from job where id = 2", "delete from history where job = 2"],
        [f"folder f: entry {n} was removed from the history (number {n})" for n in (2, 7, 8, 9)],
    ),
    (["delete from job where id = 2"], ["job 2: it was removed, and its entries are still there"]),
    (
        ["delete from seal where entry = 5", "delete from history where id = 5"],
        [
            "folder f: entry 5 is missing before entry 6 (job 1, done)",
            "job 1: its sha256 is 'abab",
            "job 1: its result is",
            "job 1",
        ],
    ),
    (
        [
            "create temp table t as select * from job where id = 1",
            ("update t set id = 9, name = ?, filed_as = ?", (b"z", b"{")),
            "insert into job select * from t",
        ],
        ["job 9: it was inserted: nothing was ever entered about it"],
    ),
    (
        ["insert into history (job, at, state, note) values (1, 1.0, 'done', 'approved')"],
        ["job 1: an entry was inserted without a seal (number 14, done: approved)"],
    ),
    (
        [f"update history set id = {new} where id = {old}" for old, new in ((4, 99), (7, 4), (99, 7))],
        [
            f"folder f: entry 4 (job 2, sending: attempt 1) {_CHANGED}",
            f"folder f: entry 7 (job 1, sending: attempt 1) {_CHANGED}",
            "job 1: its state is 'done' now; 'sending' was sealed",
        ],
    ),
    (
        ["delete from history where id = 13", "delete from seal where entry = 13"],
        [
            "folder g: the chain ends at entry 3, and was at 4",
            "job 4: its state is 'done' now; 'stored' was sealed",
            "job 4",
            "job 4",
        ],
    ),
    (["update act set uid = 0 where n = 3"], [f"acts: act 3 (pause) {_CHANGED}"]),
    (["delete from act where n = 3"], ["acts: entry 3 is missing before act 4 (pause)"]),
    (["delete from act where n = 5"], ["acts: the chain ends at entry 4, and was at 5"]),
    (["delete from chain where name = 'g'"], [f"entry {n}: it belongs to a chain that is gone (3)" for n in range(10, 14)]),
    (["update document set what = '{}'"], ["document"]),
    (["delete from document"], ["document"]),
]


#: What a column does not hold as it stands in the tables: text in SQLite, no number at all in PostgreSQL.
NO_NUMBER = [
    ("mtime_ns", "'x'", "'NaN'", "job 1: what was sealed of it, or what it holds now, cannot be read"),
    ("inode", "'x'", "'Infinity'", None),
    ("mtime_ns", "1e300", "'-Infinity'", "job 1: "),
    ("claimed_at", "'x'", "'Infinity'", "job 1: what was sealed of it, or what it holds now, cannot be read"),
]


@pytest.mark.parametrize(("column", "in_sqlite", "in_postgresql", "found"), NO_NUMBER)
def test_what_is_no_number_any_more_is_named(
    kept: Engine, column: str, in_sqlite: str, in_postgresql: str, found: str | None
) -> None:
    no_number = in_sqlite if kept.sqlite else in_postgresql
    kept.surgery(f"update job set {column} = {no_number} where id = 1")
    assert [one[: len(found or "")] for one in kept.said()] == ([found] if found else [])
    no_time = "'x'" if kept.sqlite else "'NaN'"
    kept.surgery(f"update history set at = {no_time} where id = 1")
    assert any(one.startswith("folder f: entry 1 (job 1, waiting: claimed) is not what was sealed") for one in kept.said())


@pytest.mark.parametrize(("statements", "found"), BY_HAND, ids=[str(one[0][0])[:50] for one in BY_HAND])
def test_what_is_changed_by_hand_is_found_and_named(kept: Engine, statements: list[Statement], found: list[str]) -> None:
    kept.surgery(*statements)
    broken = kept.said()
    assert [one[: len(start)] for one, start in zip(broken, found, strict=True)] == found, broken


def test_only_a_head_that_was_noted_elsewhere_tells_of_an_end_that_was_cut_off(kept: Engine) -> None:
    noted = kept.prove().heads
    (g,) = [head for head in noted if head.chain == "g"]
    kept.surgery(
        "delete from job where id = 4",
        "delete from history where job = 4",
        "delete from seal where chain = 3",
        "delete from chain where id = 3",
    )
    assert kept.said() == []
    assert kept.said(*noted) == [f"folder g: entry 4 was noted elsewhere as {g.hash[:16]}…, and is not in the ledger"]


def test_heads_are_found_in_any_text() -> None:
    head = Head("a folder's", 1, "0" * 64)
    plain, acts = Head("consents-2", 12, "a" * 64), Head("", 3, "b" * 64)
    text = json.dumps({"heads": [str(plain), str(acts)]}) + f"<td>{plain}</td> {head} facts:9:{'c' * 64} acts:9:{'c' * 63}"
    assert list(heads_in(text)) == [plain, acts, plain]


def test_a_write_that_fails_leaves_the_others_of_its_group_sealed(engine: Engine) -> None:
    ledger = engine.open()
    (first,) = claim(ledger, "a")
    go, errors = threading.Barrier(9), []

    def work(number: int) -> None:
        go.wait()
        for round_ in range(10):
            try:
                claim(ledger, f"{number}-{round_}", "a")  # all or nothing: `a` is open already
            except Conflict:
                errors.append(number)
            claim(ledger, f"{number}-{round_}", folder=f"f{number % 2}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    go.wait()
    for thread in threads:
        thread.join()
    ledger.change([Change(first, State.HELD)])
    ledger.close()
    proof = engine.prove()
    assert (proof.broken, proof.entries, len(errors)) == ([], 82, 80)


def test_two_processes_that_write_in_turn_make_one_chain(engine: Engine) -> None:
    one, other = engine.open(), engine.open()
    try:
        for number, ledger in zip(range(12), itertools.cycle((one, other, other)), strict=False):
            (job,) = claim(ledger, f"{number}", folder="fg"[number % 2])
            ledger.act(ME, AuditAction.RETRY, jobs=[job])
            (other if ledger is one else one).change([Change(job, State.HELD, "by the other")])
    finally:
        one.close()
        other.close()
    proof = engine.prove()
    assert (proof.broken, proof.entries, proof.acts) == ([], 24, 13)


def test_a_clock_that_goes_back_breaks_no_chain(engine: Engine) -> None:
    ledger = engine.open(ticking(step=-1000.0))
    for job in claim(ledger, "a", "b"):
        through(ledger, job, "x")
    ledger.close()
    assert engine.said() == []


NUMBERS_BEGIN_ANEW = "entries get the numbers again that some had"


@pytest.mark.parametrize(
    "statements",
    [
        ["delete from history where id = 13"],
        ["delete from history where id > 10", NUMBERS_BEGIN_ANEW],
        ["delete from act where n > 3", "update chain set n = 3 where name = ''"],
        ["update chain set n = 2, head = 'text'"],
        ["delete from chain", "delete from meta where key = 'chain_seed'"],
        ["delete from seal where entry > 10"],
    ],
)
def test_what_somebody_makes_of_the_chains_stops_no_file(kept: Engine, statements: list[str]) -> None:
    anew = "delete from sqlite_sequence" if kept.sqlite else "alter table history alter column id restart with 11"
    kept.surgery(*(anew if one is NUMBERS_BEGIN_ANEW else one for one in statements))
    ledger = kept.open()
    (job,) = claim(ledger, "after", folder="g")
    through(ledger, job, "after")
    ledger.act(ME, AuditAction.RESUME, scope="folder", name="g")
    ledger.close()
    assert kept.said(), "and it is still found"


def test_a_number_that_is_used_again_does_not_hide_who_had_it(kept: Engine) -> None:
    kept.surgery("delete from job where id = 4")
    ledger = kept.open()
    (job,) = claim(ledger, "d", folder="g")
    through(ledger, job, "d")
    ledger.close()
    if kept.sqlite:
        assert job == 4
        assert kept.said() == ["job 4: an earlier job of this number was removed"]
    else:
        assert job == 5, "PostgreSQL gives no number twice"
        assert kept.said() == ["job 4: it was removed, and its entries are still there"]


def test_what_was_pruned_is_vouched_for_by_an_act(kept: Engine) -> None:
    ledger = kept.open()
    before = ledger.query.heads()
    assert ledger.prune([1, 2, 4, 3, 99], ME) == 2, "not one that is open or not there, and not the newest, for its number"
    claim(ledger, "later")
    ledger.close()
    proof = kept.prove(before)
    assert [str(one) for one in proof.broken] == []
    assert proof.told == ["act 6: 2 jobs with 8 entries were pruned"]
    assert (proof.jobs, proof.entries, proof.witnessed) == (3, 14, 3)
    ((told,),) = kept.rows("select told from act where n = 6")
    assert kept.rows("select count(*) from history where job in (1, 2)") == [(0,)]
    assert [str(head) for head in before] == json.loads(told)["heads"], "it carries the heads of that moment"
    kept.surgery("update seal set established = '', pruned = 6 where entry = 11", "delete from history where id = 11")
    assert "acts: what was pruned by act 6 is not what that act says: more, less, or other entries" in kept.said()


def test_a_folder_that_is_renamed_keeps_what_was_sealed(kept: Engine) -> None:
    ledger = kept.open()
    ledger.rename_folder("f", "h")
    ledger.rename_folder("h", "i")
    ledger.change([Change(3, State.HELD)])
    ledger.close()
    assert kept.said() == []
    kept.surgery("update job set folder = 'g' where id = 1")
    assert kept.said() == ["job 1: its folder is 'g' now; 'f' was sealed"]


def test_changed_rules_are_entered(kept: Engine) -> None:
    ledger = kept.open()
    new = Address("p", "r2", "102", "e", "y", 2, "k", origin='{"dropcap":"2"}')
    ledger.reroute("f", [(3, new)])
    ledger.reroute("f", [(3, new)])
    assert [event.note for event in ledger.query.history(3)] == ["claimed", "the configuration of its folder has changed"]
    found: Job | None = ledger.query.job(3)
    assert found.origin == hashlib.sha256(b'{"dropcap":"2"}').hexdigest()
    ledger.close()
    assert kept.said() == []


def test_bytes_of_a_seal_are_what_the_documents_say(kept: Engine) -> None:
    """As somebody would check it who has only docs/audit.md."""
    ((seed,),) = kept.rows("select value from meta where key = 'chain_seed'")
    head = hashlib.sha256(f'["dropcap ledger",1,"{seed}","f"]'.encode()).digest()
    rows = kept.rows(
        "select s.n, h.job, h.at, h.state, h.note, s.established, s.hash from seal s join history h on h.id = s.entry"
        " join chain c on c.id = s.chain where c.name = 'f' order by s.n"
    )
    number = 0
    for n, job, at, state, note, established, stored in rows:
        told = json.dumps([n, job, round(at * 1e6), state, note], separators=(",", ":"))
        head = hashlib.sha256(head + told.encode() + b"\n" + established.encode()).digest()
        assert head == stored
        number += 1
    assert number == 9
