"""The database that the ledger may be in: what must be on this machine to reach it. Nobody is asked."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from dropcap.config.ledger_at import PostgresLedger
from dropcap.config.model import Config
from dropcap.config.secret_file import SecretError
from dropcap.display import shown
from dropcap.preflight.remark import Remark, on_machine

_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "passfile")
#: Files that libpq does not take if others may read them.
_PRIVATE = {"sslkey": "it is refused", "passfile": "it is passed over"}
_LEDGER = on_machine("ledger")


def ledger_files(ledger: PostgresLedger) -> Iterator[tuple[str, Path]]:
    """The files that are named for it, by their keys."""
    if ledger.secret is not None and ledger.secret.file is not None:
        yield "ledger_password_file", Path(ledger.secret.file)
    for key in _FILES:
        if key in ledger.options and ledger.options[key] != "system":
            yield key, Path(ledger.options[key])


def ledger_remarks(config: Config) -> Iterator[Remark]:
    """Whether the library is here, the password can be read, and the files that the URL names."""
    ledger = config.ledger
    if not isinstance(ledger, PostgresLedger):
        return
    if importlib.util.find_spec("psycopg") is None:
        how = "pip install 'dropcap-redcap[postgres]', or with the Debian package apt install python3-psycopg"
        yield Remark("error", _LEDGER, "psycopg is not installed", f"install it: {how}")
    if ledger.secret is not None:
        try:
            ledger.password()
        except SecretError as error:
            by_hand = ledger.secret.credential is not None and "CREDENTIALS_DIRECTORY" not in os.environ
            yield Remark("unsure" if by_hand else "error", _LEDGER, error.message, error.remedy)
        else:
            yield Remark("ok", _LEDGER, f"{ledger.secret} can be read")
    for key, path in ledger_files(ledger):
        if key != "ledger_password_file":
            yield from _file(key, path)


def _file(key: str, path: Path) -> Iterator[Remark]:
    name = shown(str(path))
    if not os.access(path, os.R_OK):
        said = "cannot be read" if path.exists() else "is not there"
        yield Remark("error", _LEDGER, f"{key}: {name} {said}", "correct the path, or let dropcap's user read it")
    elif key in _PRIVATE and _others_may_read(path):
        yield Remark("error", _LEDGER, f"{key}: others may read {name}, so {_PRIVATE[key]}", f"run chmod 0600 {name}")
    else:
        yield Remark("ok", _LEDGER, f"{key}: {name} can be read")


def _others_may_read(path: Path) -> bool:
    """As libpq looks at it: root's key may be for a group."""
    status = path.stat()
    return bool(status.st_mode & (0o037 if status.st_uid == 0 else 0o077))
