"""Why a file, a folder, a project or a server is not as it should be: each reason once, with all that is said of it.

The words of `Reason` stand in the ledger, in the log and in JSON; what people read beside them decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from dropcap.language import marked


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


class NoticeKind(StrEnum):
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


class NextAct(Enum):
    """What brings files on, once what is wrong is mended."""

    RENAME = "rename"  # nothing but another name, or another rule
    LOOK = "look"  # each for itself
    RETRY = "retry"  # trying them again
    CHECK = "check"  # `dropcap check` says what is wrong
    RESUME = "resume"  # ending a pause


class Actor(Enum):
    """Who must act."""

    DROPPER = "those who drop files"
    OPERATOR = "the operator"
    NOBODY = "nobody"  # as long as it does not last


_ASK = marked("Nothing is wrong with your file. Ask: {contact}.")
_AGAIN = marked("Once that is mended, move this file back into the folder “{folder}”. dropcap then takes it by itself.")
_ANEW = (
    marked("Make the file anew (scan or save it once more), and drop it into the folder “{folder}”."),
    marked("Then delete this one."),
    marked("If that is not possible, ask: {contact}."),
)
_COMPARE = (
    marked("Compare the name with the paper. If the name is wrong, rename the file in the folder “failed”."),
    marked("If the name is right, ask: {contact}."),
)
_CUT_OFF = (marked("The file is cut off: its end is missing."),)
_BUILT = (marked("REDCap has no place for this file: the study is built in another way there."),)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is said of a reason.

    `title` is a short sentence without its full stop, and without a word of REDCap's: other folders are told it too. `remedy` is
    for the operator, of many files at once: what to do before `act`. The rest is for those who drop files, to be translated:
    `wrong` and `do` beside a failed file, `stays` where a file waits or is held, `still` where nothing moves.
    """

    scope: Scope
    title: str
    remedy: str
    act: NextAct
    actor: Actor = Actor.OPERATOR
    wrong: tuple[str, ...] = (marked("REDCap does not take this file."),)
    do: tuple[str, ...] = (_ASK, _AGAIN)
    stays: str = ""
    still: str = marked("REDCap does not let dropcap in.")

    @property
    def within(self) -> str:
        """The title as a part of a sentence."""
        return self.title if self.title.startswith("REDCap") else self.title[:1].lower() + self.title[1:]


