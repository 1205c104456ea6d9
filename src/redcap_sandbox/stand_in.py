"""The stand-in's state: requests, faults, settings and rights."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from redcap_sandbox.call import SUCCESSES
from redcap_sandbox.fault import Fault, Illness
from redcap_sandbox.multipart import Limits
from redcap_sandbox.structure import Holding, Rights, RowKey, SandboxProject, Upload


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


#: So many requests are remembered.
REMEMBERED = 100_000
MINUTE = 60.0


class StandIn:
    """One project and its users. `Sandbox` serves it, and says what the arguments mean. Safe for threads."""

    def __init__(
        self,
        project: SandboxProject,
        token: str | None,
        rights: Rights | None,
        limits: Limits | None,
        rate_limit: int,
        storage: str | Path | None,
    ) -> None:
        self.project = project
        self.token = token or secrets.token_hex(16).upper()
        self.tokens: dict[str, Rights] = {self.token: rights or Rights()}
        self.limits = limits or Limits()
        self.rate_limit = rate_limit
        self.ban_status = 403
        self.maintenance = 0
        self.success = SUCCESSES[0]
        self.illness = Illness()
        self._keep = storage is not None
        self._storage = Path(storage) if storage is not None else None
        self._requests: deque[Request] = deque(maxlen=REMEMBERED)
        self._seen = threading.Condition()
        self._times: dict[str, deque[float]] = {}
        self._banned: set[str] = set()

    # The content of files

    def make_room(self) -> None:
        """Make the directory for the files' content. Raises OSError."""
        if self._storage is None:
            self._storage = Path(tempfile.mkdtemp(prefix="redcap-sandbox-"))
        self._storage.mkdir(parents=True, exist_ok=True)

    def clear_away(self) -> None:
        """Remove that directory, unless it was named by whoever made this."""
        if not self._keep and self._storage is not None:
            shutil.rmtree(self._storage, ignore_errors=True)

    def new_upload(self) -> Upload:
        return Upload(self._storage, keep_on_disk=self._keep)

    # What it holds

    def holdings(self) -> list[Holding]:
        """Every file, in the order of record, event, field and instance."""
        return list(self.project.store.holdings())

    def content(self, record: str, field: str, event: str | None = None, instance: int | None = None) -> bytes:
        """A file's bytes; `event` defaults to the first, `instance` to 1 where the field repeats.

        Raises KeyError if there is none.
        """
        event = event or self.project.events[0].unique_name
        repeats = self.project.repeats(event, self.project.fields[field].form)
        key = RowKey(event) if repeats is None else RowKey(event, repeats, instance or 1)
        with self.project.store.lock:
            stored = self.project.store.file(record, key, field)
            if stored is None:
                raise KeyError(f"no file in {field} of record {record}, event {event}, instance {instance}")
            return stored.read()

    # Who comes, and what came

    def grant(self, token: str, rights: Rights) -> None:
        """Let a token in, or change what it may do."""
        self.tokens[token] = rights

    def revoke(self, token: str) -> None:
        self.tokens.pop(token, None)

    @property
    def requests(self) -> list[Request]:
        """The API requests so far (the last 100,000), oldest first."""
        with self._seen:
            return list(self._requests)

    def forget(self) -> None:
        """Forget the requests so far: another test begins."""
        with self._seen:
            self._requests.clear()

    def remember(self, request: Request) -> None:
        with self._seen:
            self._requests.append(request)
            self._seen.notify_all()

    def wait_for(self, condition: Callable[[Self], object], timeout: float = 10.0) -> bool:
        """Wait until `condition` holds, looking after every request; False if it does not within `timeout` seconds."""
        with self._seen:
            return self._seen.wait_for(lambda: bool(condition(self)), timeout)

    def admits(self, address: str) -> bool:
        """Count a request of this address; False if it is banned, or is by this request."""
        with self._seen:
            if address in self._banned:
                return False
            if not self.rate_limit:
                return True
            now, times = time.monotonic(), self._times.setdefault(address, deque())
            times.append(now)
            while times[0] <= now - MINUTE:
                times.popleft()
            if len(times) > self.rate_limit:
                self._banned.add(address)
                return False
            return True

    @property
    def banned(self) -> frozenset[str]:
        """The addresses that are banned."""
        with self._seen:
            return frozenset(self._banned)

    def unban(self) -> None:
        """Let everyone in again and begin to count anew."""
        with self._seen:
            self._banned.clear()
            self._times.clear()

    # How it is

    def ill(self, fault: Fault) -> None:
        """Add a fault; several strike in the order in which they came."""
        self.illness.add(fault)

    def well(self) -> None:
        """End all faults."""
        self.illness.clear()


