"""What a reply proves (contract, part 7), and REDCap's own error messages -> reasons. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from dropcap.reasons import Reason
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


@dataclass(frozen=True, slots=True)
class Wording:
    """A family of messages, the reason it stands for (design, part 6), and what to do about it."""

    pattern: re.Pattern[str]
    reason: Reason
    remedy: str


def _wording(reason: Reason, remedy: str, *patterns: str) -> Wording:
    return Wording(re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE | re.DOTALL), reason, remedy)


_INVALID = r"(?:do(?:es)?(?: not|n't) exist|(?:is|are) not (?:a )?valid|(?:was|were)? ?not found|(?:is|are) invalid|not exist)"

#: Heard when the server refuses us altogether; looked for in pages as well as in REDCap's errors.
BANNED = re.compile(
    r"\bip address\b.{0,120}\b(?:banned|blocked|suspended)\b|\b(?:banned|blocked)\b.{0,120}\bip address\b|suspected abuse",
    re.IGNORECASE | re.DOTALL,
)
RATE_LIMITED = re.compile(
    r"too many requests|rate.?limit|exceed\w{0,4}.{0,60}requests (?:per|a|in (?:one|a)) minute", re.IGNORECASE | re.DOTALL
)
MAINTENANCE = re.compile(
    r"\bmaintenance\b|temporarily (?:unavailable|offline|down)|(?:redcap|system|server|api)\b.{0,40}\b(?:is|are) "
    r"(?:currently |now )?(?:offline|unavailable|disabled)",
    re.IGNORECASE | re.DOTALL,
)

#: In a page with which some servers answer whatever a token that may only import asks (redcapAPI, issue 422).
_NOT_GRANTED = re.compile(r"\baccess (?:was|is) not granted\b", re.IGNORECASE)

#: REDCap 15.7 gives an export up that is too large for it, or that its database has no time for (REDCapR, issue 627).
_EXPORT_FAILED = re.compile(r"\bexport is not able to complete\b", re.IGNORECASE)

#: In a page of the web server's before REDCap (nginx, Apache), which wants to see a certificate.
WANTS_CERTIFICATE = re.compile(
    r"\brequired (?:ssl|tls) certificate\b|\b(?:ssl|tls|client) certificate (?:error|required|is required)\b", re.IGNORECASE
)

TOKEN = _wording(
    Reason.TOKEN,
    "put a valid API token of this project into the token file, or ask for one in REDCap (API page)",
    r"permissions? to use the api",
    r"\b(?:invalid|missing|incorrect|unknown|expired) (?:api )?token",
    r"\btoken\b.{0,40}\b(?:invalid|missing|incorrect|expired|not valid|required|not (?:given|provided|found))",
    r"user\b.{0,30}\b(?:has been |is )?(?:suspended|expired)",
)

#: The token or its rights: true for every file of the project, not only for this one.
PROJECT = (
    _wording(
        Reason.PROJECT_OFFLINE,
        "ask the project's owner whether it has been taken offline, completed or deleted, then `dropcap resume`",
        r"project\b.{0,40}\b(?:is|has been|was)\b.{0,30}\b(?:offline|completed|inactive|deleted|suspended|archived)",
    ),
    TOKEN,
    _wording(
        Reason.RIGHTS,
        "give the token's user the right that the message names (User Rights page)",
        r"\bapi (?:import|export|update)\b.{0,60}\b(?:right|privilege|permission)",
        r"(?:right|privilege|permission)s?\b.{0,60}\bapi (?:import|export|update)",
    ),
    _wording(
        Reason.REFUSED,
        "ask REDCap's administrator to enable file upload fields (Control Center, File Upload Settings), then `dropcap resume`",
        r"\bfile[- ]upload\b[^.]{0,60}\b(?:is|are|been|were) (?:currently )?(?:disabled|turned off|not enabled)",
    ),
)

#: Rights in general: of the whole project with status 401/403, perhaps only of one form or record with 400.
RIGHTS = _wording(
    Reason.RIGHTS,
    "give the token's user the right that the message names (User Rights page)",
    r"\b(?:permission|privilege|user right|access right)s?\b",
    r"\bnot (?:allowed|authori[sz]ed|permitted) to (?:access|edit|view|import|export|modify)",
    r"\b(?:read[- ]only|no) access\b",
    r"^forbidden\b|^unauthori[sz]ed\b",
)

#: Only asked about exports.
NO_FILE = _wording(
    Reason.NO_FILE,
    "there is nothing to export",
    r"no file to download",
    r"there (?:is|was) no file",
    r"no file\b.{0,40}\b(?:exists?|found|stored)",
)

#: This one file or its target.
TARGET = (
    _wording(
        Reason.BLOCKED_EXTENSION,
        "REDCap's administrator does not allow this kind of file; convert it, or ask for the extension to be allowed",
        r"\b(?:extension|file type|type of file)\b.{0,120}"
        r"\b(?:not (?:allowed|permitted|accepted)|prohibited|restricted|blocked|disallowed)",
        r"\b(?:not (?:allowed|permitted|accepted)|prohibited|restricted|blocked)\b.{0,60}\b(?:extension|file types?)\b",
        r"\bfiles? of (?:the|this) (?:type|kind)\b.{0,60}\b(?:cannot|not)\b",
    ),
    _wording(
        Reason.TOO_LARGE,
        "make the file smaller, or ask REDCap's administrator to raise the upload limit",
        r"\btoo (?:large|big)\b",
        r"\bexceed\w*\b.{0,60}\b(?:size|limit|upload_max_filesize|post_max_size)\b",
        r"\b(?:file|upload)\b.{0,30}\bsize\b.{0,60}\b(?:exceed|larger|maximum)",
        r"upload_max_filesize|post_max_size",
    ),
    _wording(
        Reason.SIGNATURE_FIELD,
        "name a file upload field; signatures can only be drawn in REDCap itself",
        r"\bsignature\b.{0,60}\bfield",
        r"\bfield\b.{0,60}\bsignature\b",
    ),
    _wording(
        Reason.NOT_DESIGNATED,
        "designate the field's form for this event in REDCap, or correct the rule's event",
        r"\bnot designated\b",
        r"\bnot (?:assigned|enabled)\b.{0,40}\bevent\b",
    ),
    _wording(
        Reason.NEEDS_INSTANCE,
        "give the rule an `instance`: a number, a template or `next`",
        r"\brepeat(?:ing|_instance)\b.{0,200}\b(?:required|have no value|missing|must (?:be|have))",
    ),
    _wording(
        Reason.NOT_REPEATING,
        "take `instance` out of the rule, or make the form or event repeat in REDCap",
        r"\bnot (?:a |set (?:up )?as )?(?:a )?repeating\b",
        r"\binstance\b.{0,80}\bnot (?:a )?repeat",
        r"\bnot match\b.{0,60}\brepeating instrument",
    ),
    _wording(
        Reason.NOT_A_FILE_FIELD,
        "correct the rule's `field`: it must be the variable name of a file upload field",
        r"not an? [\"'‘“]?file(?: upload)?[\"'’”]? field",
    ),
    _wording(
        Reason.NO_EVENT,
        "correct the rule's `event`: it must be the unique event name, as in `month_6_arm_1`",
        rf"\b(?:redcap_event_name|events?)\b[^.]{{0,120}}\b{_INVALID}",
        r"\b(?:invalid|unknown|no such) (?:unique )?event",
        r"\bevent\b.{0,60}\b(?:is required|is missing|must be (?:provided|specified|given))",
        r"\b(?:provide|specify|include|missing)\b.{0,40}\bevent\b",
    ),
    _wording(
        Reason.NO_RECORD,
        "create the record in REDCap or correct the file's name, then drop the file again",
        rf"\brecords?\b[^.]{{0,120}}\b{_INVALID}",
        r"\b(?:invalid|unknown|no such) record",
    ),
    _wording(
        Reason.NO_FIELD,
        "correct the rule's `field`",
        rf"\bfields?\b[^.]{{0,120}}\b{_INVALID}",
        r"\b(?:invalid|unknown|no such) field",
    ),
    _wording(
        Reason.REFUSED,
        "unlock the form or record in REDCap, then `dropcap retry JOB`",
        r"\b(?:record|form|instrument|field|data|event)\b[^.]{0,60}\b(?:is|are|been) locked\b",
        r"\bmust (?:first )?unlock\b",
    ),
)


def known(text: str) -> bool:
    """Whether `text` sounds like an error of REDCap's."""
    return any(wording.pattern.search(text) for wording in (*PROJECT, *TARGET, RIGHTS, NO_FILE))


