"""Reasons as people read them: in a list, in a notification. No name stands in them."""

from __future__ import annotations

from dropcap.reasons import Reason

_TITLES = {
    Reason.NO_RULE: "The name matches no rule",
    Reason.BAD_VALUE: "A part of the name leads nowhere",
    Reason.EMPTY_FILE: "The file is empty",
    Reason.INCOMPLETE: "The file is cut off",
    Reason.TOO_LARGE: "The file is too large",
    Reason.BLOCKED_EXTENSION: "REDCap takes no files of this kind",
    Reason.NO_RECORD: "REDCap has no such record",
    Reason.SEVERAL_RECORDS: "Several records match",
    Reason.RECORD_DIFFERS: "The record is written differently",
    Reason.MISMATCH: "Name and record do not agree",
    Reason.TOO_MANY_MISMATCHES: "Names and a record did not agree too often",
    Reason.NEWER_WENT: "A newer file has gone there",
    Reason.NO_FIELD: "The project has no such field",
    Reason.NOT_A_FILE_FIELD: "The field takes no files",
    Reason.SIGNATURE_FIELD: "The field is for signatures",
    Reason.NO_EVENT: "The project has no such event",
    Reason.NOT_DESIGNATED: "The form is not part of the event",
    Reason.NOT_REPEATING: "Nothing repeats there",
    Reason.NEEDS_INSTANCE: "The form repeats, and no instance is named",
    Reason.FILE_EXISTS: "The field holds a file already",
    Reason.REFUSED: "REDCap refused it",
    Reason.TOKEN: "REDCap does not take the token",
    Reason.RIGHTS: "The token lacks a right",
    Reason.PROJECT_MISMATCH: "The token is of another project",
    Reason.PROJECT_OFFLINE: "The project is offline",
    Reason.NOT_THE_API: "Something else than REDCap answers",
    Reason.UNREACHABLE: "REDCap does not answer",
    Reason.SERVER_ERROR: "REDCap has an error of its own",
    Reason.MAINTENANCE: "REDCap is down for maintenance",
    Reason.BANNED: "REDCap has banned this machine",
    Reason.RATE_LIMITED: "REDCap asks for fewer requests",
    Reason.CERTIFICATE: "The certificates do not agree",
    Reason.PROXY: "The proxy refuses",
    Reason.NOT_CONFIRMED: "REDCap did not give back the same bytes",
    Reason.UNREADABLE: "The file cannot be read",
    Reason.CHANGED_WHILE_SENT: "The file changed while it was sent",
    Reason.CAME_BACK_SHORT: "What REDCap holds came back cut off",
    Reason.VANISHED: "The file was taken away",
    Reason.NO_SPACE: "There is no room",
    Reason.NO_COPY: "No copy can be kept of what REDCap holds",
    Reason.AWAY: "The folder is away",
    Reason.BY_HAND: "Paused by hand",
    Reason.CREATE_LIMIT: "The day's new records are used up",
    Reason.FILING: "The folder takes no file for now",
}


def title_of(reason: str | None) -> str:
    """A short sentence, without its full stop; for a reason of another version, its word."""
    known = Reason.of(reason, Reason.NONE)
    return _TITLES.get(known) or (reason or "No reason is known").replace("_", " ")