#: What REDCap is known to refuse unless an administrator changes it.
_BLOCKED = """
ade adp apk appx appxbundle bat cab chm cmd com cpl diagcab diagcfg diagpack dll dmg ex exe hta img ins iso isp jar jnlp js jse
lib lnk mde msc msi msix msixbundle msp mst nsh php pif ps1 scr sct shb sys vb vbe vbs vhd vxd wsc wsf wsh xll
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One switch: of the `project`, of the `server` or among the `limits` of PHP. `values`: those that it can have."""

    of: str
    kind: type
    meaning: str
    values: tuple[Any, ...] = ()


SETTINGS: dict[str, Setting] = {
    "version": Setting("project", str, "what content=version tells"),
    "in_production": Setting("project", bool, "the project is in production"),
    "offline": Setting("project", bool, "the project is offline: every call is refused"),
    "archived": Setting("project", bool, "Analysis/Cleanup: nothing can be written"),
    "deleted": Setting("project", bool, "the project is gone: no token is taken"),
    "autonumber": Setting("project", bool, "what content=project tells of record auto-numbering"),
    "file_values": Setting("project", str, "what a record export shows for a file", ("document", "name", "doc_id")),
    "hidden_fields": Setting("project", str, "what it makes of fields that a token may not see", ("absent", "blank")),
    "ids_as_numbers": Setting("project", bool, "whole numbers in it are JSON numbers: record 007 comes as 7"),
    "flags_as_text": Setting("project", bool, "what project, user and the like tell as 0 and 1 comes as text"),
    "errors": Setting("project", str, "in which format errors come, whatever is asked for", ("asked", "json", "csv", "xml")),
    "strict_arrays": Setting("project", bool, "a list that is sent as one text is refused, as since 2023"),
    "empty_files": Setting("project", str, "what becomes of files without a byte", ("accept", "refuse")),
    "sanitize_names": Setting("project", bool, "other characters in file names than A-Z a-z 0-9 . _ - become _"),
    "blocked_extensions": Setting("project", frozenset, "extensions that are refused; `default` for REDCap's own list"),
    "max_record_name": Setting("project", int, "the longest name of a record"),
    "keeps_versions": Setting("store", bool, "File Version History: what is replaced is kept (/_sandbox/versions)"),
    "upload_max_filesize": Setting("limits", int, "PHP's: a larger file comes without content (bytes, 0: no limit)"),
    "post_max_size": Setting("limits", int, "PHP's: of a larger request nothing is left, the token neither (bytes)"),
    "max_input_vars": Setting("limits", int, "PHP's: so many parameters are read"),
    "emptied_status": Setting("limits", int, "how a request of which nothing is left is answered", (400, 403, 501)),
    "display_errors": Setting("limits", bool, "PHP's: its warning stands before that answer"),
    "rate_limit": Setting("server", int, "requests a minute above which an address is banned for good (0: never)"),
    "ban_status": Setting("server", int, "the status of the page that it then gets", (200, 403, 429)),
    "success": Setting("server", str, "how a stored file is answered: without a word, or as documented", SUCCESSES),
    "maintenance": Setting("server", int, "the status of a maintenance page that answers everything (0: none)", (0, 200, 503)),
}


