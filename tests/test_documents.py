"""Every command, option, key, event and reason is documented, and every documented one exists."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from dropcap.cli import COMMANDS, commands, status
from dropcap.cli.configured import usable
from dropcap.cli.prune import _as_json as prune_json
from dropcap.cli.prune import _Seen
from dropcap.cli.verify import Compared, Found
from dropcap.cli.verify import _as_json as verify_json
from dropcap.config.load import load
from dropcap.daemon.prune import What
from dropcap.delivery.workers import Uploading
from dropcap.ledger.job import Pause
from dropcap.ledger.query import Query
from dropcap.ledger.reports import HostAtWork, HostsNow
from dropcap.preflight.remark import NotPruned
from dropcap.reasons import Reason, Scope
from dropcap.snapshot import RequestLimit
from redcap_sandbox import Sandbox, demo_project
from redcap_sandbox.structure import RowKey
from tests.site import TOKEN, Site, site

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: Where a command's options and keys stand, if not in commands.md.
CHECKING = ("init", "check", "dry-run", "verify")


def section(name: str) -> str:
    """What the documents say of a command."""
    page = (DOCS / ("checking.md" if name in CHECKING else "commands.md")).read_text()
    return page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def command(name: str) -> click.Command:
    found = commands.get_command(click.Context(commands), name)
    assert found is not None
    return found


# Commands and options


def test_every_command_has_its_section_and_every_section_its_command() -> None:
    page = (DOCS / "commands.md").read_text()
    table = set(re.findall(r"^\| (.*?) \|", page.partition("| command |")[2].partition("\n\n")[0], re.MULTILINE)) - {"---"}
    assert {name for cell in table for name in re.findall(r"`([\w-]+)`", cell)} == set(COMMANDS)
    titles = {
        title for name in ("commands.md", "checking.md") for title in re.findall(r"^## (\S+)$", (DOCS / name).read_text(), re.M)
    }
    assert titles - set(COMMANDS) == set()
    for name in COMMANDS:
        assert section(name), f"{name} has no section"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "sandbox"])
def test_every_option_is_documented_and_every_documented_one_exists(name: str) -> None:
    told = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", re.sub(r"```\nok .*?```", "", section(name), flags=re.DOTALL)))
    options = {
        text for one in command(name).params if isinstance(one, click.Option) for text in one.opts if text.startswith("--")
    }
    assert options - told - {"--config"} == set(), "not documented"
    others = {text for other in COMMANDS if other != "sandbox" for one in command(other).params for text in one.opts}
    assert told - options - {"--help"} <= others, "of no command"


def test_the_options_of_the_sandbox_too() -> None:
    said = CliRunner().invoke(commands, ["sandbox", "--help"], env={"COLUMNS": "200"}).output
    options = set(re.findall(r"^ +(?:-h, )?(--[a-z-]+)", said, re.MULTILINE)) - {"--help"}
    told = {
        text for page in (section("sandbox"), (DOCS / "sandbox.md").read_text()) for text in re.findall(r"--[a-z][a-z-]+", page)
    }
    assert len(options) > 10
    assert options - told == set()
    assert set(re.findall(r"--[a-z][a-z-]+", section("sandbox"))) - options == set()


# The keys of JSON


def documented(name: str) -> set[str]:
    """The paths of the keys in a command's tables: `folders.*` `.path` is `folders.*.path`."""
    found: set[str] = set()
    for line in section(name).partition("| key | value |")[2].splitlines():
        cells = line.split(" | ")
        if not line.startswith("| `"):
            continue
        tokens = re.findall(r"`([^`]+)`", cells[0])
        parents = [token for token in tokens if not token.startswith(".")]
        nested = [token for token in tokens if token.startswith(".")]
        found |= {parent + token for parent in parents for token in nested} if nested else set(parents)
    return found


