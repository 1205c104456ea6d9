"""What people had dropcap do, in words."""

from __future__ import annotations

from dropcap.display import shown
from dropcap.ledger.act import Act, Deed, Means


def who_of(act: Act) -> str:
    """Who did it, as far as the system tells."""
    if act.way == Means.ITSELF:
        return "dropcap"
    if act.uid is None:
        return f"{shown(act.name)} (on the page)" if act.way == Means.PAGE else "not known (a signal)"
    return _user(act) + (", on the page" if act.way == Means.PAGE else "")


def _user(act: Act) -> str:
    if act.login is not None and act.login != act.uid:
        return f"{shown(act.name) or act.login}, as uid {act.uid}"
    return f"{shown(act.name)} (uid {act.uid})" if act.name else f"uid {act.uid}"


def what_of(act: Act) -> str:
    """What it is about, in a line; of several hosts, on which it was done."""
    on = f"on {shown(str(act.told['host']))}" if "host" in act.told else ""
    return ", ".join(filter(None, [_what(act), on]))


def _what(act: Act) -> str:
    told = act.told
    match act.what:
        case Deed.PAUSE | Deed.RESUME:
            return shown(f"{told.get('scope')} {told.get('name')}" + (", let go of" if told.get("release") else ""))
        case Deed.RETRY:
            jobs = [str(job) for job in told.get("jobs", [])]
            more = "" if len(jobs) <= 10 else f" and {told.get('number', len(jobs)) - 10:,} more"
            return f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(jobs[:10])}{more}"
        case Deed.ADOPT:
            return shown(f"folder {told.get('folder')}, {told.get('path')}")
        case Deed.RENAME:
            return shown(f"folder {told.get('from')} is {told.get('to')} now")
        case Deed.STARTED | Deed.RELOAD:
            return shown(f"dropcap {told.get('dropcap')}, configuration {str(told.get('configuration'))[:16]}…")
        case Deed.CREATED | Deed.MIGRATED:
            versions = f"version {told.get('from', 0)} to {told.get('to')}"
            return f"{versions}, {told.get('job', 0):,} jobs with {told.get('history', 0):,} entries"
        case Deed.EXPORTED | Deed.IMPORTED:
            rows = told.get("rows", {})
            return f"{rows.get('job', 0):,} jobs with {rows.get('history', 0):,} entries"
        case Deed.PRUNE:
            keeps = [f"{what} older than {seconds / 86400:g}d" for what, seconds in told.get("keep", {}).items()]
            forced = ["the clock was trusted"] if told.get("forced") else []
            return shown(", ".join([f"folders: {told.get('folders')}", *keeps, *forced]))
        case Deed.PRUNED:
            return f"{told.get('jobs'):,} jobs with {told.get('entries'):,} entries"
        case Deed.RESTORED:
            how = "a copy was put in its place" if told.get("copy") else "entries are missing"
            return shown(": ".join(filter(None, [how, ", ".join(told.get("lost", []))])))
        case _:
            return ""
