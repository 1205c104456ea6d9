"""A copy of the ledger while it is written, whole as of one moment; and such a copy in the ledger's place."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dropcap.files import names
from dropcap.ledger.act import Deed, Who, enter, entry_of, heads, is_head
from dropcap.ledger.chain import Head, Sealer
from dropcap.ledger.database import Damaged, DatabaseError, LedgerError
from dropcap.ledger.schema import OPEN_STATES
from dropcap.ledger.sqlite.database import SqliteWriter, meant
from dropcap.ledger.sqlite.migrations import CHAINED, KNOWS_ARRIVALS, MIGRATIONS

_RESTORED = "the ledger was restored from a backup: this may have been sent since"


def backup(ledger: Path, target: Path) -> None:
    """Copy the ledger to `target`, which must not be there, for this user alone; durable on return. It may be in use.

    Raises:
        FileExistsError: there is something of that name.
        OSError: it cannot be written there.
        DatabaseError: the ledger cannot be read, or is damaged; nothing is left of the copy then.
    """
    if os.path.lexists(target):
        raise FileExistsError(target)
    with _beside(target) as temporary:
        with _opened(f"{ledger.absolute().as_uri()}?mode=ro") as source, _opened(temporary.absolute().as_uri()) as copy:
            # All pages in one step: in several it begins anew whenever the daemon has written between two of them.
            try:
                source.backup(copy, pages=-1)
            except sqlite3.Error as error:
                raise meant(error) from error
            copy.execute("pragma journal_mode = delete")
            _sound(copy)
        _flush(temporary)
        os.link(temporary, target)  # replaces nothing
    _flush(target.parent)


def heads_of(ledger: Path) -> list[Head]:
    """The heads of a ledger's chains; none if it has none, is not there or cannot be read."""
    try:
        with _opened(f"{ledger.absolute().as_uri()}?mode=ro") as connection:
            return heads(connection)
    except DatabaseError:
        return []


def restore(copy: Path, ledger: Path, installation: str | None, who: Who, known: Sequence[Head] = ()) -> Path | None:
    """Put a copy in the ledger's place, while no dropcap runs; where the ledger was put that was there, if there was one.

    What was waiting when the copy was made may have been sent since, so it is read back before anything is sent again. That is an
    act of `who`, with those heads that the copy lacks: of `known`, which were told last, and of the ledger that is there. A copy
    from before there were chains has no place for it: its first start enters the act.

    Raises:
        LedgerError: it is no ledger, of a newer dropcap, or of another `installation` than the folders know.
        OSError: it cannot be read, or not written into the state directory.
    """
    temporary = ledger.with_name(names.temporary())
    try:
        with open(copy, "rb") as source, open(temporary, "xb", opener=_private) as target:
            while piece := source.read(1 << 20):
                target.write(piece)
        _make_fit(temporary, copy, installation, who, list(dict.fromkeys([*known, *heads_of(ledger)])))
        _flush(temporary)
        aside = _aside(ledger)
        os.rename(temporary, ledger)
        _flush(ledger.parent)
    finally:
        for left in (temporary, Path(f"{temporary}-journal"), Path(f"{temporary}-wal"), Path(f"{temporary}-shm")):
            left.unlink(missing_ok=True)
    return aside


def _make_fit(temporary: Path, copy: Path, installation: str | None, who: Who, old: Sequence[Head]) -> None:
    try:
        with _opened(temporary.absolute().as_uri()) as connection:
            connection.execute("pragma journal_mode = delete")
            _sound(connection)
            version = int(connection.execute("pragma user_version").fetchone()[0])
            told = connection.execute("select value from meta where key = 'installation'").fetchone()
            if version > len(MIGRATIONS):
                raise LedgerError(f"{copy} is a ledger of a newer dropcap: install that, then restore it")
            if told is None or (installation is not None and told[0] != installation):
                raise LedgerError(f"{copy} is the ledger of another installation: its folders are not those of this state_dir")
            _enter(connection, who, version, old)
    except DatabaseError as error:
        raise LedgerError(f"{copy} cannot be used ({error}): name a file that `dropcap ledger backup` has made") from None


def _enter(connection: SqliteWriter, who: Who, version: int, old: Sequence[Head]) -> None:
    """What was open may have been sent since, to whatever instance."""
    now, sealer = time.time(), Sealer()
    connection.execute("begin immediate")
    if version >= CHAINED:
        sealer.begin(connection)
    connection.execute(
        f"update or ignore job set state = 'unknown', due = 0, changed_at = ? where state in {OPEN_STATES}"
        " and state in ('waiting', 'sending')",
        (now,),
    )
    if version >= KNOWS_ARRIVALS:
        connection.execute(
            "update job set may_have_arrived = 1, attempts = max(attempts, 1), changed_at = ?"
            f" where state in {OPEN_STATES} and state in ('waiting', 'held', 'unknown')",
            (now,),
        )
    connection.execute(
        "insert into history (job, at, state, note)"
        f" select id, ?, state, ? from job where state in {OPEN_STATES} and changed_at = ?",
        (now, _RESTORED, now),
    )
    if version >= CHAINED:
        sealer.seal(connection)
        lost = [str(head) for head in old if not is_head(head, connection.execute(*entry_of(head)).fetchall())]
        enter(connection, now, who, Deed.RESTORED, {"copy": True, "lost": lost})
    connection.execute("commit")


def _aside(ledger: Path) -> Path | None:
    """The ledger that is there is kept, with what belongs to it."""
    if not ledger.exists():
        return None
    aside = ledger.with_name(f"ledger.before-restore-{time.strftime('%Y%m%d-%H%M%S')}.db")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{ledger}{suffix}", f"{aside}{suffix}")
    return aside


def _sound(connection: SqliteWriter) -> None:
    said = connection.execute("pragma quick_check(1)").fetchone()[0]
    if said != "ok":
        raise Damaged(f"it is damaged: {said}")


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[SqliteWriter]:
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, factory=SqliteWriter)
    except sqlite3.Error as error:
        raise meant(error) from error
    try:
        connection.execute("pragma busy_timeout = 30000")
        yield connection
    finally:
        sqlite3.Connection.close(connection)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    temporary = target.with_name(names.temporary())
    os.close(_private(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