def paths(value: Any, names: frozenset[str], at: str = "") -> Iterator[str]:
    """The paths of all keys of a JSON value; the keys of objects in `names` are names, and stand as `*`."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from paths(below, names, f"{at}.*" if at in names else f"{at}.{key}" if at else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for below in value:
            yield from paths(below, names, f"{at}[]")
    else:
        yield at


def agree(name: str, *values: Any, names: frozenset[str] = frozenset(), but: str = "") -> None:
    """The keys that these values have are those of the documents. What matches `but` is documented elsewhere."""
    seen = {path for value in values for path in paths(value, names)}
    told = documented(name)
    if but:
        seen = {re.sub(but, r"\1", path) for path in seen}
    nothing = {path for path in seen if any(one.startswith((f"{path}[]", f"{path}.")) for one in told)}  # an empty list, or null
    assert seen - told - nothing == set(), "not documented"
    assert {
        path for path in told if not any(one == path or one.startswith((f"{path}.", f"{path}[]")) for one in seen)
    } == set(), "gone"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A place where something has happened: a file was stored, one has replaced another, some failed, one waits."""
    with Sandbox(demo_project(), token=TOKEN) as box, site(tmp_path_factory.mktemp("documents"), box) as place:
        place.folder["missing_record"] = "wait"
        place.folder.update(settle_closed="0s", settle_quiet="10ms")
        place.write_config()
        box.project.store.put_bytes("103", RowKey("baseline_arm_1"), "consent_pdf", "old.pdf", b"old")
        place.once()
        for name in ("101_V1_consent.pdf", "103_V1_consent.pdf", "holiday.jpg", "999_V1_consent.pdf"):
            place.put(name)
        (place.drop / "link.pdf").symlink_to("nothing")
        place.dropcap("run", "--once", "--wait", "0s")
        yield place


def told(place: Site, *words: str) -> Any:
    return json.loads(place.dropcap(*words).stdout)


def test_the_keys_of_status(used: Site) -> None:
    daemon = used.start()
    real = told(used, "status", "--json")
    config = usable(used.config_file)
    ledger = Query(used.state / "ledger.db")
    view = {"folders": {}, "alive": True, "version": "1", "started": 1.0, "under_way": 0}
    now = time.time()
    before = status.gathered(config, ledger, view, None)
    made = dataclasses.replace(
        before,
        folders=tuple(dataclasses.replace(one, settling={"a.pdf": "it is open"}) for one in before.folders),
        pauses=(Pause(Scope.SERVER, "h", Reason.UNREACHABLE, "m", "r", now, False),),
        uploads=(Uploading(1, "consents", "n", 2, 1, now),),
        limits=(RequestLimit("h", 1, now),),
        hosts=HostsNow((HostAtWork("id", "a", 1, "1", "digest", now, now, True, ()),)),
        held=tuple(ledger.recent(1)),
        read_back=tuple(ledger.recent(1)),
        behind_held=((ledger.recent(1)[0], ledger.recent(1)[0]),),
        not_pruned=(NotPruned("consents", None),),
    )
    jobs = r"^((?:held|failed|put_off|read_back)\[\])\..*"
    agree("status", real, status._json(config, made), names=frozenset({"folders"}), but=jobs)
    history = {key for key in documented("history") if not key.startswith(("steps", "dropped_by", "origin"))}
    assert set(real["failed"][0]) == history
    ledger.close()
    assert daemon.stop() == 0


def test_the_keys_of_history_and_preserved(used: Site) -> None:
    lines = used.dropcap("history", "--json").stdout.splitlines()
    agree("history", *map(json.loads, lines), but=r"^(origin\.rule)\..*")
    copies = used.dropcap("preserved", "--json", "--to", str(used.root / "fetched")).stdout.splitlines()
    agree("preserved", *map(json.loads, copies))


def test_the_keys_of_prune(used: Site) -> None:
    used.config["keep"] = {"done": "7d"}
    used.write_config()
    real = told(used, "prune", "--json", "--force")
    over = {"what": "done", "folder": "consents", "key": 1, "name": "done/a.pdf", "size": 1}
    made = _Seen([("consents", What.DONE, [over])], {"gone": "it is away"}, {"other": "b"}, 1)
    agree("prune", real, prune_json(made, [over], [], dry_run=True))
    del used.config["keep"]
    used.write_config()


def test_the_keys_of_check_dry_run_and_verify(used: Site) -> None:
    agree("check", told(used, "check", "--json", "--costs"))
    used.put("105_V1_consent.pdf")
    used.put("998_V1_consent.pdf")
    used.config["folders"]["gone"] = {**used.folder, "path": str(used.root / "gone")}
    used.write_config()
    names = frozenset({"summary.outcomes", "summary.rules", "summary.missing_records"})
    agree("dry-run", told(used, "dry-run", "--json"), names=names)
    del used.config["folders"]["gone"]
    used.write_config()
    (job,) = [one for one in used.jobs() if one.name == "101_V1_consent.pdf"]
    real = told(used, "verify", "--json")
    agree("verify", real, verify_json([Compared(job, Found.MISSING, "gone")], 1, "", True), names=frozenset({"outcomes"}))


# The configuration's keys


