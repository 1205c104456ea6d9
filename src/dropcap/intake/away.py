"""Why a drop folder cannot be used now, in words that say what to do."""

from __future__ import annotations

import errno

from dropcap.display import shown
from dropcap.files.read_only import REMEDY
from dropcap.intake.owner import Away
from dropcap.intake.walk import OWN, top
from dropcap.ledger.errors import TOO_MANY_OPEN, DatabaseError, NoDescriptor, Unavailable


def why_away(path: str, error: Exception) -> str:
    """`path` is the folder as it is shown, `error` what its intake met."""
    if isinstance(error, Away):
        return f"{path} is away: {error}"
    if isinstance(error, NoDescriptor) or (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
        return f"{path} cannot be used ({TOO_MANY_OPEN})"
    if isinstance(error, Unavailable):
        return f"nothing is taken from {path}: the ledger does not answer; dropcap goes on by itself"
    if isinstance(error, DatabaseError):
        return f"nothing can be taken from {path}: the ledger cannot be used ({error}); mend that; dropcap tries again by itself"
    if not isinstance(error, OSError):
        said = f"{type(error).__name__}: {error}"
        return f"{path} met an error inside dropcap ({said}), which tries again; report it with the log"
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        if isinstance(error.filename, str) and top(error.filename) in OWN:
            return f"{shown(error.filename)} in {path} is not a directory: rename it, dropcap needs that name"
        return f"{path} is a link, or not a directory: name the directory itself as its `path`"
    if error.errno == errno.EROFS:
        return f"{path} cannot be written (it is read-only): {REMEDY}"
    return f"{path} cannot be used ({error.strerror or error}): check that it is mounted, and that dropcap may write in it"
