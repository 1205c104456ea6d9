"""What a reason means, for whoever looks after dropcap: of many files at once, where each has a message of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dropcap.reasons import Reason


class NextAct(Enum):
    """What brings such files on, once what is wrong is mended."""

    LOOK = "look"  # each for itself: its name, say
    RETRY = "retry"  # trying them again
    CHECK = "check"  # `dropcap check` says what is wrong
    RESUME = "resume"  # ending a pause


@dataclass(frozen=True, slots=True)
class Said:
    """`what` is wrong, after the words "13 files"; `mend`: what to do before `act`."""

    what: str
    mend: str
    act: NextAct


_NAME = "rename them, or add a rule"
_WORDS: dict[Reason, Said] = {
    Reason.NO_RULE: Said("the name matches no rule", _NAME, NextAct.LOOK),
    Reason.BAD_VALUE: Said("the name says what cannot be, or what no table has", _NAME, NextAct.LOOK),
    Reason.EMPTY_FILE: Said("the file is empty", "have it dropped again, with its content", NextAct.LOOK),
    Reason.INCOMPLETE: Said("it looks cut off, and has for an hour", "have it saved or copied again", NextAct.LOOK),
    Reason.TOO_LARGE: Said("larger than the server takes", "make it smaller, or have the limit raised", NextAct.RETRY),
    Reason.BLOCKED_EXTENSION: Said("REDCap takes no such files", "convert or pack them", NextAct.LOOK),
    Reason.NO_RECORD: Said("REDCap has no such record", "create it", NextAct.RETRY),
    Reason.SEVERAL_RECORDS: Said("record_where fits several records", "correct the records", NextAct.RETRY),
    Reason.RECORD_DIFFERS: Said("the record is written otherwise in REDCap", "rename them", NextAct.LOOK),
    Reason.MISMATCH: Said("the record disagrees with the name", "find out whose files they are", NextAct.LOOK),
    Reason.TOO_MANY_MISMATCHES: Said("too many names disagreed with the record", "compare them with it", NextAct.RETRY),
    Reason.NEWER_WENT: Said(
        "a file that was dropped later has gone to the same place", "see which is the right one", NextAct.LOOK
    ),
    Reason.NO_FIELD: Said("the rule's field is not in the project", "correct the rule or the project", NextAct.CHECK),
    Reason.NOT_A_FILE_FIELD: Said("the rule's field takes no files", "correct the rule or the project", NextAct.CHECK),
    Reason.SIGNATURE_FIELD: Said("the rule's field takes signatures alone", "correct the rule or the project", NextAct.CHECK),
    Reason.NO_EVENT: Said("the event is not in the project", "correct the rule or the project", NextAct.CHECK),
    Reason.NOT_DESIGNATED: Said("the form is not designated for the event", "correct the rule or the project", NextAct.CHECK),
    Reason.NOT_REPEATING: Said("the rule names an instance where nothing repeats", "correct the rule", NextAct.CHECK),
    Reason.NEEDS_INSTANCE: Said("the rule names no instance where the form repeats", "correct the rule", NextAct.CHECK),
    Reason.FILE_EXISTS: Said(
        "the field holds another file", "remove it in REDCap, or choose `existing_file: preserve`", NextAct.RETRY
    ),
    Reason.REFUSED: Said("REDCap refuses them", "do what its message says", NextAct.LOOK),
    Reason.TOKEN: Said("REDCap does not accept the token", "put a new token into its file", NextAct.CHECK),
    Reason.RIGHTS: Said("the token's user lacks a right", "have it given", NextAct.CHECK),
    Reason.PROJECT_MISMATCH: Said("the token belongs to another project", "put the right token in place", NextAct.CHECK),
    Reason.PROJECT_OFFLINE: Said("the project is offline", "ask its owner", NextAct.RESUME),
    Reason.NOT_THE_API: Said("something other than REDCap's API answers", "correct `url`", NextAct.CHECK),
    Reason.UNREACHABLE: Said("REDCap cannot be reached", "", NextAct.CHECK),
    Reason.SERVER_ERROR: Said("REDCap's server is ill with them", "look at its message", NextAct.RETRY),
    Reason.MAINTENANCE: Said("REDCap is under maintenance", "", NextAct.RETRY),
    Reason.BANNED: Said("REDCap has banned this machine's address", "have the ban lifted", NextAct.RESUME),
    Reason.RATE_LIMITED: Said("REDCap asks for fewer requests", "lower requests_per_minute", NextAct.RETRY),
    Reason.CERTIFICATE: Said("a certificate is not accepted", "see `ca_file` and `client_cert_file`", NextAct.CHECK),
    Reason.PROXY: Said("the proxy refuses dropcap", "see `proxy_credentials_file`", NextAct.CHECK),
    Reason.NOT_CONFIRMED: Said("REDCap took them and does not show them", "look in REDCap", NextAct.RETRY),
    Reason.UNREADABLE: Said("they cannot be read", "let dropcap's user read them", NextAct.RETRY),
    Reason.CHANGED_WHILE_SENT: Said("somebody writes to them", "", NextAct.RETRY),
    Reason.CAME_BACK_SHORT: Said("shorter than when they were taken", "have them dropped again, whole", NextAct.LOOK),
    Reason.VANISHED: Said("somebody took them out of in_progress/", "", NextAct.LOOK),
    Reason.NO_SPACE: Said("no room for copies of what REDCap holds", "make room", NextAct.CHECK),
    Reason.NO_COPY: Said("no copy of what REDCap holds can be kept", "see where copies go", NextAct.CHECK),
    Reason.AWAY: Said("the folder is away", "", NextAct.CHECK),
    Reason.BY_HAND: Said("paused by hand", "", NextAct.RESUME),
    Reason.CREATE_LIMIT: Said("as many records were created today as create_limit allows", "", NextAct.LOOK),
}
_ANOTHER = Said("a reason of another version of dropcap", "", NextAct.LOOK)


def said_of(reason: str | None) -> Said:
    """What is to be said of files with this reason."""
    return _WORDS.get(Reason.of(reason, Reason.NONE), _ANOTHER)
