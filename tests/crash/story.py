"""A mix of all that can befall an installation, in any order: people, crashes, sick servers, lost mounts, other configurations.

`story(seed)` says what happens, `play` has it happen and tells what is wrong then. Each content is written once only, so that it
is known wherever it turns up; and what happened to it, so that it is known where it may.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import random
import re
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dropcap.ledger.job import OPEN, State
from redcap_sandbox import Fault, Sandbox, demo_project
from tests import needs
from tests.e2e.two_projects import TwoProjects
from tests.site import TOKEN, Daemon, Site

BASELINE, MONTH_6 = "baseline_arm_1", "month_6_arm_1"
NAMES = (
    *(f"{record}_{visit}_consent.pdf" for record in (101, 102) for visit in ("V1", "V2")),
    *(f"{record}_V1_lab_{number}.pdf" for record in (101, 102) for number in (1, 2)),
    "999_V1_consent.pdf",
    "holiday.jpg",
)
OTHERS = "B" * 32
PLACES = ("", "in_progress", "failed")
FILE = {"content": "file"}
IMPORT = {**FILE, "action": "import"}
FAULTS = (
    Fault("stored_then_500", times=1, match=IMPORT),
    Fault("empty_200_without_storing", times=1, match=IMPORT),
    Fault("reset_after_body", times=1, match=IMPORT, stored=True),
    Fault("reset_during_body", times=1, match=FILE),
    Fault("html_200", times=1, match=FILE),
    Fault("status", times=2, code=500),
    # Where a copy is kept, one wrong answer cannot be told from the truth; so only where none is.
    Fault("wrong_content", times=1, match={**FILE, "action": "export", "field": "lab_report"}),
    Fault("delay", times=1, match=IMPORT, seconds=0.4),
    Fault("maintenance", times=2),
)
#: What happens, and how often compared with the others.
HAPPENS = {
    "drop": 30,
    "rewrite": 4,
    "remove": 4,
    "rename": 5,
    "kill": 7,
    "start": 9,
    "ill": 9,
    "well": 4,
    "go_away": 3,
    "come_back": 5,
    "let_it_work": 8,
    "change_table": 4,
    "change_rule": 3,
    "change_folders": 2,
    "mistake": 1,
    "lose_state": 2,
    "swap_token": 4,
    "prune": 5,
}
#: Shows a command another time, where it is installed.
FAKETIME = needs.faketime_if_there()
#: Seconds in which everything must have come to its end once nothing disturbs any more.
PATIENCE = 45.0

#: What happens, with two numbers that say to what.
Step = tuple[str, int, int]
#: Record, event, field.
At = tuple[str, str, str]


def story(seed: int, steps: int = 14) -> list[Step]:
    """So many things that happen."""
    chance = random.Random(seed)
    kinds = chance.choices(list(HAPPENS), list(HAPPENS.values()), k=steps)
    return [(kind, chance.randrange(1 << 16), chance.randrange(1 << 16)) for kind in kinds]


def play(steps: list[Step], patience: float = PATIENCE) -> None:
    """Have it happen. Raises AssertionError, with all that was done and logged, where something is wrong in the end."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropcap-story-")))
        others = demo_project()
        others.project_id = 19
        box = stack.enter_context(Sandbox(demo_project(), TOKEN))
        other = stack.enter_context(Sandbox(others, OTHERS))
        front = stack.enter_context(TwoProjects(box, other))
        place = Site(root, box, rescan="1s")
        stack.callback(place.close)
        place.project["url"] = front.url
        place.config["keep"] = {"done": "7d", "preserved": "7d"}
        place.write_config()
        told = _Story(place, other, patience)
        try:
            told.begin()
            for step in steps:
                told.happens(*step)
            told.end()
        except AssertionError as wrong:
            log = "".join(line for daemon in told.daemons for line in ["--- a start\n", *daemon.raw])
            raise AssertionError(f"{wrong}\n\n" + "\n".join(told.happened) + f"\n\n{log}") from wrong


