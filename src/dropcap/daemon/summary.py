"""One line for `systemctl status`."""

from __future__ import annotations

from collections.abc import Sequence

from dropcap.daemon.engine import Engine
from dropcap.ledger.errors import DatabaseError
from dropcap.ledger.job import State


def summary(engine: Engine, not_taken_up: Sequence[str] = ()) -> str:
    """What is under way, and every trouble; `not_taken_up` is what the configuration holds that is not in force."""
    try:
        counts = engine.ledger.query.counts()
    except DatabaseError as error:
        return f"the ledger cannot be read ({error})"

    def total(*states: State) -> int:
        return sum(of.get(state.value, 0) for of in counts.values() for state in states)

    waiting = total(State.WAITING, State.SENDING, State.UNKNOWN, State.STORED, State.REFUSED)
    parts = [
        f"{len(engine.channels)} folders",
        f"{waiting} waiting",
        f"{total(State.HELD)} held",
        f"{total(State.FAILED)} failed",
    ]
    paused = [f"{pause.scope} {pause.name} paused ({pause.reason})" for pause in engine.pauses()]
    away = [f"folder {name} away" for name, one in engine.channels.items() if one.intake.away]
    stuck = [f"ledger cannot be written ({why})"] if (why := engine.ledger.trouble.unwritable) else []
    unanswered = [f"project {name}: {why}" for name, why in sorted(engine.inspector.unanswered().items())]
    more = f" (and {len(not_taken_up) - 1} more)" if len(not_taken_up) > 1 else ""
    mistakes = [f"configuration not wholly in force: {not_taken_up[0]}{more}"] if not_taken_up else []
    return ", ".join(stuck + parts + paused + away + unanswered + mistakes)
