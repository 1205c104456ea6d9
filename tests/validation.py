"""`make validation`: run the tests that show what is promised, by name, and write the table with their results."""

from __future__ import annotations

import datetime
import fnmatch
import hashlib
import platform
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
_PASSED, _SKIPPED, _FAILED = "passed", "skipped", "FAILED"


@dataclass(frozen=True)
class Requirement:
    """One thing that is promised; `promise` is its number in the contract. `tests` are whole names by now."""

    id: str
    text: str
    tests: tuple[str, ...]
    promise: int | None = None


def requirements() -> list[Requirement]:
    """What validation.toml says, each `*` as the tests that it stands for. Raises ValueError if there is no such test."""
    told = tomllib.loads((ROOT / "tests" / "validation.toml").read_text())["requirement"]
    return [Requirement(one["id"], one["text"], tuple(_named(one["tests"])), one.get("promise")) for one in told]


def _named(patterns: Iterable[str]) -> Iterable[str]:
    for pattern in patterns:
        file, _, wanted = pattern.partition("::")
        path = ROOT / file
        names = re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE) if path.is_file() else []
        found = fnmatch.filter(names, wanted)
        if not found:
            raise ValueError(f"there is no test {pattern}")
        yield from (f"{file}::{name}" for name in found)


def run(tests: list[str], words: list[str]) -> dict[str, tuple[str, str]]:
    """Run them; the worst result of each, and why it was skipped or failed."""
    with TemporaryDirectory() as directory:
        report = Path(directory) / "results.xml"
        subprocess.run([sys.executable, "-m", "pytest", f"--junitxml={report}", *words, *tests], cwd=ROOT)
        return results(report.read_text(), tests) if report.is_file() else {}


def results(xml: str, tests: Iterable[str]) -> dict[str, tuple[str, str]]:
    """What a JUnit report says of each test: the worst of its cases. One that it does not have was not run."""
    wanted = {(test.partition("::")[0].removesuffix(".py").replace("/", "."), test.partition("::")[2]): test for test in tests}
    found: dict[str, tuple[str, str]] = {}
    for case in ET.fromstring(xml).iter("testcase"):
        test = wanted.get((case.get("classname", ""), case.get("name", "").partition("[")[0]))
        if test is None:
            continue
        bad = next((one for one in case if one.tag in ("failure", "error")), None)
        skipped = next((one for one in case if one.tag == "skipped"), None)
        if bad is not None:
            found[test] = (_FAILED, (bad.get("message") or "").splitlines()[0][:200] if bad.get("message") else "")
        elif skipped is not None and found.get(test, ("",))[0] != _FAILED:
            found[test] = (_SKIPPED, skipped.get("message") or "")
        else:
            found.setdefault(test, (_PASSED, ""))
    return found


def table(wanted: list[Requirement], found: dict[str, tuple[str, str]]) -> list[str]:
    """The table in Markdown."""
    lines = ["| | what is promised | shown by | result |", "| --- | --- | --- | --- |"]
    for one in wanted:
        of = [found.get(test, (_FAILED, "it was not run")) for test in one.tests]
        words = [result for result, _ in of]
        sum_ = _FAILED if _FAILED in words else _PASSED if _PASSED in words else _SKIPPED
        told = "<br>".join(
            f"`{test}`" + ("" if result == _PASSED else f" **{result}**{': ' + _cell(why) if why else ''}")
            for test, (result, why) in zip(one.tests, of, strict=True)
        )
        lines.append(f"| {one.id} | {_cell(one.text)} | {told} | {sum_ if sum_ == _PASSED else f'**{sum_}**'} |")
    return lines


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _source() -> str:
    """What was validated: the SHA-256 of what `sha256sum` would say of all files of the package."""
    files = sorted(path for path in (ROOT / "src").rglob("*.py"))
    said = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}\n" for path in files)
    return hashlib.sha256(said.encode()).hexdigest()


def _commit() -> str:
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def main(words: list[str]) -> int:
    from dropcap import __version__

    file = Path(words[0]) if words and not words[0].startswith("-") else ROOT / "validation.md"
    wanted = requirements()
    tests = list(dict.fromkeys(test for one in wanted for test in one.tests))
    began = datetime.datetime.now().astimezone()
    found = run(tests, [word for word in words if word.startswith("-")])
    failed = [test for test in tests if found.get(test, (_FAILED, ""))[0] == _FAILED]
    skipped = [test for test in tests if found.get(test, ("", ""))[0] == _SKIPPED]
    head = [
        f"# Validation of dropcap {__version__}",
        "",
        f"{len(tests)} tests on {began:%Y-%m-%d %H:%M %Z}: {len(tests) - len(failed) - len(skipped)} passed,"
        f" {len(failed)} failed, {len(skipped)} skipped (their reasons stand below).",
        "",
        f"* Commit {_commit()}; SHA-256 of the source, as of `sha256sum $(find src -name '*.py' | LC_ALL=C sort)`: `{_source()}`",
        f"* Python {platform.python_version()}, {platform.system()} {platform.release()} ({platform.machine()})",
        "",
    ]
    file.write_text("\n".join([*head, *table(wanted, found), ""]))
    print(f"{file}: {len(tests)} tests, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