class _Story:
    def __init__(self, place: Site, other: Sandbox, patience: float) -> None:
        self.place, self.box, self.other, self.patience = place, place.box, other, patience
        self.daemon: Daemon | None = None
        self.daemons: list[Daemon] = []
        self.happened: list[str] = []
        self.aside = place.root / "aside"
        self.lost_at = 0  # the first daemon after the last loss of the state
        self.expected: set[bytes] = set()
        self.ever: set[bytes] = set()
        #: What decides where a file goes: as it was, and is. Those by which a content may have gone; all its names.
        self.versions: list[dict[str, Any]] = []
        self.since: dict[bytes, int] = {}
        self.until: dict[bytes, int] = {}
        self.names: defaultdict[bytes, set[str]] = defaultdict(set)
        #: Copies that went with a state directory or by `prune`; files that may have gone by it.
        self.lost_copies: set[bytes] = set()
        self.pruned: set[bytes] = set()
        #: Contents that may be in one record twice: each renamed while it was perhaps under way, or its ledger was lost then.
        self.moved: set[bytes] = set()
        self.labs = place.root / "labs"
        self.labs.mkdir()
        self.watches_labs = self.has_adopted = False

    def begin(self) -> None:
        self.changed()
        self.start()
        assert self.daemon is not None
        self.daemon.wait_for("folder_watched")  # before that, an empty folder in its place is as good as the first

    def happens(self, kind: str, one: int, other: int) -> None:
        """If it can now."""
        time.sleep((one ^ other) % 8 / 20)
        running, here = self.daemon is not None, not self.aside.exists()
        match kind:
            case "drop" if here:
                self.drop(NAMES[one % len(NAMES)], in_labs=other % 4 == 0)
            case "rewrite" if here:
                self.rewrite(one)
            case "remove" if here:
                self.remove(PLACES[other % 3], one)
            case "rename" if here:
                self.rename(PLACES[other % 3], one, NAMES[other // 3 % len(NAMES)])
            case "kill" if running:
                self.kill()
            case "start" if not running:
                self.start()
            case "ill":
                self.say(f"ill: {FAULTS[one % len(FAULTS)]}")
                self.box.ill(FAULTS[one % len(FAULTS)])
            case "well":
                self.say("well")
                self.box.well()
            case "go_away" if here:
                self.say("go_away")
                self.place.drop.rename(self.aside)
                self.place.drop.mkdir()
            case "come_back" if not here:
                self.come_back()
            case "let_it_work" if running and here:
                self.let_it_work()
            case "change_table":
                self.place.config["tables"]["visits"][("V1", "V2")[one % 2]] = (BASELINE, MONTH_6)[other % 2]
                self.change("tables")
            case "change_rule":
                self.place.folder["rules"][0]["field"] = ("consent_pdf", "scan")[one % 2]
                self.change("rules")
            case "change_folders":
                self.change_folders()
            case "mistake" if running:
                self.mistake()
            case "swap_token" if self.knows_its_project():
                self.use_token(OTHERS if self.place.token_file.read_text() == TOKEN else TOKEN)
            case "prune" if here and FAKETIME:
                self.prune(one if running and other % 3 == 0 else None)
            case "lose_state" if here and self.place.token_file.read_text() == TOKEN:
                self.lose_state()

    def say(self, what: str) -> None:
        self.happened.append(f"{time.strftime('%H:%M:%S')} {what}")

    # -- people

    def content(self, name: str) -> bytes:
        made = b"%%PDF %d %s" % (len(self.ever), name.encode())
        self.known(made, name, len(self.versions) - 1)
        return made

    def known(self, content: bytes, name: str, since: int) -> None:
        self.ever.add(content)
        self.expected.add(content)
        self.since[content] = since
        self.names[content].add(name)

    def pick(self, where: str, number: int) -> Path | None:
        """One of the files that lie there now."""
        with contextlib.suppress(OSError):
            files = [path for path in sorted((self.place.drop / where).iterdir()) if path.is_file() and _is_dropped(path.name)]
            return files[number % len(files)] if files else None
        return None

    def drop(self, name: str, in_labs: bool) -> None:
        path = (self.labs if in_labs and "_lab_" in name else self.place.drop) / name
        if not path.exists():
            made = self.content(name)
            self.say(f"drop {made!r} as {path.relative_to(self.place.root)}")
            self.place.put(os.path.relpath(path, self.place.drop), made)

    def rewrite(self, number: int) -> None:
        path = self.pick("", number)
        if path is None:
            return
        with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
            old, new = file.read(), self.content(path.name)
            self.forget(new)
            new = new.ljust(len(old) + 1)
            file.seek(0)
            file.write(new)
            self.say(f"rewrite {old!r} as {new!r}")
            self.expected.discard(old)
            self.known(new, path.name, self.since.get(old, 0))
            self.names[new] |= self.names[old]

    def forget(self, content: bytes) -> None:
        """It was never written after all; its number is used up."""
        self.expected.discard(content)

    def remove(self, where: str, number: int) -> None:
        path = self.pick(where, number)
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                # By the open file: what lies under the name a moment later may be another one.
                aside = self.place.root / f"taken-{time.monotonic_ns()}"
                path.rename(aside)
                self.say(f"remove {aside.read_bytes()!r} from {where or 'the folder'}")
                self.expected.discard(aside.read_bytes())

    def rename(self, where: str, number: int, name: str) -> None:
        path = self.pick(where, number)
        if path is not None:
            # link and unlink would show it twice; a person's rename may replace, so only to a free name
            with contextlib.suppress(OSError), path.open("rb") as file:
                if not path.with_name(name).exists():
                    content = file.read()
                    self.names[content].add(name)
                    if where == "in_progress":
                        self.may_go_again([content])
                    path.rename(path.with_name(name))
                    self.say(f"rename {path.name} in {where or 'the folder'} to {name}")

    def may_go_again(self, contents: Iterable[bytes]) -> None:
        """To another place, though it was perhaps sent to one before."""
        for content in contents:
            self.moved.add(content)
            self.until.pop(content, None)

    # -- the machine, the share

    def start(self) -> None:
        self.say("start")
        self.daemon = self.place.start()
        self.daemons.append(self.daemon)

    def kill(self) -> None:
        assert self.daemon is not None
        self.say("kill")
        self.daemon.kill()
        self.sane(self.daemon)
        self.daemon = None

    def come_back(self) -> None:
        self.say("come_back")
        assert list(self.place.drop.iterdir()) == [], "dropcap has worked in an empty mount point"
        self.place.drop.rmdir()
        self.aside.rename(self.place.drop)

    def let_it_work(self) -> None:
        self.say("let_it_work")
        end = time.monotonic() + 0.6
        while self.pick("", 0) is not None and time.monotonic() < end:
            time.sleep(0.02)

    def lose_state(self) -> None:
        if self.daemon is not None:
            self.kill()
        self.say("lose_state")
        self.look()
        self.lost_copies |= self.copies()
        for base in self.bases():
            self.may_go_again(path.read_bytes() for path in (base / "in_progress").rglob("*") if path.is_file())
        shutil.rmtree(self.place.state)
        self.lost_at = len(self.daemons)
        for folder in self.place.config["folders"]:
            self.adopt(folder)

    def knows_its_project(self) -> bool:
        """Without `project_id`, the one that REDCap tells first is the right one."""
        return any(daemon.events("sending") for daemon in self.daemons[self.lost_at :])

    def use_token(self, token: str) -> None:
        self.say(f"token of project {19 if token == OTHERS else 42}")
        beside = self.place.root / "new-token"
        beside.write_text(token)
        beside.chmod(0o600)
        beside.rename(self.place.token_file)

    def prune(self, killed: int | None) -> None:
        """Ten days later; the daemon is perhaps `killed` in the midst of it."""
        self.say("prune" if killed is None else "prune, and kill")
        self.look()
        before = self.copies()
        ahead = {"LD_PRELOAD": FAKETIME, "FAKETIME": "+10d", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(self.place.dropcap, "prune", "--force", **ahead)
            if killed is not None and self.daemon is not None:
                with contextlib.suppress(AssertionError):
                    self.daemon.wait_for("removed", patience=3)
                time.sleep(killed % 8 / 500)
                self.kill()
            assert "Traceback" not in told.result().stderr, told.result().stderr
        jobs = self.place.jobs()
        given_out = {job.sha256 for job in jobs if job.state == State.DONE and job.confirmed == "readback"}
        self.pruned |= {content for content in self.ever if _sha256(content) in given_out}
        # Copies that were kept while the command started are among them.
        kept = {job.preserved_sha256 for job in jobs}
        self.lost_copies |= before | self.pruned | {content for content in self.ever if _sha256(content) in kept}
        for job in jobs:
            if job.state in OPEN and job.preserved_as:
                assert (self.place.root / job.preserved_as).exists(), f"{job} relies on a copy that is gone"

    def adopt(self, folder: str) -> None:
        self.has_adopted = True
        told = self.place.dropcap("check", "--offline", "--adopt", "--force", "--folder", folder)
        assert told.returncode in (0, 1), told.stdout + told.stderr

    # -- the configuration

    def change(self, what: str) -> None:
        """Have it taken up, by the daemon or at its next start."""
        self.say(f"change {what}: {self.place.config['tables']['visits']}, {self.place.folder['rules'][0]['field']}")
        self.look()
        self.place.write_config()
        if self.daemon is not None:
            told = self.place.dropcap("reload")
            assert told.returncode == 0, f"reload: {told.returncode} {told.stdout}{told.stderr}"
        self.changed()

    def changed(self) -> None:
        self.versions.append(
            copy.deepcopy({"visits": self.place.config["tables"]["visits"], "rules": self.place.folder["rules"]})
        )

    def change_folders(self) -> None:
        """The other folder comes or goes, with all that is under way in it."""
        self.watches_labs = not self.watches_labs
        folders = self.place.config["folders"]
        if self.watches_labs:
            folders["labs"] = {**self.place.folder, "path": str(self.labs)}
        else:
            del folders["labs"]
        self.change("folders, labs " + ("comes" if self.watches_labs else "goes"))
        if self.watches_labs:
            self.adopt("labs")  # it may have been away while the state was lost

    def mistake(self) -> None:
        """What is in force goes on."""
        self.say("mistake")
        sound = self.place.config_file.read_text()
        self.place.config_file.write_text(sound.replace("contact:", "contakt:"))
        told = self.place.dropcap("reload")
        self.place.config_file.write_text(sound)
        assert told.returncode != 0, told.stdout

    # -- what must be true

    def bases(self) -> list[Path]:
        return [self.place.drop, self.labs]

    def copies(self) -> set[bytes]:
        """What is kept of what REDCap held."""
        found = (self.place.state / "preserved").rglob("*")
        return {path.read_bytes() for path in found if path.is_file() and path.suffix != ".json" and path.name[0] != "."}

    def held(self) -> Counter[tuple[At, bytes]]:
        """What REDCap holds."""
        box = self.box
        return Counter(
            ((h.record, h.event, h.field), box.content(h.record, h.field, h.event, h.instance)) for h in box.holdings()
        )

    def may_be_at(self, content: bytes) -> set[At]:
        """Where it may have gone, by its names and the configurations since it was dropped."""
        versions = self.versions[self.since[content] : self.until.get(content, len(self.versions)) + 1]
        return {at for name in self.names[content] for version in versions for at in _target(name, version)}

    def look(self) -> None:
        """What is wrong in REDCap now. What is there was sent by the configurations until now."""
        assert not self.other.holdings(), "another project got files"
        held = self.held()
        for (record, event, field), content in held:
            at = (record, event, field)
            assert content in self.ever, f"REDCap holds {content!r} at {at}"
            assert at in self.may_be_at(content), f"misplaced: {content!r} at {at}, not at {self.may_be_at(content)}"
            if content not in self.moved:
                self.until.setdefault(content, len(self.versions) - 1)
        in_records: Counter[tuple[object, ...]] = Counter()
        for (at, content), times in held.items():
            in_records[(at if content in self.moved else at[0]), content] += times
        twice = {one: times for one, times in in_records.items() if times > 1}
        assert not twice, f"twice: {twice}"

    def sane(self, daemon: Daemon) -> None:
        odd = daemon.events("internal_error")
        assert not odd, odd

    def end(self) -> None:
        """All is well again; what must be true once everything has come to its end."""
        self.say("the end")
        if self.aside.exists():
            self.come_back()
        self.box.well()
        self.use_token(TOKEN)
        if not self.watches_labs:
            self.change_folders()
        if self.daemon is None:
            self.start()
        assert self.daemon is not None
        self.wait()
        self.sane(self.daemon)
        assert self.daemon.stop() == 0
        self.check()

    def lying(self, *, over: bool) -> Iterator[tuple[Path, str]]:
        """The files that lie somewhere: all, or those that are under way; each with its place in its folder."""
        for base in self.bases():
            for path in sorted(base.rglob("*")):
                where = str(path.relative_to(base))
                if path.is_file() and _is_dropped(path.name) and (over or not where.startswith(("done/", "failed/"))):
                    yield path, where

    def left(self) -> list[str]:
        """What is still to be done. A file that no rule matched when its folder was adopted is nobody's, and stays."""
        found = [where for _, where in self.lying(over=False)]
        left = [where for where in found if "/" in where or not self.has_adopted or _target(where, self.versions[-1])]
        failed = [(path, where) for path, where in self.lying(over=True) if where.startswith("failed/")]
        untold = [where for path, where in failed if not _text(path).exists()]
        return left + ([] if self.lost_at else untold)  # one that was renamed while the ledger was lost is a stray

    def wait(self) -> None:
        end, hurried = time.monotonic() + self.patience, 0.0
        while True:
            open_jobs = [job for job in self.place.jobs() if job.state in OPEN]
            left = self.left()
            if not open_jobs and not left:
                return
            assert time.monotonic() < end, f"it does not come to its end: {left} {open_jobs}"
            if time.monotonic() - hurried > 3 and open_jobs:
                hurried = time.monotonic()
                self.place.dropcap("resume", "--server", "trial")
                self.place.dropcap("resume", "--project", "trial")
                self.place.dropcap("retry", *(str(job.id) for job in open_jobs))
                self.give_names_back()
            time.sleep(0.1)

    def give_names_back(self) -> None:
        """What may have arrived waits in in_progress/ for its old name."""
        for path, where in self.lying(over=False):
            name = path.read_bytes().split()[2].decode()
            if (
                where.startswith("in_progress/")
                and not _target(path.name, self.versions[-1])
                and _target(name, self.versions[-1])
            ):
                with contextlib.suppress(OSError):
                    if not path.with_name(name).exists():
                        path.rename(path.with_name(name))
                        self.say(f"rename {where} back to {name}")

    def check(self) -> None:
        self.look()
        found = Counter(path.read_bytes() for path, _ in self.lying(over=True))
        lost, more = Counter(self.expected) - found, found - Counter(self.expected)
        assert lost.keys() <= self.pruned, f"lost: {lost.keys() - self.pruned}"
        assert not more, f"there more than once, or though it was taken away: {more}"
        kept = self.copies()
        assert kept <= self.ever, f"copies of what never was: {kept - self.ever}"
        kept |= self.lost_copies
        held = {(at[0], content) for at, content in self.held()}
        for path, where in self.lying(over=True):
            content = path.read_bytes()
            if where.startswith("done/"):
                assert (path.name[:3], content) in held or content in kept, f"falsely done: {where} {content!r}"
        holds: defaultdict[str, set[At]] = defaultdict(set)
        for at, content in self.held():
            holds[_sha256(content)].add(at)
        replaced = {_sha256(content) for content in kept}
        for job in self.place.jobs():
            if job.state == State.DONE and job.sha256 in holds and job.sha256 not in replaced:
                at = (job.record, job.event or "", job.field)
                assert at in holds[job.sha256], f"history says {at} of {job.name}, REDCap {holds[job.sha256]}"


def _is_dropped(name: str) -> bool:
    return not name.startswith(".") and name != "_STATUS.html" and not name.endswith(".why.txt")


def _text(path: Path) -> Path:
    return path.with_name(f"{path.name}.why.txt")


def _target(name: str, version: dict[str, Any]) -> list[At]:
    """Where a file of this name goes, if it goes anywhere."""
    found = re.fullmatch(r"(\d+)_(V\d)_(consent|lab.*)\.pdf", name)
    if found is None or found[2] not in version["visits"]:
        return []
    rule = version["rules"][0 if found[3] == "consent" else 1]
    return [(found[1], version["visits"][found[2]], rule["field"])]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