#: What was asked for: a file import, a file export, or data as JSON (also a record import, which answers with data).
Asked = Literal["import", "export", "json"]

MAX_MESSAGE = 500


class Verdict(StrEnum):
    """Whom a reply concerns, and what can be done."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # this file or request; asking again gives the same answer
    PROJECT = "project"  # the token, its rights, or the project: every file of it
    SERVER = "server"  # the server fails or is away, and nothing was stored
    UNKNOWN = "unknown"  # nobody knows whether it was stored
    BANNED = "banned"
    NOT_THE_API = "not_the_api"  # a page or a redirect: another URL, a log-in page, maintenance
    RATE_LIMITED = "rate_limited"
    UNCLEAR = "unclear"  # an answer to an export that does not tell whether there is a file: nobody's fault by itself


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reply, or the lack of one, means.

    `reason` is NONE if accepted, NO_FILE for an export of an empty field. `message` and `remedy` are for people. `retry_after`
    is in seconds. `outcome_unknown`: the import may have been stored all the same; read back before anything is sent again.
    `said` is REDCap's own error, if it answered with one, as it came but for tokens. `in_json`, `in_xml`: REDCap's error
    stands in JSON, as it was asked for, or in XML, as in answer to a request of which PHP has dropped all. `of_size`: the
    status says that the request was too large. `worded`: only the words say so. `shut_out`: 403, or the page of a REDCap that
    grants no access: not from its API. `page`: a page at 5xx, which may be due to one file. `alike`: REDCap's refusal in words
    that nobody knows, without what was asked and without numbers, to be compared with another one's.
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

    @property
    def of_rights(self) -> bool:
        """Whether REDCap's API itself says that the token lacks a right."""
        return self.reason == Reason.RIGHTS and not self.shut_out


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
    """A ban, a rate limit, a size limit. Such a page may come with any status."""
    if BANNED.search(reply.heard):
        return Meaning(
            Verdict.BANNED,
            Reason.BANNED,
            f"REDCap has banned this machine's address: {reply.words}",
            "ask REDCap's administrator to lift the ban, lower `requests_per_minute`, then `dropcap resume`",
            worded=True,
        )
    if reply.status == 429 or RATE_LIMITED.search(reply.heard):
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
    maintenance = reply.status == 503 or bool(MAINTENANCE.search(reply.heard))
    return Meaning(
        Verdict.UNKNOWN if unknown else Verdict.SERVER,
        Reason.MAINTENANCE if maintenance else Reason.SERVER_ERROR,
        f"the server returns errors ({reply.status}): {reply.words}",
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
    if not reply.ok and not reply.page and reply.status not in {404, *_NOT_REDCAPS} and known(reply.heard):
        return None  # REDCap's words, though not in one of its formats
    if reply.page and WANTS_CERTIFICATE.search(reply.heard):
        message = f"the server wants to see another certificate ({reply.status}): {reply.words}"
        return Meaning(Verdict.NOT_THE_API, Reason.CERTIFICATE, message, CLIENT_CERTIFICATE)
    if reply.page and reply.ok and reply.for_ != "import" and _NOT_GRANTED.search(reply.heard):
        return Meaning(
            Verdict.PROJECT,
            Reason.RIGHTS,
            f"the server answers with a page, as a REDCap does whose token may only import: {reply.words}",
            "give the token's user API Export (User Rights page), and see that `url` is right",
            shut_out=True,
        )
    maintenance = bool(MAINTENANCE.search(reply.heard))
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
    if reply.for_ == "export" and not turned_down and NO_FILE.pattern.search(said):
        return Meaning(Verdict.REFUSED, Reason.NO_FILE, message, NO_FILE.remedy)
    for known in PROJECT:
        if known.pattern.search(said):
            return Meaning(Verdict.PROJECT, known.reason, message, known.remedy)
    if turned_down:
        known = TOKEN if reply.status == 401 else RIGHTS
        return Meaning(Verdict.PROJECT, known.reason, message, known.remedy)
    for known in (*TARGET, RIGHTS):
        if known.pattern.search(said):
            return Meaning(Verdict.REFUSED, known.reason, message, known.remedy)
    if MAINTENANCE.search(said):
        return Meaning(Verdict.SERVER, Reason.MAINTENANCE, message, WAIT, worded=True)
    if reply.for_ != "import" and _EXPORT_FAILED.search(said):
        return Meaning(Verdict.SERVER, Reason.SERVER_ERROR, message, WAIT, worded=True)
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
