"""What a reply proves (contract, part 7). Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from dropcap.reasons import Reason
from dropcap.redcap import wording
from dropcap.redcap.parsing import (
    blanked,
    error_text,
    file_name,
    has_xml_error,
    is_page,
    page_text,
    readable,
    retry_after,
    says_success,
)
from dropcap.secret import without_tokens

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

    def __post_init__(self) -> None:
        """Keep the message no longer than people read."""
        message = self.message.rstrip(": ")
        if len(message) > MAX_MESSAGE:
            message = message[: MAX_MESSAGE - 1] + "…"
        object.__setattr__(self, "message", message)


ACCEPTED = Meaning(Verdict.ACCEPTED)

WAIT = "nothing needs to be done: dropcap asks the server again by itself; if it lasts, tell REDCap's administrator"
#: Also where TLS itself says so.
CLIENT_CERTIFICATE = (
    "ask the server's administrator which certificate this machine has to show, and name it in `client_cert_file` "
    "and its key in `client_key_file`"
)
READ_BACK = "nothing needs to be done: dropcap checks REDCap before it sends anything again"


def no_reply(*, for_: Asked, request_began: bool, reason: Reason, message: str, remedy: str = "") -> Meaning:
    """The meaning of an exchange that ended without a whole reply head.

    `request_began`: some byte of the request may have reached the server.
    """
    unknown = for_ == "import" and request_began
    return Meaning(
        Verdict.UNKNOWN if unknown else Verdict.SERVER,
        reason,
        readable(message),
        READ_BACK if unknown else remedy or WAIT,
        outcome_unknown=unknown,
    )


def remedy_now(meaning: Meaning) -> str:
    """What to do about it for somebody who asks once, where the daemon would ask again by itself."""
    if meaning.reason == Reason.UNREACHABLE:
        return "check `url` (and `proxy`, if you have set one), and that this machine may reach it; then try again later"
    later = (Reason.SERVER_ERROR, Reason.MAINTENANCE, Reason.RATE_LIMITED)
    return "try again later" if meaning.reason in later else meaning.remedy


#: Replies with what they can mean.

_NOTHING = (
    "dropcap asks again by itself; if it stays so, see in REDCap whether the field holds an empty file, and remove it there"
)
#: What REDCap never answers itself, in whatever shape: no POST here, a proxy's own, a request that did not arrive well.
_NOT_REDCAPS = frozenset({405, 407, 408, 411, 425})
#: More of an error page than this is not looked at: patterns run over it, and nothing of use comes so late.
_LOOKED_AT = 64 * 1024


def read_reply(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    for_: Asked,
    body_complete: bool,
    request_complete: bool = True,
    asked_with: Iterable[str] = (),
) -> Meaning:
    """Judge a reply whose head arrived whole.

    `headers` is looked up without regard to case if it is such a mapping, as those of requests are. `body` may be the
    beginning only; `body_complete` says that the reply is known to have ended where it was meant to end.
    `request_complete` is False if the server answered before it had the whole request. What the server says is told
    without tokens. `asked_with` are the values of the request: they are data, and no wording is looked for in them.
    """
    text = body[:_LOOKED_AT].decode("utf-8", "replace").strip().removeprefix("\ufeff")
    success = says_success(text) if for_ == "import" and status in (200, 201) else None
    error = error_text(text) if success is None and status not in _NOT_REDCAPS else None
    page = error is None and is_page(headers, text)
    words = readable(error if error is not None else page_text(text) if page else text)
    location = readable(headers.get("Location") or "")
    reply = _Reply(status, headers, text, error, page, words, for_, body_complete, request_complete, location, success)
    if error is not None or page or not reply.ok:
        reply = replace(reply, heard=blanked(error if error is not None else text, asked_with))
    for judge in (_turned_away, _server_error, _redirect, _nothing_exported, _cut_off, _something_else, _redcap_error):
        meaning = judge(reply)
        if meaning is not None:
            in_json = error is not None and text.startswith("{")
            meaning = replace(meaning, in_json=in_json, in_xml=not in_json and has_xml_error(text))
            if for_ == "export":
                return _of_an_export(meaning, reply, without_tokens(error or text))
            return meaning
    return ACCEPTED


def _of_an_export(meaning: Meaning, reply: _Reply, said: str) -> Meaning:
    """REDCap refuses the export of a field that may be empty: whether it is, only its words could tell, and those differ."""
    of_redcap = reply.error is not None and reply.status < 500 and meaning.verdict in (Verdict.REFUSED, Verdict.SERVER)
    if meaning.reason == Reason.NO_FILE or not (of_redcap or meaning.verdict is Verdict.REFUSED):
        return meaning
    return replace(meaning, verdict=Verdict.UNCLEAR, said=said[:MAX_MESSAGE])


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    text: str
    error: str | None  # REDCap's own message
    page: bool  # HTML
    words: str  # what people are told of it
    for_: Asked
    complete: bool
    request_complete: bool
    location: str
    success: bool | None = None  # what the body says of it, if it does
    heard: str = ""  # where wording is looked for: in errors and pages without what was asked, never in data or a file

    @property
    def ok(self) -> bool:
        return self.status in (200, 201)


def _turned_away(reply: _Reply) -> Meaning | None:
    """A ban, a rate limit, a size limit. Whoever sends such a page may send it with any status."""
    if wording.BANNED.search(reply.heard):
        return Meaning(
            Verdict.BANNED,
            Reason.BANNED,
            f"REDCap has banned this machine's address: {reply.words}",
            "ask REDCap's administrator to lift the ban, lower `requests_per_minute`, then `dropcap resume`",
            worded=True,
        )
    if reply.status == 429 or wording.RATE_LIMITED.search(reply.heard):
        return Meaning(
            Verdict.RATE_LIMITED,
            Reason.RATE_LIMITED,
            f"REDCap asks for fewer requests ({reply.status}): {reply.words}",
            "nothing needs to be done: dropcap waits; if it comes again, lower `requests_per_minute`",
            retry_after=retry_after(reply.headers),
            worded=reply.status != 429,
        )
    if reply.status == 413 and reply.for_ != "import":
        # A question of a few hundred bytes is not too large, and says nothing about the file.
        return Meaning(Verdict.SERVER, Reason.SERVER_ERROR, f"the server refuses even small requests (413): {reply.words}", WAIT)
    if reply.status == 413:
        return Meaning(
            Verdict.REFUSED,
            Reason.TOO_LARGE,
            f"the server refuses a file of this size (413): {reply.words}",
            "make the file smaller, or ask REDCap's administrator to raise the upload limit",
            of_size=True,
        )
    return None


def _server_error(reply: _Reply) -> Meaning | None:
    if reply.status < 500 or (reply.status == 501 and reply.page):  # a web server that knows no POST
        return None
    # Only a gateway is believed to have passed nothing on, and only if it had not got the whole request.
    unknown = reply.for_ == "import" and (reply.request_complete or reply.status not in (502, 503, 504))
    maintenance = reply.status == 503 or bool(wording.MAINTENANCE.search(reply.heard))
    return Meaning(
        Verdict.UNKNOWN if unknown else Verdict.SERVER,
        Reason.MAINTENANCE if maintenance else Reason.SERVER_ERROR,
        f"the server is ill ({reply.status}): {reply.words}",
        READ_BACK if unknown else WAIT,
        retry_after=retry_after(reply.headers),
        outcome_unknown=unknown,
        page=reply.page,
    )


def _redirect(reply: _Reply) -> Meaning | None:
    if not 300 <= reply.status < 400:
        return None
    place = reply.location or "nowhere"
    return Meaning(
        Verdict.NOT_THE_API,
        Reason.NOT_THE_API,
        f"the server redirects ({reply.status}) to {place}",
        "correct the project's `url` (usually https://HOST/api/ or https://HOST/redcap/api/, with the slash)",
    )


def _cut_off(reply: _Reply) -> Meaning | None:
    # An error that can be read to its end says what it says, however the connection ended.
    if reply.complete or reply.error is not None or reply.page:
        return None
    if not reply.ok and reply.for_ != "import":
        return None
    unknown = reply.for_ == "import"
    return Meaning(
        Verdict.UNKNOWN if unknown else Verdict.SERVER,
        Reason.SERVER_ERROR,
        f"the server's reply ({reply.status}) broke off before its end",
        READ_BACK if unknown else WAIT,
        outcome_unknown=unknown,
    )


def _nothing_exported(reply: _Reply) -> Meaning | None:
    """Neither a file nor a word: so answers a server whose worker has died, or whose files are away."""
    if reply.for_ != "export" or not reply.ok or reply.text:
        return None
    message = f"REDCap answers {reply.status} and nothing else, where it should give out a file or say that there is none"
    return Meaning(Verdict.UNCLEAR, Reason.NOT_CONFIRMED, message, _NOTHING)


def _something_else(reply: _Reply) -> Meaning | None:
    """Neither an error of REDCap's nor the success asked for."""
    if reply.error is not None or _is_what_was_asked_for(reply):
        return None
    if reply.for_ == "import" and not reply.page and reply.status < 300:
        if reply.ok and (not reply.text or reply.success):
            return None
        return Meaning(
            Verdict.UNKNOWN,
            Reason.NOT_CONFIRMED,
            f"the server answers {reply.status} where REDCap would answer 200 and nothing else: {reply.words}",
            READ_BACK,
            outcome_unknown=True,
        )
    if reply.status in (408, 425):
        unknown = reply.for_ == "import" and reply.request_complete
        return Meaning(
            Verdict.UNKNOWN if unknown else Verdict.SERVER,
            Reason.UNREACHABLE,
            f"the server says the request did not arrive as it should ({reply.status})",
            READ_BACK if unknown else WAIT,
            retry_after=retry_after(reply.headers),
            outcome_unknown=unknown,
        )
    if not reply.ok and not reply.page and reply.status not in {404, *_NOT_REDCAPS} and wording.known(reply.heard):
        return None  # REDCap's words, though not in one of its formats
    if reply.page and wording.CLIENT_CERTIFICATE.search(reply.heard):
        message = f"the server wants to see another certificate ({reply.status}): {reply.words}"
        return Meaning(Verdict.NOT_THE_API, Reason.CERTIFICATE, message, CLIENT_CERTIFICATE)
    maintenance = bool(wording.MAINTENANCE.search(reply.heard))
    return Meaning(
        Verdict.NOT_THE_API,
        Reason.MAINTENANCE if maintenance else Reason.NOT_THE_API,
        f"the server answers {reply.status} with something other than REDCap's API: {reply.words}",
        WAIT
        if maintenance
        else "correct the project's `url`; if it is right, ask REDCap's administrator "
        "whether a firewall or a log-in page stands in between",
        outcome_unknown=reply.ok and reply.for_ == "import",
        shut_out=reply.status == 403,
    )


