# ruff: noqa: E402 - the library may be missing
"""Several who write one ledger on PostgreSQL, while its server, the network and other hosts do their worst."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests import needs
from tests.site import eventually

needs.library("psycopg")
import psycopg

from dropcap.daemon.control import try_again
from dropcap.ledger import writing
from dropcap.ledger.database import CommitsLost, Conflict, DatabaseError, LeaseLost, Unavailable
from dropcap.ledger.job import Address, Change, Mark, MarkKind, NewFile, State
from dropcap.ledger.postgres.database import PostgresDatabase
from dropcap.ledger.postgres.leases import ThisHost
from dropcap.ledger.postgres.wire import Connector, WireConnection
from dropcap.ledger.proof import prove
from dropcap.ledger.store import Ledger
from tests.postgres.cluster import Cluster, Stop
from tests.postgres.proxy import Proxy, proxy

SENT = {"attempts": 1}


class Believes:
    def __init__(self, fences: dict[str, int]) -> None:
        self.fences = fences

    def fence(self, folder: str) -> int | None:
        return self.fences.get(folder)


class Host(Believes):
    """A process that shares the ledger: it believes that it has the folders of `fences`."""

    def __init__(self, dsn: str, *folders: str) -> None:
        self.id = uuid.uuid4().hex
        super().__init__({})
        me = ThisHost(self.id, "host", 1, "1", "")
        self.database = PostgresDatabase(Connector(dsn, "test"), me, self)
        self.ledger = Ledger(self.database)
        for folder in folders:
            self.take(folder)

    def take(self, folder: str) -> int:
        """Take a folder over; how many of its jobs are of unknown outcome now."""
        took = self.ledger.take_over(folder, None, 0.0)
        assert took is not None, "somebody else has it"
        self.fences[folder] = took[0]
        return took[1]

    def claim(self, folder: str, *names: str) -> list[int]:
        files = [NewFile(name, 1, 2, 3) for name in names]
        return self.ledger.claim(folder, files, lambda name: Address("p", "r", folder + name, None, "f", 1, folder + name))


@pytest.fixture
def hosts() -> Iterator[Callable[..., Host]]:
    made: list[Host] = []

    def host(dsn: str, *folders: str) -> Host:
        made.append(Host(dsn, *folders))
        return made[-1]

    yield host
    for one in made:
        one.ledger.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is tried again at once."""
    monkeypatch.setattr(writing, "AGAIN", 0.05)


@pytest.fixture
def way(postgres: Cluster) -> Iterator[Proxy]:
    with proxy(postgres.port) as made:
        yield made


def through(way: Proxy, cluster: Cluster, dsn: str) -> str:
    return cluster.dsn(dsn.rpartition("/")[2], port=way.port)


def by_hand(dsn: str, statement: str, *values: Any) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def at_once(*works: Callable[[], object]) -> None:
    """All of it in threads of its own; what one raises is raised."""
    failed: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


def whole(dsn: str) -> int:
    """Nothing is wrong with the chains, and none has a gap; how many entries there are."""
    proof = prove(PostgresDatabase(Connector(dsn, "test")))
    assert [str(one) for one in proof.broken] == []
    assert (
        by_hand(dsn, "select 1 from chain where n <> (select count(*) from seal where seal.chain = chain.id) and name <> ''")
        == []
    )
    return proof.entries


# -- Two at once


def test_two_processes_write_at_once(database: str, hosts: Callable[..., Host]) -> None:
    """They want the same names and places: each is given once, and the chains have no gap."""
    ledgers = [Ledger(PostgresDatabase(Connector(database, "test"))) for _ in range(2)]
    claimed: Counter[str] = Counter()
    sending: list[int] = []

    def place(name: str) -> Address:
        return Address("p", "r", name, None, "f", 1, f"k{int(name) % 3}")

    def work(ledger: Ledger) -> None:
        for number in range(12):
            try:
                (job,) = ledger.claim("f", [NewFile(f"{number}", 1, 2, 3)], place)
            except Conflict:
                continue
            claimed[f"{number}"] += 1
            if ledger.change([Change(job, State.SENDING)]) == {job}:
                sending.append(job)

    at_once(*(lambda ledger=ledger: work(ledger) for ledger in ledgers for _ in range(4)))
    assert claimed == Counter({f"{number}": 1 for number in range(12)})
    assert len(sending) == 3, "one to each place"
    assert {ledgers[0].query.job(job).key for job in sending} == {"k0", "k1", "k2"}  # type: ignore[union-attr]
    for ledger in ledgers:
        ledger.close()
    assert whole(database) == 15


