"""What a reply of REDCap's, or the lack of one, means: whom it concerns, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from dropcap.reasons import Reason
from dropcap.redcap.parsing import readable

#: What was asked for: a file import, a file export, or data as JSON (also a record import, which answers with data).
Asked = Literal["import", "export", "json"]

MAX_MESSAGE = 500


class Verdict(StrEnum):
    """Whom a reply concerns, and what can be done."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # this file or request; asking again gives the same answer
    PROJECT = "project"  # the token, its rights, or the project: every file of it
    SERVER = "server"  # the server is ill or away, and nothing was stored
    UNKNOWN = "unknown"  # nobody knows whether it was stored
    BANNED = "banned"
    NOT_THE_API = "not_the_api"  # a page or a redirect: another URL, a log-in page, maintenance
    RATE_LIMITED = "rate_limited"
    UNCLEAR = "unclear"  # an answer to an export that does not tell whether there is a file: nobody's fault by itself


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reply, or the lack of one, means.

    `reason` is NONE if accepted, NO_FILE for an export of an empty field. `message` and
    `remedy` are for people. `retry_after` is in seconds. `outcome_unknown`: the import may have been stored all the
    same; read back before anything is sent again. `said` is REDCap's own error, if it answered with one, as it came but for
    tokens. `in_json`, `in_xml`: REDCap's error stands in JSON, as it was asked for, or in XML, as in answer to a request of
    which PHP has dropped all. `of_size`: the status says that the request was too large. `worded`: only the words say so.
    `shut_out`: 403, and not from REDCap's API. `page`: a page at 5xx, which may be due to one file. `alike`: REDCap's refusal in
    words that nobody knows, without what was asked and without numbers, to be compared with another one's.
    """

    verdict: Verdict
    reason: Reason = Reason.NONE
    message: str = ""
    remedy: str = ""
    retry_after: float | None = None
    outcome_unknown: bool = False
    said: str = ""
    in_json: bool = False
    in_xml: bool = False
    of_size: bool = False
    worded: bool = False
    shut_out: bool = False
    page: bool = False
    alike: str = ""


ACCEPTED = Meaning(Verdict.ACCEPTED)

WAIT = "nothing needs to be done: dropcap asks the server again by itself; if it lasts, tell REDCap's administrator"
#: Also where TLS itself says so.
CLIENT_CERTIFICATE = (
    "ask the server's administrator which certificate this machine has to show, and name it in `client_cert_file` "
    "and its key in `client_key_file`"
)
READ_BACK = "nothing needs to be done: dropcap checks REDCap before it sends anything again"


def meaning_of(
    verdict: Verdict, reason: Reason, message: str, remedy: str, *, after: float | None = None, unknown: bool = False,
    worded: bool = False, of_size: bool = False, shut_out: bool = False, page: bool = False,
) -> Meaning:  # fmt: skip
    """A meaning whose message is no longer than people read."""
    message = message.rstrip(": ")
    if len(message) > MAX_MESSAGE:
        message = message[: MAX_MESSAGE - 1] + "…"
    return Meaning(verdict, reason, message, remedy, after, unknown, worded=worded, of_size=of_size, shut_out=shut_out, page=page)


def no_reply(*, for_: Asked, request_began: bool, reason: Reason, message: str, remedy: str = "") -> Meaning:
    """The meaning of an exchange that ended without a whole reply head.

    `request_began`: some byte of the request may have reached the server.
    """
    unknown = for_ == "import" and request_began
    return meaning_of(
        Verdict.UNKNOWN if unknown else Verdict.SERVER,
        reason,
        readable(message),
        READ_BACK if unknown else remedy or WAIT,
        unknown=unknown,
    )


def remedy_now(meaning: Meaning) -> str:
    """What to do about it for somebody who asks once, where the daemon would ask again by itself."""
    if meaning.reason == Reason.UNREACHABLE:
        return "check `url` (and `proxy`, if you have set one), and that this machine may reach it; then try again later"
    later = (Reason.SERVER_ERROR, Reason.MAINTENANCE, Reason.CAME_BACK_SHORT, Reason.RATE_LIMITED)
    return "try again later" if meaning.reason in later else meaning.remedy