_REASONS: dict[Reason, Explanation] = {
    Reason.NO_RULE: Explanation(
        Scope.FILE, "The name matches no rule", "rename them, or add a rule", NextAct.RENAME, Actor.DROPPER,
        (marked("This name does not say where the file belongs."),),
        (marked("Rename the file in the folder “failed”."),),
    ),
    Reason.BAD_VALUE: Explanation(
        Scope.FILE, "The name says what cannot be, or what no table has",
        "rename them, or add a rule", NextAct.RENAME, Actor.DROPPER,
        (marked("A part of this name cannot be right."),),
        (
            marked("Compare the name with the paper, and rename the file in the folder “failed”."),
            marked("If the name is right, ask: {contact}."),
        ),
    ),
    Reason.EMPTY_FILE: Explanation(
        Scope.FILE, "The file is empty", "have it dropped again, with its content", NextAct.LOOK, Actor.DROPPER,
        (marked("The file is empty."),), _ANEW,
    ),
    Reason.INCOMPLETE: Explanation(
        Scope.FILE, "The file looks cut off, and has for an hour", "have it saved or copied again", NextAct.LOOK, Actor.DROPPER,
        _CUT_OFF, _ANEW,
    ),
    Reason.TOO_LARGE: Explanation(
        Scope.FILE, "The file is too large", "make it smaller, or have the limit raised", NextAct.RETRY, Actor.DROPPER,
        (marked("The file is too large for REDCap: it has {size}."),),
        (
            marked("Make it smaller: scan it with fewer dots per inch, say, or without colours."),
            marked("Drop the smaller file into the folder “{folder}”. Then delete this one."),
            marked("If that is not possible, ask: {contact}."),
        ),
        stays=marked("The file is perhaps too large for REDCap."),
    ),
    Reason.BLOCKED_EXTENSION: Explanation(
        Scope.FILE, "REDCap takes no files of this kind", "convert or pack them", NextAct.RENAME, Actor.DROPPER,
        (marked("REDCap takes no files with this ending."),),
        (
            marked("Save it as another kind of file, such as PDF, and drop that into the folder “{folder}”."),
            marked("Then delete this one."),
        ),
    ),
    Reason.NO_RECORD: Explanation(
        Scope.FILE, "REDCap has no such record", "create it", NextAct.RETRY, Actor.DROPPER,
        (marked("REDCap has no record “{record}”."),),
        (
            marked("Compare the number with the paper. If the name is wrong, rename the file in the folder “failed”."),
            marked("If the name is right, the record is missing in REDCap. Ask: {contact}."),
            _AGAIN,
        ),
        stays=marked("REDCap does not have its record yet. dropcap looks again by itself."),
    ),
    Reason.SEVERAL_RECORDS: Explanation(
        Scope.FILE, "Several records fit `record_where`", "correct the records", NextAct.RETRY, Actor.DROPPER,
        (marked("What the name tells fits several records in REDCap."),), _COMPARE,
    ),
    Reason.RECORD_DIFFERS: Explanation(
        Scope.FILE, "The record is written otherwise in REDCap", "rename them", NextAct.LOOK, Actor.DROPPER,
        (
            marked("REDCap has no record “{record}”, but it has one that is written almost the same."),
            marked("Look at capital letters and zeros."),
        ),
        _COMPARE,
    ),
    Reason.MISMATCH: Explanation(
        Scope.FILE, "The record disagrees with the name", "find out whose files they are", NextAct.LOOK, Actor.DROPPER,
        (marked("The name does not agree with what REDCap says of this record."),), _COMPARE,
    ),
    Reason.TOO_MANY_MISMATCHES: Explanation(
        Scope.FILE, "Too many names disagreed with the record", "compare them with it", NextAct.RETRY,
        stays=marked("Several files for this record did not agree with REDCap."),
    ),
    Reason.NEWER_WENT: Explanation(
        Scope.FILE, "A file that was dropped later has gone to the same place", "see which is the right one", NextAct.LOOK,
        stays=marked("A newer file for the same place has been stored already."),
    ),
    Reason.NO_FIELD: Explanation(
        Scope.FILE, "The project has no such field", "correct the rule or the project", NextAct.CHECK, wrong=_BUILT
    ),
    Reason.NOT_A_FILE_FIELD: Explanation(
        Scope.FILE, "The rule's field takes no files", "correct the rule or the project", NextAct.CHECK, wrong=_BUILT
    ),
    Reason.SIGNATURE_FIELD: Explanation(
        Scope.FILE, "The rule's field takes signatures alone", "correct the rule or the project", NextAct.CHECK, wrong=_BUILT
    ),
    Reason.NO_EVENT: Explanation(
        Scope.FILE, "The project has no such event", "correct the rule or the project", NextAct.CHECK, wrong=_BUILT
    ),
    Reason.NOT_DESIGNATED: Explanation(
        Scope.FILE, "The form is not designated for the event", "correct the rule or the project", NextAct.CHECK, wrong=_BUILT
    ),
    Reason.NOT_REPEATING: Explanation(
        Scope.FILE, "The rule names an instance where nothing repeats", "correct the rule", NextAct.CHECK, wrong=_BUILT
    ),
    Reason.NEEDS_INSTANCE: Explanation(
        Scope.FILE, "The rule names no instance where the form repeats", "correct the rule", NextAct.CHECK, wrong=_BUILT
    ),
    Reason.FILE_EXISTS: Explanation(
        Scope.FILE, "The field holds another file",
        "remove it in REDCap, or choose `existing_file: preserve`", NextAct.RETRY, Actor.DROPPER,
        (marked("REDCap has another file in this place already, and keeps it."),),
        (
            marked("Find out which of the two is right. If it is the one in REDCap, delete this file."),
            marked("If it is this one, ask: {contact}. They have to take the other one out of REDCap."),
            _AGAIN,
        ),
    ),
    Reason.REFUSED: Explanation(Scope.FILE, "REDCap refuses what it is asked", "do what its message says", NextAct.LOOK),
    Reason.TOKEN: Explanation(
        Scope.PROJECT, "REDCap does not accept the API token", "put a new token into its file", NextAct.CHECK
    ),
    Reason.RIGHTS: Explanation(Scope.PROJECT, "The token's user lacks a right", "have it given", NextAct.CHECK),
    Reason.PROJECT_MISMATCH: Explanation(
        Scope.PROJECT, "The token belongs to another project", "put the right token in place", NextAct.CHECK
    ),
    Reason.PROJECT_OFFLINE: Explanation(Scope.PROJECT, "The project is offline", "ask its owner", NextAct.RESUME),
    Reason.NOT_THE_API: Explanation(Scope.SERVER, "Something other than REDCap's API answers", "correct `url`", NextAct.CHECK),
    Reason.UNREACHABLE: Explanation(
        Scope.SERVER, "REDCap cannot be reached", "", NextAct.CHECK, Actor.NOBODY, still=marked("REDCap does not answer.")
    ),
    Reason.SERVER_ERROR: Explanation(
        Scope.SERVER, "REDCap's server returns errors", "look at its message", NextAct.RETRY, Actor.NOBODY,
        still=marked("REDCap is having trouble."),
    ),
    Reason.MAINTENANCE: Explanation(
        Scope.SERVER, "REDCap is down for maintenance", "", NextAct.RETRY, Actor.NOBODY,
        still=marked("REDCap is under maintenance."),
    ),
    Reason.BANNED: Explanation(Scope.SERVER, "REDCap has banned this machine's address", "have the ban lifted", NextAct.RESUME),
    Reason.RATE_LIMITED: Explanation(
        Scope.SERVER, "REDCap asks for fewer requests", "lower `requests_per_minute`", NextAct.RETRY, Actor.NOBODY,
        still=marked("REDCap takes only so many files a minute."),
    ),
    Reason.CERTIFICATE: Explanation(
        Scope.SERVER, "A certificate is not accepted", "see `ca_file` and `client_cert_file`", NextAct.CHECK
    ),
    Reason.PROXY: Explanation(Scope.SERVER, "The proxy refuses dropcap", "see `proxy_credentials_file`", NextAct.CHECK),
    Reason.NOT_CONFIRMED: Explanation(
        Scope.FILE, "REDCap does not show what it accepted", "look in REDCap", NextAct.RETRY
    ),
    Reason.UNREADABLE: Explanation(
        Scope.FILE, "The file cannot be read", "let dropcap's user read it", NextAct.RETRY,
        stays=marked("The file cannot be read."),
    ),
    Reason.CHANGED_WHILE_SENT: Explanation(Scope.FILE, "Somebody writes to the file", "", NextAct.RETRY, Actor.NOBODY),
    Reason.CAME_BACK_SHORT: Explanation(
        Scope.FILE, "The file is shorter than when it was taken", "have it dropped again, whole", NextAct.LOOK, Actor.DROPPER,
        _CUT_OFF, _ANEW, marked("The file became shorter after it was dropped."),
    ),
    Reason.VANISHED: Explanation(Scope.FILE, "Somebody took the file out of in_progress/", "", NextAct.LOOK, Actor.NOBODY),
    Reason.NO_SPACE: Explanation(
        Scope.FOLDER, "A disk that dropcap needs is full", "make room", NextAct.CHECK, Actor.NOBODY,
        stays=marked("A disk is full."),
    ),
    Reason.NO_COPY: Explanation(
        Scope.FOLDER, "No copy of what REDCap holds can be kept", "see where copies go", NextAct.CHECK,
        stays=marked("No copy of the older file can be kept at the moment."),
    ),
    Reason.AWAY: Explanation(
        Scope.FOLDER, "The folder is away", "", NextAct.CHECK, still=marked("dropcap cannot get at this folder.")
    ),
    Reason.BY_HAND: Explanation(Scope.FOLDER, "Paused by hand", "", NextAct.RESUME, still=marked("This folder is paused.")),
    Reason.CREATE_LIMIT: Explanation(
        Scope.FILE, "As many records were created today as `create_limit` allows", "", NextAct.LOOK,
        stays=marked("Too many new records for one day."),
    ),
    Reason.FILING: Explanation(
        Scope.FOLDER, "The folder takes no file for now", "", NextAct.CHECK,
        still=marked("dropcap cannot move files in this folder."),
    ),
}  # fmt: skip


def explained(reason: str | None) -> Explanation:
    """What is said of a reason; of one of another version of dropcap: its word."""
    known = _REASONS.get(Reason.of(reason, Reason.NONE))
    return known or Explanation(Scope.FILE, (reason or "No reason is known").replace("_", " "), "", NextAct.LOOK)
