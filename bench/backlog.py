"""Many files at once, a done/ and a ledger that years have filled: none of it may change what a file costs. One run of each."""

from __future__ import annotations

import sqlite3
import time
from datetime import date

from ground import Ground, Options, ground

FEW, MANY = 1000, 100_000
KEPT = 1_000_000


def run(options: Options) -> list[str]:
    """Milliseconds a file and memory, with few files and with many."""
    few, few_resident = _backlog(options, FEW)
    many, many_resident = _backlog(options, MANY)
    kept = options.scaled(KEPT)
    filled, filled_resident = _backlog(options, FEW, kept)
    return [
        f"a backlog that lies there at the start; a done/ of {kept} files with a ledger of {kept} jobs",
        f"  {FEW:>7} files             {few:.2f} ms a file, at most {few_resident:.0f} MiB resident",
        f"  {MANY:>7} files             {many:.2f} ms a file ({many / few:.2f} x), "
        f"{many_resident:.0f} MiB ({many_resident / few_resident:.2f} x)",
        f"  {FEW:>7} files, years kept {filled:.2f} ms a file ({filled / few:.2f} x), "
        f"{filled_resident:.0f} MiB ({filled_resident / few_resident:.2f} x)",
    ]


def _backlog(options: Options, files: int, kept: int = 0) -> tuple[float, float]:
    with ground(options) as place:
        if kept:
            with place.dropcap():
                pass  # makes the ledger and takes the folder
            _fill(place, kept)
        place.write(files, 1024)
        with place.dropcap() as process:
            began = time.monotonic()
            for _ in range(files):
                process.wait_for('"event": "done"')  # to look into a done/ of a million files would be work of its own
            took = time.monotonic() - began
            return 1000 * took / files, process.resident(peak=True)


def _fill(place: Ground, number: int) -> None:
    """`number` files in today's done/, and as many done jobs in the ledger."""
    day = place.drop / "done" / date.today().isoformat()  # noqa: DTZ011 - the day's folder is named by local time
    day.mkdir(parents=True, exist_ok=True)
    for one in range(number):
        (day / f"old{one}.pdf").touch()
    ledger = sqlite3.connect(place.state / "ledger.db")
    now = time.time()
    ledger.execute(
        "with recursive n (i) as (select 0 union all select i + 1 from n where i + 1 < ?)"
        " insert into job (folder, name, state, project, rule, record, field, key, size, mtime_ns, inode, sha256, attempts,"
        " result, confirmed, filed_as, claimed_at, changed_at, ended_at, seconds)"
        " select 'drop', cast('old' || i || '.pdf' as blob), 'done', 'bench', 'consent', 'r' || i, 'consent_pdf', 'k' || i,"
        " 1, 1, i, '', 1, 'stored', 'none', cast('done/x/old' || i || '.pdf' as blob), ? - i, ? - i, ? - i, 0.1 from n",
        (number, now, now, now),
    )
    ledger.execute("insert into history select id, claimed_at, 'done', 'filed' from job")
    ledger.commit()
    ledger.close()
