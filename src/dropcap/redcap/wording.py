"""REDCap's own error messages -> reasons.

The messages are no contract: they differ between versions and installations, so the patterns are loose, their order
matters, and what none of them knows stays `refused` with REDCap's own words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dropcap.reasons import Reason


@dataclass(frozen=True, slots=True)
class Wording:
    """A family of messages, the reason it stands for (design, part 6), and what to do about it."""

    pattern: re.Pattern[str]
    reason: Reason
    remedy: str


def _wording(reason: Reason, remedy: str, *patterns: str) -> Wording:
    return Wording(re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE | re.DOTALL), reason, remedy)


_INVALID = r"(?:do(?:es)?(?: not|n't) exist|(?:is|are) not (?:a )?valid|(?:was|were)? ?not found|is invalid|not exist)"

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

#: In a page of the web server's before REDCap (nginx, Apache), which wants to see a certificate.
CLIENT_CERTIFICATE = re.compile(
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
        rf"\bevents?\b[^.]{{0,120}}\b{_INVALID}",
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
)


def known(text: str) -> bool:
    """Whether `text` sounds like an error of REDCap's."""
    return any(wording.pattern.search(text) for wording in (*PROJECT, *TARGET, RIGHTS, NO_FILE))