def _is_what_was_asked_for(reply: _Reply) -> bool:
    """Data or a file. What an import is answered is looked at more closely."""
    if not reply.ok:
        return False
    if reply.for_ == "export":
        return file_name(reply.headers) is not None
    return reply.for_ == "json" and not reply.page


def _redcap_error(reply: _Reply) -> Meaning | None:
    """A status of 4xx, or a success whose body is an error of REDCap's."""
    if reply.ok and reply.error is None:
        return None
    said = reply.heard
    message = f"REDCap says: {reply.words}" if reply.words else f"REDCap answers {reply.status} without a word"
    turned_down = reply.status in (401, 403)
    if reply.for_ == "export" and not turned_down and wording.NO_FILE.pattern.search(said):
        return Meaning(Verdict.REFUSED, Reason.NO_FILE, message, wording.NO_FILE.remedy)
    for known in wording.PROJECT:
        if known.pattern.search(said):
            return Meaning(Verdict.PROJECT, known.reason, message, known.remedy)
    if turned_down:
        known = wording.TOKEN if reply.status == 401 else wording.RIGHTS
        return Meaning(Verdict.PROJECT, known.reason, message, known.remedy)
    for known in (*wording.TARGET, wording.RIGHTS):
        if known.pattern.search(said):
            return Meaning(Verdict.REFUSED, known.reason, message, known.remedy)
    if wording.MAINTENANCE.search(said):
        return Meaning(Verdict.SERVER, Reason.MAINTENANCE, message, WAIT, worded=True)
    refused = Meaning(Verdict.REFUSED, Reason.REFUSED, message, "correct what REDCap complains of, then drop the file again")
    return replace(refused, alike=f"{reply.status} {re.sub('[0-9]+', '#', said)}"[:MAX_MESSAGE])


#: PHP drops the whole body of a request over its `post_max_size`. No server that takes files has it below this (bytes).
MAY_LOSE_FORM = 1024 * 1024
#: For so long (seconds) counts what was heard.
_COUNTS = 3600.0


class Dialect:
    """What was heard of one server by one client. May be used by any thread: times are replaced whole."""

    def __init__(self) -> None:
        self._json_at = self._xml_at = -_COUNTS

    def heard(self, meaning: Meaning, for_: Asked) -> None:
        """A reply. Of one to an import, whose form may be lost, only JSON tells something."""
        if meaning.in_json:
            self._json_at = time.monotonic()
        elif meaning.in_xml and for_ != "import":
            self._xml_at = time.monotonic()

    def is_json(self) -> bool | None:
        """Whether errors come in JSON, all of them; None if none was heard lately."""
        now = time.monotonic()
        if now - self._xml_at < _COUNTS:
            return False
        return True if now - self._json_at < _COUNTS else None
