"""Takes messages to those whom they are for, by a process each (`notify.send`)."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import threading
from dataclasses import dataclass

from dropcap import child
from dropcap.config.secret_file import SecretError
from dropcap.config.telling import Recipient

#: Seconds that one message may take.
PATIENCE = 60.0
#: What to do where the library that sends is missing.
INSTALL = "install it: pip install 'dropcap-redcap[notify]'"


def can_carry() -> bool:
    """Whether the library that sends is there."""
    return importlib.util.find_spec("apprise") is not None


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of a message: empty if it has gone, else what happened and what to do."""

    message: str = ""
    remedy: str = ""

    @property
    def well(self) -> bool:
        return not self.message


class Carrier:
    """One message at a time; `stop` breaks off the one that is under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def carry(self, to: Recipient, title: str, body: str, good: bool) -> Carried:
        """Send it; what came of it. Takes `PATIENCE` at most."""
        if not can_carry():
            return Carried("notifications need apprise", INSTALL)
        try:
            urls = [line.strip() for line in to.url.read().reveal().splitlines() if line.strip() and not line.startswith("#")]
        except SecretError as error:
            return Carried(error.message, error.remedy)
        asked = json.dumps({"urls": urls, "title": title, "body": body, "good": good}).encode()
        try:
            with self._lock:
                if self._stopped:
                    return Carried("dropcap ends", "nothing: it is sent after the next start")
                self._process = process = child.start("dropcap.notify.send", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            return Carried(
                f"no process can be started ({error.strerror})", "see that there is memory; dropcap tries again by itself"
            )
        try:
            answer, said = process.communicate(asked, PATIENCE)
            told = json.loads(answer)
        except subprocess.TimeoutExpired:
            return Carried(
                f"there was no answer within {PATIENCE:g} s",
                "check the address, if it stays so; a message of a running dropcap is tried again by itself",
            )
        except ValueError:
            return Carried(
                f"the process that sends it has ended {child.why(process, said)}",
                "look for a lack of memory or an installation that is not whole; a running dropcap tries again by itself",
            )
        finally:
            self._end(process)
        return (
            Carried() if told.get("sent") else Carried(str(told.get("message") or "it was refused"), str(told.get("remedy", "")))
        )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        child.close(process)
        with self._lock:
            self._process = None

    def stop(self) -> None:
        """Break off what is under way; nothing more is sent."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                with contextlib.suppress(OSError):
                    self._process.kill()