def test_every_key_of_the_configuration_is_documented_and_every_documented_one_exists(tmp_path: Path) -> None:
    """What keys there are, the messages about unknown ones tell."""
    rule = {"pattern": "{record}", "field": "f", "zzz": 1}
    folder = {"path": str(tmp_path), "project": "p", "rules": [rule], "zzz": 1}
    project = {"url": "https://a.example.org/api/", "token_env": "T", "zzz": 1}
    made = {"state_dir": str(tmp_path / "s"), "log": {"zzz": 1}, "projects": {"p": project}, "folders": {"f": folder}, "zzz": 1}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(made))
    known: dict[str, set[str]] = {}
    for problem in load(path).problems:
        if problem.key.endswith("zzz") and "the keys here are " in problem.remedy:
            where = problem.key.split(".")[0] + ("[]" if "[" in problem.key else "")
            known[where] = set(problem.remedy.partition("the keys here are ")[2].split(", "))
    assert len(known) == 5, known
    page = (DOCS / "design.md").read_text().partition("## 4. Configuration")[2].partition("## 5.")[0]
    whole, one_rule = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    settings = set(re.findall(r"`(\w+)`", page.partition("Rule settings")[2].partition("\n")[0])) - {"defaults"}
    instead = {"token_credential", "token_env", "regex", "ledger_password_credential"}  # in the place of another
    assert all(f"`{key}" in page or f"{key}:" in page for key in instead)
    assert set(whole) | (instead & known["zzz"]) == known["zzz"]
    assert set(whole["log"]) == known["log"]
    assert set(whole["projects"]["trial"]) | (instead & known["projects"]) == known["projects"]
    assert set(whole["folders"]["consents"]) | settings == known["folders"]
    assert set(one_rule[0]) | settings | (instead & known["folders[]"]) == known["folders[]"]


# Links

PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("src/*/README.md"))
    if path.parent.name not in (".venv", "build", "dist")
)
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_INLINE_CODE = re.compile(r"`[^`\n]*`")


def anchors(page: Path) -> set[str]:
    """What a link to a heading of this page may say, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = _FENCED.sub("", page.read_text())
    links = re.findall(r"\]\(([^()\s]+)\)", _INLINE_CODE.sub("`code`", text))
    astray = []
    for link in links:
        place, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", place):
            continue
        target = page if not place else (page.parent / place).resolve()
        if not target.exists() or (anchor and anchor not in anchors(target)):
            astray.append(link)
    assert astray == []


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", (ROOT / "README.md").read_text()))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")}


# Events and reasons


def events() -> set[str]:
    """The names of all events that are logged."""
    found: set[str] = set()
    for path in (ROOT / "src" / "dropcap").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id="log" | "_log")
                        | ast.Attribute(attr="log" | "_log")
                        | ast.Call(func=ast.Attribute(attr="get_logger")),
                        attr="debug" | "info" | "warning" | "error",
                    ),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    found.add(name)
    return found


def test_every_event_is_documented_and_every_documented_one_exists() -> None:
    page = (DOCS / "design.md").read_text().partition("## 6. Log")[2].partition("## 7.")[0]
    (listed,) = re.findall(r"\n(`started`.*?)\n\n", page, re.DOTALL)
    bare = re.sub(r"\([^()]*(?:\([^()]*\)[^()]*)*\)", "", listed)
    assert set(re.findall(r"`(\w+)`", bare)) == events()


def test_every_reason_is_documented_and_every_documented_one_exists() -> None:
    page = (DOCS / "design.md").read_text().partition("`reason` is one of:")[2].partition(".\n")[0]
    contract = set(re.findall(r"`(\w+)`", page))
    own = {Reason.NONE, Reason.NO_FILE, Reason.STOPPED, Reason.FILING}
    assert contract == {reason.value for reason in Reason if reason not in own}


# Messages


def said() -> list[str]:
    """The texts in the code, with … where something is put in, and without the backticks around names."""
    found: list[str] = []
    for path in (ROOT / "src" / "dropcap").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.JoinedStr(values=values):
                    found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in values))
                case ast.Constant(value=str(text)):
                    found.append(text)
    return [text.replace("`", "") for text in found]


def test_every_message_that_is_explained_is_said() -> None:
    page = (DOCS / "troubleshooting.md").read_text().partition("## Messages")[2].partition("\n## ")[0]
    messages = re.findall(r"^\| “(.*?)” \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert len(messages) > 40
    texts = said()
    missing = [
        message for message, _, _ in messages if not any(message.replace("`", "").rstrip("…").strip() in one for one in texts)
    ]
    assert missing == []
