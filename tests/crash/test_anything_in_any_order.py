"""People, crashes, sick servers and lost mounts in any order; in the end every file is whole in one place, and done/ is true.

`DROPCAP_EXAMPLES` sets how many stories are tried (they are always the same ones, unless it is set).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from redcap_sandbox import Fault, Sandbox, demo_project
from tests.site import TOKEN, Daemon, Site

CONSENTS = [f"{record}_V1_consent.pdf" for record in (101, 102)]
LABS = [f"{record}_V1_lab_{number}.pdf" for record in (101, 102) for number in (1, 2)]
NAMES = st.sampled_from([*CONSENTS, *LABS, "999_V1_consent.pdf", "holiday.jpg"])
PLACES = st.sampled_from(["", "in_progress", "failed"])
PICK = st.integers(0, 5)
FILE = {"content": "file"}
IMPORT = {**FILE, "action": "import"}
FAULTS = st.sampled_from(
    [
        Fault("stored_then_500", times=1, match=IMPORT),
        Fault("empty_200_without_storing", times=1, match=IMPORT),
        Fault("reset_after_body", times=1, match=IMPORT, stored=True),
        Fault("reset_during_body", times=1, match=FILE),
        Fault("html_200", times=1, match=FILE),
        Fault("status", times=2, code=500),
        Fault("wrong_content", times=1, match={**FILE, "action": "export"}),
        Fault("delay", times=1, match=IMPORT, seconds=0.4),
        Fault("maintenance", times=2),
    ]
)
#: Seconds in which everything must have come to its end once nothing disturbs any more.
PATIENCE = 45.0


class Story(RuleBasedStateMachine):
    """One drop folder, one daemon, one sandbox. Each content is written once only, so that it can be recognised."""

    @initialize()
    def begin(self) -> None:
        self.stack = contextlib.ExitStack()
        root = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="dropcap-story-")))
        self.box = self.stack.enter_context(Sandbox(demo_project(), token=TOKEN))
        self.place = Site(root, self.box, rescan="1s")
        self.stack.callback(self.place.close)
        self.aside = root / "aside"
        self.expected: set[bytes] = set()
        self.ever: set[bytes] = set()
        self.daemon: Daemon | None = None
        self.start()
        assert self.daemon is not None
        self.daemon.wait_for("folder_watched")  # before that, an empty folder in its place is as good as the first

    def content(self, name: str) -> bytes:
        made = b"%%PDF %d %s" % (len(self.ever), name.encode())
        self.ever.add(made)
        return made

    @property
    def away(self) -> bool:
        return self.aside.exists()

    def pick(self, where: str, number: int) -> Path | None:
        """One of the files that lie there now."""
        base = self.place.drop / where
        ours = ("_STATUS.html", ".dropcap")
        with contextlib.suppress(OSError):
            files = [p for p in sorted(base.iterdir()) if p.is_file() and p.name not in ours and not p.name.endswith(".why.txt")]
            files = [p for p in files if not p.name.startswith(".")]
            return files[number % len(files)] if files else None
        return None

    # -- people

    @precondition(lambda self: not self.away)
    @rule(name=NAMES)
    def drop(self, name: str) -> None:
        if not (self.place.drop / name).exists():
            made = self.content(name)
            self.place.put(name, made)
            self.expected.add(made)

    @precondition(lambda self: not self.away)
    @rule(number=PICK)
    def rewrite(self, number: int) -> None:
        path = self.pick("", number)
        if path is None:
            return
        with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
            old, new = file.read(), self.content(path.name)
            file.seek(0)
            file.write(new.ljust(len(old) + 1))
            self.ever.add(new.ljust(len(old) + 1))
            self.expected.discard(old)
            self.expected.add(new.ljust(len(old) + 1))

    @precondition(lambda self: not self.away)
    @rule(where=PLACES, number=PICK)
    def remove(self, where: str, number: int) -> None:
        path = self.pick(where, number)
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                # By the open file: what lies under the name a moment later may be another one.
                aside = self.place.root / f"taken-{time.monotonic_ns()}"
                path.rename(aside)
                self.expected.discard(aside.read_bytes())

    @precondition(lambda self: not self.away)
    @rule(where=PLACES, number=PICK, name=NAMES)
    def rename(self, where: str, number: int, name: str) -> None:
        path = self.pick(where, number)
        if path is not None:
            # link and unlink would show it twice; a person's rename may replace, so only to a free name
            with contextlib.suppress(OSError):
                if not path.with_name(name).exists():
                    path.rename(path.with_name(name))

    # -- the machine, the server, the share

    @precondition(lambda self: self.daemon is None)
    @rule()
    def start(self) -> None:
        self.daemon = self.place.start()

    @precondition(lambda self: self.daemon is not None)
    @rule()
    def kill(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.told(self.daemon)
        self.daemon = None

    @rule(fault=FAULTS)
    def ill(self, fault: Fault) -> None:
        self.box.ill(fault)

    @rule()
    def well(self) -> None:
        self.box.well()

    @precondition(lambda self: not self.away)
    @rule()
    def go_away(self) -> None:
        self.place.drop.rename(self.aside)
        self.place.drop.mkdir()

    @precondition(lambda self: self.away)
    @rule()
    def come_back(self) -> None:
        assert list(self.place.drop.iterdir()) == [], "dropcap has worked in an empty mount point"
        self.place.drop.rmdir()
        self.aside.rename(self.place.drop)

    @precondition(lambda self: self.daemon is not None and not self.away)
    @rule()
    def let_it_work(self) -> None:
        end = time.monotonic() + 0.6
        while self.pick("", 0) is not None and time.monotonic() < end:
            time.sleep(0.02)

    # -- the end

    def told(self, daemon: Daemon) -> None:
        odd = daemon.events("internal_error")
        assert not odd, odd

    def teardown(self) -> None:
        if not hasattr(self, "place"):
            return
        with self.stack:
            if self.away:
                self.come_back()
            self.box.well()
            if self.daemon is None:
                self.start()
            assert self.daemon is not None
            self.wait()
            note("".join(self.daemon.raw[-60:]))
            self.told(self.daemon)
            self.daemon.stop()
            self.check()

    def wait(self) -> None:
        end = time.monotonic() + PATIENCE
        hurried = 0.0
        while True:
            open_jobs = [job for job in self.place.jobs() if job.state not in ("done", "failed", "withdrawn")]
            left = [n for n in self.place.everywhere() if not n.startswith(("done/", "failed/"))]
            if not open_jobs and not left:
                return
            assert time.monotonic() < end, (left, open_jobs, "".join(self.daemon.raw[-40:] if self.daemon else []))
            if time.monotonic() - hurried > 3 and open_jobs:
                hurried = time.monotonic()
                self.place.dropcap("resume", "--server", "trial")
                self.place.dropcap("retry", *(str(job.id) for job in open_jobs))
            time.sleep(0.1)

    def check(self) -> None:
        place, box = self.place, self.box
        found = Counter((place.drop / name).read_bytes() for name in place.everywhere())
        assert found == Counter(self.expected), "every file whole, exactly once"
        explained = [n.removesuffix(".why.txt") for n in place.names("failed") if n.endswith(".why.txt")]
        assert set(explained) >= set(place.failed()), "a text beside each failed file"
        held = Counter((h.record, box.content(h.record, h.field, h.event, h.instance)) for h in box.holdings())
        assert all(times == 1 for times in held.values()), f"twice in one record: {held}"
        kept = {(place.kept / n).read_bytes() for n in place.copies()}
        assert kept <= self.ever, "a preserved copy is no file that ever was"
        for name in place.names("done"):
            content = (place.drop / "done" / name).read_bytes()
            record = Path(name).name[:3]
            assert held[record, content] == 1 or content in kept, f"done/{name} is not in REDCap and was not replaced"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_anything_in_any_order() -> None:
    asked = os.environ.get("DROPCAP_EXAMPLES")
    run_state_machine_as_test(
        Story,
        settings=settings(
            max_examples=int(asked or 8),
            stateful_step_count=14,
            phases=[Phase.generate],  # to shrink a story of real processes takes longer than to read it
            deadline=None,
            derandomize=asked is None,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
