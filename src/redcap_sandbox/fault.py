"""Faults: how a sick server, a proxy or a network in between behaves."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from typing import Any

#: Each kind with its parameters and their defaults. Seconds, bytes per second, HTTP statuses.
#: `stored`: whether the call is carried out although its reply is spoilt.
KINDS: dict[str, dict[str, Any]] = {
    "status": {"code": 500, "body": "", "content_type": "text/html; charset=utf-8", "stored": False},
    "empty_200_without_storing": {},
    "stored_then_500": {"body": ""},
    "html_200": {"stored": False},
    "unknown_error_page": {"code": 200, "stored": False},
    "database_down": {"code": 200, "stored": False},
    "crashed": {"code": 200, "stored": False},
    "php_warning": {"stored": True},
    "maintenance": {"code": 503},
    "ban": {"code": 403},
    "token_echo": {"code": 400, "shape": "error"},  # shape: error | page
    "reset_before_body": {},
    "reset_during_body": {"after": 1},
    "reset_after_body": {"stored": True},
    "truncated_head": {"stored": True},
    "truncated_body": {"stored": True},
    "cut_chunk": {"stored": True},
    "chunked": {},
    "gzip": {},
    "drip": {"bytes_per_second": 100},
    "delay": {"seconds": 1.0, "before": "answer"},
    "early_413_and_close": {"linger": 0.0},
    "redirect": {"code": 302, "location": "/"},
    "wrong_content": {},
    "rate_429": {"retry_after": 1},
    "slow_read": {"bytes_per_second": 1024},
}

#: Kinds that strike before the body has been read.
BEFORE_BODY = frozenset({"reset_before_body", "reset_during_body", "early_413_and_close", "slow_read"})

#: Parameters that cannot be 0, and what none can be above.
_AT_LEAST_ONE = frozenset({"bytes_per_second", "code"})
_MOST = 10**9

#: What a fault's `match` may name.
MATCHED = frozenset({"content", "action", "record", "field", "event"})


class Fault:
    """`Fault("status", times=2, match={"content": "file"}, code=503)`: one trouble, for `times` requests (None: until `well()`).

    Only requests whose parameters equal those in `match` meet it, after the first `skip` of them. Parameters and defaults are
    in KINDS. Raises ValueError for an unknown kind, parameter or match.
    """

    def __init__(
        self, kind: str, times: int | None = None, match: Mapping[str, str] | None = None, skip: int = 0, **params: Any
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of fault; use one of {', '.join(sorted(KINDS))}")
        if unknown := set(params) - set(KINDS[kind]):
            allowed = ", ".join(sorted(KINDS[kind])) or "none"
            raise ValueError(f"{kind} has no parameter {sorted(unknown)[0]!r}; it has {allowed}")
        if unknown := set(match or {}) - MATCHED:
            raise ValueError(f"a fault cannot match {sorted(unknown)[0]!r}; use {', '.join(sorted(MATCHED))}")
        for name, number, least in (("times", times, 1), ("skip", skip, 0)):
            if number is not None and (not isinstance(number, int) or number < least):
                raise ValueError(f"{name} is {number!r}; use a number from {least}, or leave it out")
        for name, value in params.items():
            if isinstance(value, int | float) and not (1 if name in _AT_LEAST_ONE else 0) <= value <= _MOST:
                raise ValueError(f"{kind} has {value!r} as {name}; use a number from 1, or from 0 for a time")
        self.kind, self.times, self.skip = kind, times, skip
        self.match = {name: str(value) for name, value in (match or {}).items()}
        self.params: dict[str, Any] = {**KINDS[kind], **params}

    @classmethod
    def read(cls, text: str) -> Fault:
        """A fault as it stands on a command line: `status:code=503,times=2,action=import`, or the JSON of the control page.

        `times`, `skip` and what can be matched stand among the parameters. Raises ValueError.
        """
        if text.startswith("{"):
            return cls.from_json(json.loads(text))
        kind, _, rest = text.partition(":")
        told: dict[str, Any] = {"kind": kind}
        match: dict[str, str] = {}
        for part in rest.split(",") if rest else ():
            name, equals, value = part.partition("=")
            if not equals:
                raise ValueError(f"{part!r} in {text!r} is no NAME=VALUE; write {kind}:times=2,action=import")
            if name in MATCHED:
                match[name] = value
            else:
                told[name] = _scalar(value)
        return cls.from_json({**told, "match": match})

    @classmethod
    def from_json(cls, told: object) -> Fault:
        """A fault as the control page takes it. Raises ValueError."""
        if not isinstance(told, dict) or not isinstance(told.get("kind"), str):
            raise ValueError('a fault is an object with a kind, {"kind": "status", "times": 1, "code": 503}')
        if not isinstance(told.get("match") or {}, dict):
            raise ValueError('match is no object; write {"action": "import"}')
        fault = cls(**told)
        for name, value in fault.params.items():
            default = KINDS[fault.kind][name]
            if isinstance(value, str) != isinstance(default, str) or not isinstance(value, str | int | float):
                raise ValueError(f"{fault.kind} has {value!r} as {name}; use something like {default!r}")
        return fault

    @property
    def before_body(self) -> bool:
        return self.kind in BEFORE_BODY or (self.kind == "delay" and self.params["before"] != "answer")

    def concerns(self, request: Mapping[str, str]) -> bool:
        return all(request.get(name, "") == value for name, value in self.match.items())


def _scalar(text: str) -> Any:
    """A number or yes and no as what they are, everything else as text."""
    if text.lower() in ("yes", "true", "no", "false"):
        return text.lower() in ("yes", "true")
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


class Illness:
    """The faults that are on, in the order in which they came. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._faults: list[tuple[Fault, int]] = []  # each with how many requests it has met
        self._struck = 0

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append((fault, 0))

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    @property
    def faults(self) -> list[Fault]:
        with self._lock:
            return [fault for fault, _ in self._faults]

    def wait(self, strikes: int = 1, timeout: float = 10.0) -> bool:
        """Wait until faults have struck so many times in all; False if they do not within `timeout` seconds."""
        with self._lock:
            return self._lock.wait_for(lambda: self._struck >= strikes, timeout)

    def looks_ahead(self) -> bool:
        """Whether some fault strikes before the body is read."""
        return any(fault.before_body for fault in self.faults)

    def strike(self, request: Mapping[str, str], *, before_body: bool) -> Fault | None:
        """The first fault that concerns this request at this point, counted down."""
        with self._lock:
            for position, (fault, met) in enumerate(self._faults):
                if fault.before_body != before_body or not fault.concerns(request):
                    continue
                self._faults[position] = fault, met + 1
                if met < fault.skip:
                    continue
                if fault.times is not None and met + 1 == fault.skip + fault.times:
                    del self._faults[position]
                self._struck += 1
                self._lock.notify_all()
                return fault
        return None
