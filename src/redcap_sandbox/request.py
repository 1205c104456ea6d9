"""What the sandbox remembers of an API request. The token is not among it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Request:
    """One API request as the server saw it. `status` is 0 where no reply went out whole; `fault` is the kind that it met."""

    time: float  # seconds since the epoch, when it came
    seconds: float  # until its reply began
    content: str
    action: str
    record: str
    field: str
    event: str
    instance: str
    status: int
    size: int  # bytes of the body that were read
    fault: str = ""
    filename: str = ""
