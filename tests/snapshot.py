"""Snapshots of a dropcap for tests."""

from __future__ import annotations

from typing import Any

from dropcap.intake.strays import LeftFiles
from dropcap.ledger.job import Pause
from dropcap.reasons import Reason, Scope
from dropcap.snapshot import FolderNow, ProjectNow, ServerNow, Snapshot

NOW = 1_800_000_000.0


def folder(name: str = "consents", strays: int = 0, **more: Any) -> FolderNow:
    return FolderNow(**{"name": name, "project": "trial", "path": f"/srv/{name}", "strays": LeftFiles(strays), **more})


def pause(scope: Scope = Scope.SERVER, name: str = "redcap:443", reason: str = Reason.UNREACHABLE, until: bool = False) -> Pause:
    return Pause(scope, name, reason, "no answer to SECRET-RECORD.pdf", "wait", NOW, until)


def snapshot(at: float = NOW, **more: Any) -> Snapshot:
    everything = {
        "version": "1",
        "started": NOW - 100,
        "alive": True,
        "folders": (folder(),),
        "projects": (ProjectNow("trial", "redcap:443", "redcap:443"),),
        "servers": (ServerNow("redcap:443"),),
    }
    return Snapshot(at=at, **{**everything, **more})
