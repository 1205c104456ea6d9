"""The command: `python -m redcap_sandbox`, and `dropcap sandbox`. Serves until it is told to stop."""

from __future__ import annotations

import argparse
import re
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redcap_sandbox.fault import KINDS, MATCHED, Fault
from redcap_sandbox.projects import classic_project, demo_project, from_dictionary, from_xml, load_records
from redcap_sandbox.server import Sandbox
from redcap_sandbox.stand_in import SETTINGS, change, rights
from redcap_sandbox.structure import Rights, SandboxProject

_ABOUT = """Serve a REDCap stand-in on 127.0.0.1, with made-up data, until Ctrl-C. The first two lines name the URL and the token.
The pages beneath /_sandbox/ look inside and make it ill and well, from any language."""
_FAULT = "start with this fault, as status:code=503,times=2,action=import; may be repeated"


def main(words: Sequence[str] | None = None, name: str = "python -m redcap_sandbox") -> int:
    """Serve until SIGINT or SIGTERM; the exit code. Raises SystemExit (2) for words that make no sense."""
    parser = _parser(name)
    told = parser.parse_args(words)
    if told.list:
        print(_list())
        return 0
    try:
        box = _sandbox(told)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    try:
        box.start()
    except OSError as error:
        parser.error(f"port {told.port} is not available ({error.strerror or error}); choose another --port")
    try:
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):  # before anybody can know that it serves
            signal.signal(number, lambda *_: ended.set())
        print(f"url: {box.url}\ntoken: {box.token}", flush=True)
        ended.wait()
    finally:
        box.stop()
    return 0


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        name, description=_ABOUT, epilog=f"example: {name} --port 8080 --ill maintenance", allow_abbrev=False
    )
    add = parser.add_argument
    add("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    add("--classic", action="store_true", help="serve the made-up project without events")
    add("--project-xml", type=Path, metavar="XML", help="a REDCap project XML to serve, with its records")
    add("--dictionary", type=Path, metavar="CSV", help="a data dictionary to serve")
    add("--event", action="append", default=[], metavar="E", help="a unique event name for --dictionary; may be repeated")
    add("--repeating", action="append", default=[], metavar="[E:]FORM", help="a form of --dictionary that repeats (at an event)")
    add("--records", type=Path, metavar="CSV", help="records (a flat, raw export) to put into the project")
    add("--token", help="the token to accept (default: a new one); other users of this machine can see it")
    add("--token-file", type=Path, metavar="FILE", help="a file that holds the token to accept")
    add("--right", action="append", default=[], metavar="NAME=VALUE", help="what the token may do, as api_export=no")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="how this REDCap behaves, as file_values=name")
    add("--rate-limit", type=int, default=0, metavar="N", help="ban after so many requests a minute (0: never)")
    add("--store", type=Path, metavar="DIR", help="keep what is uploaded in this folder")
    add("--ill", action="append", default=[], metavar="FAULT", help=_FAULT)
    add("--list", action="store_true", help="tell all faults, settings and rights, and end")
    return parser


def _sandbox(told: argparse.Namespace) -> Sandbox:
    """The sandbox that was asked for. Raises ValueError and OSError."""
    if sum((told.dictionary is not None, told.project_xml is not None, told.classic)) > 1:
        raise ValueError("--dictionary, --project-xml and --classic exclude each other; give one of them")
    if not 0 <= told.port <= 65535 or told.rate_limit < 0:
        raise ValueError("--port is 0 to 65535, and --rate-limit 0 or more")
    project = _project(told)
    if told.records is not None:
        load_records(project, told.records)
    faults = [Fault.read(text) for text in told.ill]
    may = rights(_pairs(told.right, "--right"), Rights())
    token = _token(told)
    box = Sandbox(project, token, told.port, told.rate_limit, told.store, rights=may)
    change(box, _pairs(told.set, "--set"))
    for fault in faults:
        box.ill(fault)
    if told.store is not None:
        told.store.mkdir(parents=True, exist_ok=True)
    return box


def _token(told: argparse.Namespace) -> str | None:
    if told.token is not None and told.token_file is not None:
        raise ValueError("--token and --token-file exclude each other; give one of them")
    token: str | None = told.token
    if told.token_file is not None:
        token = told.token_file.read_text(encoding="utf-8-sig", errors="replace").strip()
    if token is not None and not re.fullmatch(r"[0-9A-Za-z]{32}", token):
        raise ValueError("the token is not 32 letters and digits; leave it out to have one made up")
    return token


def _project(told: argparse.Namespace) -> SandboxProject:
    if (told.event or told.repeating) and told.dictionary is None:
        raise ValueError("--event and --repeating go with --dictionary; leave them out, or name a dictionary")
    for event in told.event:
        if not re.fullmatch(r"\w+", event) or told.event.count(event) > 1:
            raise ValueError(f"--event {event!r} is not a unique event name, or stands twice; write it as baseline_arm_1")
    if told.dictionary is not None:
        return _repeating(from_dictionary(told.dictionary, events=told.event), told.repeating)
    if told.project_xml is not None:
        return from_xml(told.project_xml)
    return classic_project() if told.classic else demo_project()


def _repeating(project: SandboxProject, told: Sequence[str]) -> SandboxProject:
    for text in told:
        event, _, form = text.rpartition(":")
        if form not in project.forms or (event and event not in project.event_names):
            raise ValueError(f"--repeating {text!r} names no form of the dictionary, or an event that is not there")
        for at in (event,) if event else project.event_names:
            project.repeating[at] = (*project.repeating.get(at, ()), form)
    return project


def _pairs(texts: Sequence[str], option: str) -> dict[str, Any]:
    pairs = [text.partition("=") for text in texts]
    for text, (_, equals, _) in zip(texts, pairs, strict=True):
        if not equals:
            raise ValueError(f"{option} {text!r} is no NAME=VALUE; --list tells the names")
    return {name: value for name, _, value in pairs}


def _list() -> str:
    lines = [f"faults (--ill KIND:NAME=VALUE,…; each also times, skip, {', '.join(sorted(MATCHED))}):"]
    lines += [
        f"  {kind:26}{' '.join(f'{name}={_shown(value)}' for name, value in params.items())}" for kind, params in KINDS.items()
    ]
    lines += ["", "settings (--set NAME=VALUE):"]
    for name, setting in SETTINGS.items():
        values = f" ({' | '.join(map(str, setting.values))})" if setting.values else " (yes | no)" if setting.kind is bool else ""
        lines.append(f"  {name:21}{setting.meaning}{values}")
    may = " ".join(f"{name}={_shown(getattr(Rights(), name))}" for name in Rights.__dataclass_fields__)
    return "\n".join([*lines, "", "rights (--right NAME=VALUE):", f"  {may}"])


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: ""}[value]
    return '""' if value in ("", {}) else str(value)
