"""The demo as it is shown: what is dropped, what the daemon says of it, and what REDCap holds in the end."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from dropcap.cli.demo_daemon import DemoDaemon, NotSeenError
from dropcap.cli.demo_stay import page_section, stay
from dropcap.cli.demo_story import OLD_CONSENT, STORY, WHY, Step, write_config
from dropcap.cli.demo_told import Telling, imports
from redcap_sandbox import Sandbox, demo_project

#: Seconds after which something that should happen is taken not to.
PATIENCE = 30.0


def show_demo(root: Path, stays: bool) -> list[str]:
    """Play the whole story in `root`, an empty directory, and go on until Ctrl-C if it `stays`; what was not as it should be."""
    with Sandbox(demo_project()) as box:
        return _Show(root, box, stays).run()


class _Show:
    def __init__(self, root: Path, box: Sandbox, stays: bool) -> None:
        self._root = root
        self._box = box
        self._stays = stays
        self._drop = root / "consents"
        self._config = root / "config.yaml"
        self._kept = root / "state" / "preserved" / "consents"
        self._telling = Telling()
        self._console = self._telling.console
        self._wrong = self._telling.wrong

    def run(self) -> list[str]:
        """Everything in its order; what was not as it should be."""
        self._drop.mkdir()
        more = page_section(self._root) if self._stays else ""
        write_config(self._root, self._drop, self._box.url, self._box.token, more)
        self._console.print(Text("dropcap demo", "bold"), f"in {self._root}")
        self._console.print(f"A sandbox REDCap at {self._box.url} holds a made-up trial.")
        with DemoDaemon(self._config, self._root / "dropcap.log") as daemon:
            try:
                daemon.wait_for("ready", patience=PATIENCE)
                self._telling.title("dropcap run: the daemon is watching the folder")
                for step in STORY:
                    self._play(step, daemon)
            except NotSeenError as error:
                self._wrong.append(str(error))
            self._show_folder()
            self._show_why()
            self._show_holdings()
            self._show_status(daemon)
            if self._stays:
                self._stay(daemon)
            self._telling.title("SIGTERM: the daemon ends")
            code = daemon.stop(PATIENCE)
            self._telling.line("stopped", "dropcap run", f"exit code {code}")
            self._telling.check(code == 0, f"the daemon ended with exit code {code} instead of 0")
        if not self._stays:
            self._verdict()
        return self._wrong

    def _stay(self, daemon: DemoDaemon) -> None:
        self._verdict()
        try:
            stay(self._root, self._drop, self._box.url.partition("/api")[0], daemon)
        except NotSeenError as error:
            self._wrong.append(str(error))
            self._console.print(Text(f"WRONG: {error}", "red"))

    # What happens, as it happens

    def _play(self, step: Step, daemon: DemoDaemon) -> None:
        self._telling.title(step.title)
        since = daemon.mark()
        if step.rename:
            old, new = step.rename
            self._telling.line("renamed", f"{old} to {new}")
            (self._drop / "failed" / old).rename(self._drop / "failed" / new)
        for name, content in step.files.items():
            # Beside the folder first, then into it whole: what a careful program does.
            beside = self._root / "being-written"
            beside.write_bytes(content)
            self._telling.line("dropped", name)
            beside.rename(self._drop / name)
            if name in step.until:
                daemon.wait_for(step.until[name], name, since, PATIENCE, self._telling.log_line)
        for name, outcome in step.outcomes.items():
            event = "failed" if outcome in WHY else "done"
            line = daemon.wait_for(event, name, since, PATIENCE, self._telling.log_line)
            told = str(line.get("reason") if event == "failed" else line.get("result"))
            self._telling.check(told == outcome, f"{name} came out as {told} instead of {outcome}")

    # What there is at last

    def _show_folder(self) -> None:
        self._telling.title("The folder now")
        tree = Tree("consents/", guide_style="dim")
        branches: dict[Path, Tree] = {self._drop: tree}
        for path in sorted(self._drop.rglob("*")):
            name = f"{path.name}/" if path.is_dir() else path.name
            branches[path] = branches[path.parent].add(Text(name, "bold" if path.is_dir() else ""))
        self._console.print(tree)

    def _show_why(self) -> None:
        name = _failed_at_last()
        path = self._drop / "failed" / f"{name}.why.txt"
        self._telling.title(f"failed/{path.name}")
        if path.is_file():
            self._console.print(Text(path.read_text(encoding="utf-8").replace("\r\n", "\n").strip()))
        else:
            self._telling.check(False, f"{path.name} is not there")

    def _show_holdings(self) -> None:
        self._telling.holdings(self._box, {place: content for step in STORY for place, content in step.holds.items()})
        kept = [path.read_bytes() for path in self._kept.glob("*/*") if path.suffix != ".json"]
        self._telling.check(kept == [OLD_CONSENT], "no copy of the file that was replaced, and that alone, is kept")

    def _show_status(self, daemon: DemoDaemon) -> None:
        self._telling.title("dropcap status")
        told = daemon.command("status")
        self._console.print(Text(told))
        self._telling.check(_failed_at_last() in told, "status does not name the failed file")

    def _verdict(self) -> None:
        dropped = sum(len(step.files) for step in STORY)
        sent = imports(self._box)
        stored = sum(outcome not in WHY for step in STORY for outcome in step.outcomes.values())
        self._telling.check(sent == stored, f"{sent} files were sent to REDCap instead of {stored}")
        self._telling.in_the_end(
            f"All as it should be: {dropped} dropped, {stored} stored (each sent once), 1 failed, explained."
        )
        if not self._wrong:
            self._console.print("next: dropcap init")


def _failed_at_last() -> str:
    """The one file that fails and is not put right."""
    renamed = [step.rename[0] for step in STORY if step.rename]
    (name,) = (n for step in STORY for n, outcome in step.outcomes.items() if outcome in WHY and n not in renamed)
    return name
