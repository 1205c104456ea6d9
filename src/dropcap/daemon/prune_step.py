"""One step of `dropcap prune`, as the command asks for it: of the dropcap that runs, or where none does, in its own process."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dropcap.daemon.engine import Engine
from dropcap.daemon.pruning import Aged, Pruning, What, aged
from dropcap.filing.keep import NoCopy
from dropcap.ledger.act import Deed, Who
from dropcap.ledger.errors import LeaseLost
from dropcap.ledger.store import Ledger
from dropcap.preflight.retention import PRUNED

#: Seconds that a step waits for one that another command has asked for.
_PATIENCE = 20.0


def prune_step(engine: Engine, asked: dict[str, Any], who: Who) -> dict[str, Any]:
    """By the dropcap that runs. `cannot` in the answer says why nothing was done in a folder, `elsewhere` that another host works
    there."""
    ledger, name = engine.ledger, asked.get("folder")
    if name is None:
        return of_all(ledger, asked, who)
    one = engine.channels.get(name)
    if one is None:
        if name in engine.config.folders or name in engine.allotment.at_work_elsewhere():
            return {"elsewhere": _host(engine, name)}
        return of_folder(Pruning(ledger, name, None, None, None), asked, who)
    tree = one.intake.lent
    if tree is None or one.intake.confirm() is None:
        return {"cannot": one.intake.away or "it is not known whether the folder is ours just now; try again in a moment"}
    if not one.pruning.acquire(timeout=_PATIENCE):
        return {"cannot": "another `dropcap prune` is at work there, or its share does not answer"}
    try:
        return of_folder(Pruning(ledger, name, one.folder, tree, one.keep), asked, who)
    finally:
        one.pruning.release()


def of_all(ledger: Ledger, asked: dict[str, Any], who: Who) -> dict[str, Any]:
    """What is asked of no folder: at the beginning, which there are, and how old what must be; before anything is removed, to
    enter who wants that; and at the end, in which folders all was done. Raises DatabaseError."""
    match asked["step"]:
        case "begin":
            now, forced = float(asked["now"]), bool(asked["forced"])
            ages = {what: aged(ledger, float(kept_for), now, trusting=forced) for what, kept_for in asked["keep"].items()}
            return {"folders": ledger.query.folders(), "ages": {what: asdict(age) for what, age in ages.items()}}
        case "act":
            ledger.act(who, Deed.PRUNE, **asked["told"])
        case "end":
            for folder in asked["folders"]:
                ledger.set_meta(f"{PRUNED}{folder}", str(asked["now"]))
    return {}


def of_folder(pruning: Pruning, asked: dict[str, Any], who: Who) -> dict[str, Any]:
    """A step in one folder. Raises DatabaseError."""
    try:
        if asked["step"] == "put_back":
            pruning.put_back()
            return {}
        what, age = What(asked["what"]), Aged(**asked["age"])
        if asked["step"] == "remove":
            return {"gone": pruning.remove(what, age, asked["keys"], who, days=bool(asked["days"]))}
        found = pruning.look(what, age, asked["after"])
        return {"over": [asdict(one) for one in found.over], "after": found.after, "doubtful": found.doubtful}
    except LeaseLost:
        return {"elsewhere": "another host"}
    except NoCopy as error:
        return {"cannot": f"{error.message}; {error.remedy}"}
    except OSError as error:
        return {"cannot": f"it cannot be read or written ({error.strerror or error}); let dropcap's user read and write there"}


def _host(engine: Engine, folder: str) -> str:
    hosts = engine.ledger.query.hosts()
    holder = None if hosts is None else hosts.holder(folder)
    return "" if hosts is None or holder is None else hosts.called(holder)