def test_a_mark_that_is_made_after_a_claim_stays_in_one_commit_with_it(database: str, hosts: Callable[..., Host]) -> None:
    """The claimed file's marks are forgotten; a new file has its name at once, and another thread marks that one."""
    host = hosts(database, "f")
    mark = Mark("a", MarkKind.CUT, 1, 2, 3, 4, 5.0)
    works = [
        lambda: host.ledger.set_meta("who", "waits"),
        lambda: host.claim("f", "a"),
        lambda: host.ledger.mark("f", [mark]),
        lambda: host.ledger.mark("f", [replace(mark, name="b")]),
        lambda: host.ledger.unmark("f", ["b"]),
    ]
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    with psycopg.connect(database) as other:
        other.execute("select 1 from turn for update")
        threads[0].start()
        eventually(lambda: by_hand(database, "select 1 from pg_stat_activity where wait_event_type = 'Lock'"))
        for number, thread in enumerate(threads[1:], 1):
            thread.start()
            eventually(lambda number=number: len(host.ledger._commit._waiting) == number)
    for thread in threads:
        thread.join(20)
    assert host.ledger.query.marks("f") == [mark]


# -- Commits of which nobody knows


@pytest.mark.parametrize("who", ["host", "person"])
@pytest.mark.parametrize("stands", [True, False])
def test_a_commit_without_an_answer_is_settled(
    database: str, postgres: Cluster, way: Proxy, hosts: Callable[..., Host], soon: None, who: str, stands: bool
) -> None:
    """Alone and in a group; the write stands once, and its result is right, whether it stood at first or not."""
    dsn = through(way, postgres, database)
    host = hosts(dsn, "f") if who == "host" else None
    ledger = host.ledger if host else Ledger(PostgresDatabase(Connector(dsn, "test")))
    cut = way.cut_after_commit if stands else way.cut_before_commit

    def claim(name: str) -> list[int]:
        return ledger.claim("f", [NewFile(name, 1, 2, 3)], lambda n: Address("p", "r", n, None, "f", 1, n))

    struck = cut(of="into job")
    (job,) = claim("a")
    assert struck.is_set()
    struck = cut(of="update job")
    assert ledger.change([Change(job, State.SENDING, "", SENT)]) == {job}
    assert struck.is_set()
    others: list[int] = []
    struck = cut(of="into job")
    at_once(*(lambda n=n: others.extend(claim(f"b{n}")) for n in range(6)), lambda: _conflict(claim))
    assert struck.is_set()
    assert len(set(others)) == 6
    assert ledger.query.last_job() >= max(others)
    assert len(ledger.query.history(job)) == 2
    assert sorted(ledger.query.open_files("f")) == ["a", *(f"b{n}" for n in range(6))]
    assert not ledger.gone()
    if host is not None:
        assert [(host.database.commits,)] == by_hand(database, "select commits from host")
    ledger.close()
    assert whole(database) == 8


def _conflict(claim: Callable[[str], object]) -> None:
    with pytest.raises(Conflict):
        claim("a")


def test_who_gives_up_at_a_commit_without_an_answer_leaves_nobody_waiting(
    database: str, postgres: Cluster, way: Proxy, soon: None
) -> None:
    dsn = through(way, postgres, database)
    ledger = Ledger(PostgresDatabase(Connector(dsn, "test")))
    struck = way.cut_after_commit(of="meta")
    failed: list[Exception] = []

    def write() -> None:
        try:
            ledger.set_meta("a", "b")
        except DatabaseError as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    way.refuse()  # those who are there stay until they are cut off
    thread.start()
    assert struck.wait(10)
    eventually(lambda: ledger.trouble.unwritable)
    ledger.give_up()
    thread.join(10)
    assert len(failed) == 1
    way.admit()
    ledger.set_meta("c", "d")  # what became of the other one is nobody's business any more
    assert ledger.query.meta("c") == "d"
    ledger.close()


