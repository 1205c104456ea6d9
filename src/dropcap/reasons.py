"""Why a file, a folder, a project or a server is not as it should be, and how far that reaches.

The words stand in the ledger, in the log and in JSON; what people read beside them, `message` and `remedy`, decides nothing.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why something was refused, is held, waits or is paused (design, part 6)."""

    NO_RULE = "no_rule"
    BAD_VALUE = "bad_value"
    EMPTY_FILE = "empty_file"
    INCOMPLETE = "incomplete"
    TOO_LARGE = "too_large"
    BLOCKED_EXTENSION = "blocked_extension"
    NO_RECORD = "no_record"
    SEVERAL_RECORDS = "several_records"
    RECORD_DIFFERS = "record_differs"
    MISMATCH = "mismatch"
    TOO_MANY_MISMATCHES = "too_many_mismatches"
    NEWER_WENT = "newer_went"
    NO_FIELD = "no_field"
    NOT_A_FILE_FIELD = "not_a_file_field"
    SIGNATURE_FIELD = "signature_field"
    NO_EVENT = "no_event"
    NOT_DESIGNATED = "not_designated"
    NOT_REPEATING = "not_repeating"
    NEEDS_INSTANCE = "needs_instance"
    FILE_EXISTS = "file_exists"
    REFUSED = "refused"
    TOKEN = "token"
    RIGHTS = "rights"
    PROJECT_MISMATCH = "project_mismatch"
    PROJECT_OFFLINE = "project_offline"
    NOT_THE_API = "not_the_api"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    MAINTENANCE = "maintenance"
    BANNED = "banned"
    RATE_LIMITED = "rate_limited"
    CERTIFICATE = "certificate"
    PROXY = "proxy"
    NOT_CONFIRMED = "not_confirmed"
    UNREADABLE = "unreadable"
    CHANGED_WHILE_SENT = "changed_while_sent"
    CAME_BACK_SHORT = "came_back_short"
    VANISHED = "vanished"
    NO_SPACE = "no_space"
    NO_COPY = "no_copy"
    AWAY = "away"
    BY_HAND = "by_hand"
    CREATE_LIMIT = "create_limit"
    # Of dropcap's own, beside those of the contract:
    NONE = ""  # all is well
    NO_FILE = "no_file"  # an export of an empty field
    STOPPED = "stopped"  # dropcap ended meanwhile
    FILING = "filing"  # a folder that takes no file into done/ or failed/ for now

    @classmethod
    def of(cls, word: str | None, otherwise: Reason) -> Reason:
        """The reason that the ledger holds; `otherwise` if it holds none, or one of another version of dropcap."""
        try:
            return cls(word) if word else otherwise
        except ValueError:
            return otherwise


class Told(StrEnum):
    """What people are notified of."""

    PAUSED = "paused"  # a server, a project or a folder
    RESUMED = "resumed"  # and whatever else was told and is over
    AWAY = "away"  # a folder
    MISCONFIGURED = "misconfigured"
    LEDGER = "ledger"
    FILES = "files"  # failures, held files and strays, gathered
    EXPECTED = "expected"  # files that should have come
    ENDED = "ended"  # dropcap itself


class Scope(StrEnum):
    """Whose trouble it is: how much stands still for it. Servers, projects and folders can be paused."""

    FILE = "file"
    FOLDER = "folder"
    SERVER = "server"  # by host and port
    PROJECT = "project"
    STOP = "stop"  # nobody's: dropcap ends, or the file's next step follows at once
