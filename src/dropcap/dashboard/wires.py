"""What the page has of the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dropcap.config.model import Config
from dropcap.ledger.act import Who
from dropcap.ledger.reports import Figures
from dropcap.picture.facts import Picture


@dataclass(frozen=True, slots=True)
class Wires:
    """All may be called from any thread. `picture` takes how old it may be, in seconds; `answer` what is asked, as by the control
    socket, and who asks; `alive` says whether all loops go round. Reading raises DatabaseError."""

    config: Callable[[], Config]
    picture: Callable[[float], Picture]
    metrics: Callable[[], bytes]
    answer: Callable[[dict[str, Any], Who], dict[str, Any]]
    alive: Callable[[], bool]
    figures: Figures