def test_a_refused_write_leaves_no_commit_to_be_settled(database: str, hosts: Callable[..., Host]) -> None:
    """What stands or not is no answer to those who write next."""
    host = hosts(database, "f")
    host.fences.clear()
    before = by_hand(database, "select commits from host")
    with pytest.raises(LeaseLost):
        host.claim("f", "a")
    assert by_hand(database, "select commits from host") == before
    thread = threading.Thread(target=lambda: host.ledger.set_meta("next", "stands"), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert host.ledger.query.meta("next") == "stands"
    assert not host.ledger.gone()


def test_blame_of_a_file_that_is_another_hosts_by_now_keeps_nothing_from_being_entered(
    database: str, hosts: Callable[..., Host]
) -> None:
    """A file of one folder makes a server look ill; its folder goes to another host; then a file of another folder is stored."""
    one, other = hosts(database, "f", "g"), hosts(database)
    (ill,), (well,) = one.claim("f", "a"), one.claim("g", "b")
    by_hand(database, "update lease set until = 'epoch' where folder = 'f'")
    del one.fences["f"]
    other.take("f")
    one.ledger.blame([ill, well])
    assert [(job.id, job.faults) for job in one.ledger.query.recent(9)] == [(well, 1), (ill, 1)]


@pytest.mark.parametrize("who", ["host", "person"])
def test_a_commit_without_an_answer_is_settled_though_what_follows_a_fail_over_takes_two_tries(
    database: str, postgres: Cluster, way: Proxy, hosts: Callable[..., Host], soon: None, who: str
) -> None:
    """It stands, which the first transaction behind it has found out, and then was rolled back."""
    dsn = through(way, postgres, database)
    ledger = hosts(dsn, "f").ledger if who == "host" else Ledger(PostgresDatabase(Connector(dsn, "test")))

    def claim(name: str) -> list[int]:
        return ledger.claim("f", [NewFile(name, 1, 2, 3)], lambda n: Address("p", "r", n, None, "f", 1, n))

    def waits() -> bool:
        return bool(by_hand(database, "select 1 from pg_stat_activity where wait_event_type = 'Lock'"))

    claim("a")
    came: list[int] = []
    struck = way.cut_after_commit(of="into job")
    thread = threading.Thread(target=lambda: came.extend(claim("b")), daemon=True)
    with psycopg.connect(database) as other:
        other.execute("select 1 from job for update")
        way.refuse()
        thread.start()
        assert struck.wait(10)
        by_hand(database, "update turn set timeline = 'before'")
        way.admit()
        eventually(waits)
        eventually(lambda: not waits())
    thread.join(20)
    assert came == [ledger.query.last_job()]
    assert sorted(ledger.query.open_files("f")) == ["a", "b"]
    assert not ledger.gone()
    ledger.close()


def test_what_is_tried_again_in_many_folders_is_not_kept_from_it_by_one(database: str, hosts: Callable[..., Host]) -> None:
    host = hosts(database, "f", "g", "h")
    jobs = [job for folder in "fgh" for job in host.claim(folder, "a", "b")]
    host.ledger.change([Change(job, State.HELD, "held") for job in jobs])
    by_hand(database, "update lease set fence = fence + 1 where folder = 'g'")
    held = host.ledger.query.in_state((State.HELD,))
    assert try_again(host.ledger, held) == 4
    states = [(job.folder, job.state) for job in host.ledger.query.in_state((State.HELD, State.WAITING))]
    assert Counter(states) == {("f", State.WAITING): 2, ("g", State.HELD): 2, ("h", State.WAITING): 2}


#: As an operator does whom a commit makes wait that no standby confirms: it counts as done then, with a warning.
CUT_SHORT = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep' and datname = current_database()"


@pytest.mark.parametrize("who", ["host", "person"])
def test_a_commit_that_no_standby_has_is_not_acknowledged_before_one_has(mine: Cluster, soon: None, who: str) -> None:
    """PostgreSQL calls a commit done whose wait for the standby was cut short: only a warning tells."""
    dsn = mine.create_database()
    me = ThisHost(uuid.uuid4().hex, "host", 1, "1", "") if who == "host" else None
    fences: dict[str, int] = {}
    ledger = Ledger(PostgresDatabase(Connector(dsn, "test"), me, Believes(fences)))
    if me is not None:
        took = ledger.take_over("f", None, 0.0)
        assert took is not None
        fences["f"] = took[0]
    done: list[int] = []
    address = Address("p", "r", "a", None, "f", 1, "a")
    claim = threading.Thread(
        target=lambda: done.extend(ledger.claim("f", [NewFile("a", 1, 2, 3)], lambda _: address)), daemon=True
    )
    mine.configure(synchronous_standby_names="nobody")
    try:
        _wait_for_standbys(dsn)
        claim.start()
        eventually(lambda: by_hand(dsn, CUT_SHORT))
        eventually(lambda: by_hand(dsn, "select 1 from job"))  # it stands here
        eventually(lambda: "standby" in ledger.trouble.unwritable)
        eventually(lambda: by_hand(dsn, CUT_SHORT))  # the next try waits as well
        eventually(lambda: by_hand(dsn, CUT_SHORT))
        assert not done
    finally:
        mine.configure(synchronous_standby_names="")
    claim.join(20)
    assert done == [ledger.query.last_job()]
    assert by_hand(dsn, "select count(*) from job") == [(1,)]
    assert ledger.trouble.unwritable == ""
    assert not ledger.gone()
    ledger.close()


def _wait_for_standbys(dsn: str) -> None:
    """Until commits wait for a standby, since that was configured."""
    said: list[str | None] = []

    def commit_nothing() -> None:
        with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as wire:
            wire.add_notice_handler(lambda told: said.append(told.sqlstate))
            while "01000" not in said:
                wire.execute("select pg_logical_emit_message(true, 'test', '')")

    thread = threading.Thread(target=commit_nothing, daemon=True)
    thread.start()
    eventually(lambda: by_hand(dsn, CUT_SHORT))
    thread.join(20)
    assert "01000" in said


# -- The server goes away


def test_the_database_is_away_and_back(
    database: str, postgres: Cluster, way: Proxy, hosts: Callable[..., Host], soon: None
) -> None:
    host = hosts(through(way, postgres, database), "f")
    done: list[int] = []
    with capture_logs() as logs:
        way.refuse()
        way.reset()
        thread = threading.Thread(target=lambda: done.extend(host.claim("f", "a")))
        thread.start()
        eventually(lambda: host.ledger.trouble.unwritable)
        with pytest.raises(DatabaseError):
            host.ledger.query.last_job()
        time.sleep(0.3)  # some more tries fail
        assert thread.is_alive()
        assert not done
        way.admit()
        thread.join(20)
    assert [line["event"] for line in logs] == ["ledger_unwritable", "ledger_writable"]
    assert done == [host.ledger.query.last_job()]
    assert host.ledger.trouble.unwritable == ""


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_nothing_acknowledged_is_lost_or_done_twice(
    mine: Cluster, hosts: Callable[..., Host], soon: None, how: Stop | str
) -> None:
    """The server is restarted, or its machine dies, while two hosts write."""
    dsn = mine.create_database()
    two = [hosts(dsn, folder) for folder in ("f", "g")]
    enough = threading.Event()
    done: dict[tuple[str, str], int] = {}

    def work(host: Host, folder: str, thread: int) -> None:
        for number in itertools.count():
            name = f"{thread}-{number}"
            (job,) = host.claim(folder, name)
            for state in (State.SENDING, State.STORED, State.DONE):
                assert host.ledger.change([Change(job, state, "", SENT if state is State.SENDING else {})]) == {job}
            done[folder, name] = job
            if enough.is_set():
                return

    def break_it() -> None:
        for more in range(2):
            so_far = len(done)
            eventually(lambda so_far=so_far: len(done) >= so_far + 12)
            if how == "kill":
                mine.kill()
                mine.start()
            else:
                mine.restart(how)  # type: ignore[arg-type]
            del more
        so_far = len(done)
        eventually(lambda: len(done) >= so_far + 12, 30)
        enough.set()

    works = [lambda h=host, f=folder, t=t: work(h, f, t) for host, folder in zip(two, "fg", strict=True) for t in range(3)]
    at_once(*works, break_it)
    rows = by_hand(dsn, "select folder, convert_from(name, 'UTF8'), id, state from job")
    assert sorted(rows) == sorted((folder, name, job, "done") for (folder, name), job in done.items())
    assert by_hand(dsn, "select job from history group by job having count(*) <> 4") == []
    assert whole(dsn) == 4 * len(done)
    assert not any(host.database.gone() for host in two)


def test_a_host_that_stands_still_in_a_transaction_keeps_others_for_some_seconds(database: str) -> None:
    script = (
        "import sys\n"
        "from dropcap.ledger.postgres.database import PostgresDatabase\n"
        "from dropcap.ledger.postgres.wire import Connector\n"
        "writer = PostgresDatabase(Connector(sys.argv[1], 'frozen')).writer()\n"
        "writer.begin()\n"
        "writer.execute(\"insert into meta values ('frozen', 'its')\")\n"
        "print('in', flush=True)\n"
        "sys.stdin.read()\n"
        "try:\n"
        "    writer.commit()\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"in\n"
        os.kill(child.pid, signal.SIGSTOP)
        began = time.monotonic()
        ledger = Ledger(PostgresDatabase(Connector(database, "test")))
        ledger.set_meta("mine", "stands")
        took = time.monotonic() - began
        os.kill(child.pid, signal.SIGCONT)
        assert child.communicate()[0] == b"Unavailable\n"
    assert 1 < took < 7.5
    assert (ledger.query.meta("frozen"), ledger.query.meta("mine")) == (None, "stands")
    ledger.close()


# -- Leases


def test_a_write_needs_the_fence_and_the_holder(database: str, hosts: Callable[..., Host]) -> None:
    one, other = hosts(database, "f", "g"), hosts(database)
    (job,) = one.claim("f", "a")
    for holder, fence, folder, fails in (
        (one.id, 1, "f", False),
        (one.id, 2, "f", True),  # it has taken the folder again meanwhile
        (other.id, 1, "f", True),  # a fail-over has given the same fence to another one
        (None, 1, "f", True),  # released
        (other.id, 1, "g", False),
    ):
        by_hand(database, "update lease set holder = %s, fence = %s where folder = %s", holder, fence, folder)
        for write in (
            lambda: one.ledger.change([Change(job, State.WAITING)]),
            lambda: one.ledger.note(job, "n", {}),
            lambda: one.claim("f", uuid.uuid4().hex),
            lambda: one.ledger.withdraw(10**9, folder="f"),
        ):
            before = by_hand(database, "select count(*) from history")
            if not fails and folder == "f":
                write()
            elif fails:
                with pytest.raises(LeaseLost):
                    write()
                assert by_hand(database, "select count(*) from history") == before
    by_hand(database, "update lease set holder = %s, fence = 1 where folder = 'f'", one.id)
    one.fences["g"] = 1  # and it does not have that one any more
    came: list[object] = []
    go = threading.Barrier(8)

    def work(folder: str) -> None:
        go.wait()
        try:
            came.extend((folder, job) for job in one.claim(folder, uuid.uuid4().hex))
        except LeaseLost:
            came.append(folder)

    at_once(*(lambda f=f: work(f) for f in "fg" * 4))
    assert came.count("g") == 4, "those fail, and the others of their group stand"
    assert len({job for job in came if isinstance(job, tuple)}) == 4
    assert one.ledger.change([Change(job, State.SENDING)]) == {job}
    with pytest.raises(LeaseLost):
        other.ledger.change([Change(job, State.STORED)])
    person = one.ledger.for_people()
    by_hand(database, "update lease set holder = null")
    assert person.change([Change(job, State.STORED)]) == {job}, "a person may do so in any folder"
    assert whole(database) > 0


def test_a_folder_is_taken_over_with_writers_in_flight(database: str, hosts: Callable[..., Host]) -> None:
    """Again and again: what the earlier holder was told stands before the take-over, and nothing of it comes later."""
    two = [hosts(database, "f"), hosts(database)]
    rounds = 15
    for number in range(rounds):
        holder, taker = two[number % 2], two[(number + 1) % 2]
        jobs = holder.claim("f", *(f"{number}-{n}" for n in range(6)))
        sent: set[int] = set()
        before: list[int] = []
        go = threading.Barrier(4)

        def work(mine: list[int], holder: Host = holder, sent: set[int] = sent, go: threading.Barrier = go) -> None:
            go.wait()
            with contextlib.suppress(LeaseLost):
                for job in mine:
                    sent |= holder.ledger.change([Change(job, State.SENDING, holder.id, SENT)])

        def take(taker: Host = taker, go: threading.Barrier = go, number: int = number, before: list[int] = before) -> None:
            go.wait()
            time.sleep(number % 5 / 1000)
            by_hand(database, "update lease set until = 'epoch' where folder = 'f'")
            unknown = taker.take("f")
            assert by_hand(database, "select count(*) from job where state = 'sending'") == [(0,)]
            before.append(unknown)

        at_once(*(lambda m=jobs[n::3]: work(m) for n in range(3)), take)
        assert before == [len(sent)], "each that was acknowledged as being sent is of unknown outcome, and no other"
        with pytest.raises(LeaseLost):
            holder.ledger.change([Change(job, State.HELD) for job in jobs])
        states = dict(by_hand(database, "select id, state from job where id = any(%s)", jobs))
        assert {job for job, state in states.items() if state == "unknown"} == sent
        late = "select count(*) from history where note = %s and job = any(%s) and id > (select max(id) from history"
        assert by_hand(database, f"{late} where state = 'unknown' and job = any(%s))", holder.id, jobs, jobs) == [(0,)]
    assert by_hand(database, "select fence from lease") == [(rounds + 1,)]
    whole(database)


def test_what_a_lost_host_was_sending_is_read_back_and_looked_at_in_its_time(database: str, hosts: Callable[..., Host]) -> None:
    lost, taker = hosts(database, "f"), hosts(database)
    sent, waits = lost.claim("f", "sent", "waits")
    assert lost.ledger.change([Change(sent, State.SENDING, "", SENT)]) == {sent}
    by_hand(database, "update lease set until = 'epoch'")
    before = time.time()
    assert taker.ledger.take_over("f", None, 100.0, 500.0) == (2, 1)
    took = time.time() - before
    job, other = taker.ledger.query.job(sent), taker.ledger.query.job(waits)
    assert job is not None
    assert other is not None
    assert (job.state, other.state, other.due) == (State.UNKNOWN, State.WAITING, 0.0)
    assert before + 100 <= job.due <= before + 100 + took
    assert taker.ledger.query.late_sends(before + 499) == []
    assert taker.ledger.query.late_sends(before + 501 + took) == [sent]


# -- Fail-over


def test_a_fail_over_that_loses_commits_is_noticed(mine: Cluster, hosts: Callable[..., Host], soon: None) -> None:
    dsn = mine.create_database()
    name = dsn.rpartition("/")[2]
    with proxy(mine.port) as replication, mine.standby(through=replication.port) as standby, proxy(mine.port) as way:
        one, other = hosts(mine.dsn(name, port=way.port), "f"), hosts(mine.dsn(name, port=way.port), "g")
        one.claim("f", "kept")
        other.claim("g", "kept")
        standby.catch_up(mine)
        replication.deaf()
        one.claim("f", "lost")
        assert one.database.commits == 3
        assert not one.database.gone()
        mine.kill()
        standby.promote()
        way.upstream = standby.port
        way.reset()
        with pytest.raises(DatabaseError, match="lost what it had acknowledged"):
            one.claim("f", "later")
        assert one.database.gone()
        with pytest.raises(DatabaseError, match="lost"):
            one.ledger.set_meta("a", "b")
        assert other.claim("g", "later") != []
        assert not other.database.gone(), "nothing of its own was lost"
        there = standby.dsn(name)
        assert by_hand(there, "select count(*) from job") == [(3,)]
        assert by_hand(there, "select commits from host order by commits") == [(2,), (3,)]
        whole(there)
        mine.start()


def test_the_work_of_other_hosts_is_not_taken_for_ones_own(database: str, hosts: Callable[..., Host]) -> None:
    """The heads of chains and what is sealed of jobs are kept in memory: others' commits make them be read anew."""
    two = [hosts(database, "f"), hosts(database, "g")]
    person = Ledger(PostgresDatabase(Connector(database, "test")))
    jobs = two[0].claim("f", "a") + two[1].claim("g", "a")
    for number in range(6):
        two[number % 2].ledger.change([Change(jobs[number % 2], State.HELD, "", {"reason": "rights"})])
        person.change([Change(job, State.WAITING, "", {"instance": number}) for job in jobs])
    person.close()
    assert whole(database) == 2 + 6 + 12


def test_what_is_put_aside_after_a_failover_may_take_long(database: str, hosts: Callable[..., Host], soon: None) -> None:
    """A million files wait: no time-out of the session's ends the statement, or it would be begun anew for ever."""
    host = hosts(database, "f")
    (job,) = host.claim("f", "a")
    by_hand(
        database,
        "create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(1.2); return null; end';"
        " create trigger slow after update of state on job for each statement execute function slow();"
        " update turn set timeline = 'before'",
    )

    class Impatient(Connector):
        def open(self) -> WireConnection:
            wire = super().open()
            wire.execute("set statement_timeout = '500ms'")
            return wire

    other = Ledger(PostgresDatabase(Impatient(database, "test")))
    other.give_up()  # one try
    with capture_logs() as logs:
        other.set_meta("some", "thing")
    assert [line["event"] for line in logs] == ["failed_over"]
    found = other.query.job(job)
    assert found is not None
    assert found.state is State.HELD
    other.close()


def test_a_count_of_commits_that_a_lost_answer_does_not_explain_counts_as_lost(
    database: str, postgres: Cluster, way: Proxy
) -> None:
    dsn = through(way, postgres, database)
    for more, explained in ((0, True), (1, True), (2, False), (-1, False)):
        me = ThisHost(uuid.uuid4().hex, "host", 1, "1", "")
        writer = PostgresDatabase(Connector(dsn, "test"), me).writer()
        writer.begin()
        writer.commit()
        struck = way.cut_before_commit()
        writer.begin()
        with pytest.raises(Unavailable):
            writer.commit()
        assert struck.is_set()
        by_hand(database, "update host set commits = commits + %s where id = %s", more, me.id)
        if explained:
            writer.begin()
            assert writer.was_committed() == bool(more)
            writer.rollback()
        else:
            with pytest.raises(CommitsLost):
                writer.begin()
        writer.close()


def test_what_a_fail_over_has_put_aside_is_read_back_oldest_first(database: str, hosts: Callable[..., Host]) -> None:
    host = hosts(database, "f")
    files = [NewFile(name, 1, 2, 3) for name in ("old", "new", "held")]
    jobs = host.ledger.claim("f", files, lambda name: Address("p", "r", "1", None, "f", 1, "held" if name == "held" else "place"))
    assert host.ledger.change([Change(jobs[2], State.HELD, "", {"reason": "rights"})]) == {jobs[2]}
    by_hand(database, "update turn set timeline = 'before'")
    host.ledger.set_meta("another", "write")

    def told() -> list[tuple[str, int, str]]:
        return [(str(job.state), job.attempts, str(job.tried_again_as)) for job in host.ledger.query.recent(10)][::-1]

    assert told() == [("held", 1, "unknown")] * 3, "a retry reads back first as well"
    assert host.ledger.look_back("f") == 1
    assert told() == [("unknown", 1, "unknown"), ("held", 1, "unknown"), ("held", 1, "unknown")]


def test_a_transaction_in_which_a_statement_failed_is_not_taken_for_committed(database: str) -> None:
    me = ThisHost(uuid.uuid4().hex, "host", 1, "1", "")
    writer = PostgresDatabase(Connector(database, "test"), me).writer()
    writer.begin()
    with contextlib.suppress(DatabaseError):
        writer.execute("select 1/0")
    with pytest.raises(DatabaseError, match="had failed"):
        writer.commit()
    writer.begin()
    writer.commit()
    assert writer.commits == 1
    writer.close()


def test_numbers_of_entries_that_a_sequence_has_forgotten_are_not_used_again(database: str, hosts: Callable[..., Host]) -> None:
    host = hosts(database, "f")
    host.claim("f", *(f"a{number}" for number in range(9)))
    by_hand(database, "delete from history where id > 3")
    by_hand(database, "select setval('history_id_seq', 2)")
    by_hand(database, "update turn set n = n + 1")  # as whoever else writes
    (job,) = host.claim("f", "b")
    assert by_hand(database, "select id from history where job = %s", job) == [(10,)]


def test_a_send_whose_row_was_lost_has_the_instance_of_the_journal_unless_the_row_has_one(
    database: str, hosts: Callable[..., Host]
) -> None:
    host = hosts(database, "f")
    files = [NewFile(name, 1, 2, 3) for name in ("none", "one")]
    none, one = host.ledger.claim(
        "f", files, lambda name: Address("p", "r", name, None, "f", 1 if name == "one" else None, name, name == "none")
    )
    assert host.ledger.lost(none, "f", "none", 5)
    assert host.ledger.lost(one, "f", "one", 5)
    assert not host.ledger.lost(one, "f", "another name", 5), "it is another job"
    told = [(job.state, job.instance, job.attempts) for job in host.ledger.query.recent(10)][::-1]
    assert told == [(State.UNKNOWN, 5, 1), (State.UNKNOWN, 1, 1)]