def settings(stand_in: StandIn) -> dict[str, Any]:
    """All settings as they are, in JSON's types."""
    found = {name: getattr(_owner(stand_in, setting.of), name) for name, setting in SETTINGS.items()}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in found.items()}


def change(stand_in: StandIn, wanted: Mapping[str, Any]) -> None:
    """Change settings, all or none; text is read as the setting's kind. Raises ValueError."""
    read = {name: _read(name, value) for name, value in wanted.items()}
    for name, value in read.items():
        if SETTINGS[name].of == "limits":
            stand_in.limits = replace(stand_in.limits, **{name: value})
        else:
            setattr(_owner(stand_in, SETTINGS[name].of), name, value)


def rights(wanted: Mapping[str, Any], base: Rights | None = None) -> Rights:
    """The rights that `wanted` names, over those of `base` (default: all). Raises ValueError."""
    base = base or Rights()
    changed: dict[str, Any] = {}
    for name, value in wanted.items():
        if name not in Rights.__dataclass_fields__:
            known = ", ".join(Rights.__dataclass_fields__)
            raise ValueError(f"{name!r} is no right; use one of {known}")
        if name == "forms":
            changed[name] = {form: str(level) for form, level in _mapping(value).items()}
        elif isinstance(getattr(base, name), bool):
            changed[name] = truth(name, value)
        elif name == "dag" and value in (None, ""):
            changed[name] = None
        elif isinstance(value, str) or (name == "export" and type(value) is int):
            changed[name] = str(value)
        else:
            raise ValueError(f"{name} is {json.dumps(value)}; use a text")
    made = replace(base, **changed)
    if made.export not in ("0", "1", "2", "3"):
        raise ValueError(f"export is {made.export!r}; use 0 (none), 1 (all), 2 (de-identified) or 3 (without identifiers)")
    return made


def _mapping(value: Any) -> dict[str, Any]:
    """`consent:2 imaging:0` as text, or a JSON object."""
    if isinstance(value, str):
        value = dict(part.partition(":")[::2] for part in value.split())
    if not isinstance(value, dict) or not set(map(str, value.values())) <= {"0", "1", "2"}:
        raise ValueError("forms is no mapping of forms to 0 (none), 1 (edit) or 2 (read); write consent:2 imaging:0")
    return value


def truth(name: str, value: Any) -> bool:
    """A yes or no. Raises ValueError."""
    text = str(value).lower()
    if text in ("true", "yes", "on", "1"):
        return True
    if text in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"{name} is {value!r}; use yes or no")


def _owner(stand_in: StandIn, of: str) -> Any:
    return {"project": stand_in.project, "store": stand_in.project.store, "limits": stand_in.limits}.get(of, stand_in)


def _read(name: str, value: Any) -> Any:
    setting = SETTINGS.get(name)
    if setting is None:
        raise ValueError(f"{name!r} is no setting; use one of {', '.join(SETTINGS)}")
    if setting.kind is bool:
        return truth(name, value)
    if setting.kind is frozenset:
        return _extensions(value)
    if setting.kind is int:
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,18}", str(value), re.ASCII):
            raise ValueError(f"{name} is {value!r}; use a whole number")
        value = int(value)
    elif not isinstance(value, str):
        raise ValueError(f"{name} is {json.dumps(value)}; use a text")
    if setting.values and value not in setting.values:
        raise ValueError(f"{name} is {value!r}; use one of {', '.join(map(str, setting.values))}")
    return value if setting.kind is int else str(value)


def _extensions(value: Any) -> frozenset[str]:
    if value == "default":
        return frozenset(_BLOCKED.split())
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list | tuple | set | frozenset):
        raise ValueError(f"blocked_extensions is {value!r}; use a list of extensions, or default")
    return frozenset(str(word).lower().lstrip(".") for word in words)
