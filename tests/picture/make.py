"""Pictures of a dropcap for tests."""

from __future__ import annotations

from typing import Any

from dropcap.ledger.job import Pause
from dropcap.picture.facts import FolderNow, Picture, ProjectNow, ServerNow
from dropcap.reasons import Reason, Scope

NOW = 1_800_000_000.0


def folder(name: str = "consents", **more: Any) -> FolderNow:
    return FolderNow(**{"name": name, "project": "trial", "path": f"/srv/{name}", "counts": {}, **more})


def pause(scope: Scope = Scope.SERVER, name: str = "redcap:443", reason: str = Reason.UNREACHABLE, until: bool = False) -> Pause:
    return Pause(scope, name, reason, "no answer to SECRET-RECORD.pdf", "wait", NOW, until)


def picture(at: float = NOW, **more: Any) -> Picture:
    everything = {
        "version": "1",
        "started": NOW - 100,
        "alive": True,
        "folders": (folder(),),
        "projects": (ProjectNow("trial", "redcap:443", "redcap:443"),),
        "servers": (ServerNow("redcap:443"),),
    }
    return Picture(at=at, **{**everything, **more})
