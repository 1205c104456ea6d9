"""What may be told of a reply: its shape, lengths, and the known words of messages. Never a value or a name."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from redcap_sandbox.call import FORMATS, WORDING
from redcap_sandbox.fault import MATCHED
from redcap_sandbox.structure import METADATA_COLUMNS

#: Stands for one or more words that are not known.
UNKNOWN = "…"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


METHODS = _words("GET POST PUT HEAD OPTIONS")
PARAMETERS = _words(
    """
    token content action format returnFormat type record field event repeat_instance records fields forms events arms data
    overwriteBehavior dateFormat forceAutoNumber returnContent rawOrLabel rawOrLabelHeaders exportCheckboxLabel
    exportSurveyFields exportDataAccessGroups filterLogic dateRangeBegin dateRangeEnd csvDelimiter decimalCharacter file
    folder_id doc_id beginTime endTime logtype user dag compactDisplay backgroundProcess
    """
)
CONTENTS = _words(
    """
    version project metadata instrument event arm formEventMapping repeatingFormsEvents exportFieldNames record file user dag
    log generateNextRecordName fileRepository pdf report userRole userDagMapping project_xml fileinfo fileSize
    """
)
#: What stands in a parameter that is not a value of the project's.
CHOICES = frozenset({*FORMATS, "odm", "flat", "eav", "import", "export", "delete", "list", "ids", "count", "nothing", "auto_ids"})

HEADERS = _words(
    """
    accept accept-encoding accept-language accept-ranges access-control-allow-origin age allow alt-svc cache-control
    cf-cache-status cf-ray connection content-disposition content-encoding content-language content-length
    content-security-policy content-type cookie cross-origin-opener-policy date etag expect expires feature-policy host
    keep-alive last-modified link location mime-version nel origin p3p permissions-policy pragma proxy-authenticate
    proxy-connection redcap-random-text referrer-policy refresh report-to retry-after server set-cookie
    strict-transport-security te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate
    x-aspnet-version x-cache x-content-type-options x-frame-options x-forwarded-for x-iinfo x-powered-by x-request-id
    x-ua-compatible x-xss-protection
    """
)
MEDIA = _words(
    """
    text/html text/plain text/csv text/xml application/json application/xml application/octet-stream application/pdf
    application/zip application/dicom application/msword application/problem+json application/x-www-form-urlencoded
    multipart/form-data image/jpeg image/png image/tiff video/mp4 audio/mpeg
    """
)
CHARSETS = frozenset({"utf-8", "iso-8859-1", "windows-1252", "us-ascii", "none"})
SERVERS = frozenset(
    {"apache", "nginx", "microsoft-iis", "cloudflare", "haproxy", "envoy", "litespeed", "bigip", "awselb", "caddy"}
)
CODINGS = frozenset({"gzip", "deflate", "br", "zstd", "identity", "chunked"})
EXTENSIONS = _words("pdf jpg jpeg png tif tiff dcm zip csv txt doc docx xls xlsx xml json mp4 none")
PROTOCOLS = frozenset({"HTTP/1.0", "HTTP/1.1"})

#: Names in REDCap's own answers.
COLUMNS = frozenset(
    {
        *METADATA_COLUMNS,
        *MATCHED,
        *_words(
            """
        error success message count id redcap_event_name redcap_repeat_instrument redcap_repeat_instance
        redcap_data_access_group redcap_survey_identifier record_id field_name value project_id project_title creation_time
        production_time in_production project_language purpose purpose_other project_notes custom_record_label
        secondary_unique_field is_longitudinal has_repeating_instruments_or_events surveys_enabled scheduling_enabled
        record_autonumbering_enabled randomization_enabled ddp_enabled project_irb_number project_grant_number
        project_pi_firstname project_pi_lastname project_pi_email display_today_now_button missing_data_codes external_modules
        bypass_branching_erase_field_prompt instrument_name instrument_label event_name arm_num arm_name unique_event_name
        custom_event_label event_id form form_name custom_form_label day_offset offset_min offset_max name username email
        firstname lastname expiration data_access_group data_access_group_id data_access_group_name unique_group_name design
        alerts user_rights data_access_groups reports stats_and_charts manage_survey_participants calendar data_import_tool
        data_comparison_tool logging email_logging file_repository data_quality_create data_quality_execute api_export
        api_import api_modules mobile_app mobile_app_download_data record_create record_rename record_delete
        lock_records_all_forms lock_records lock_records_customization forms forms_export data_export timestamp details
        original_field_name choice_value export_field_name folder_id doc_id status path mycap_participants
        """
        ),
    }
)
TAGS = _words(
    """
    html head title meta body script style link form input button iframe img table div span p h1 h2 h3 center br hash error
    item items records events arms users dags fields instruments ids count xml
    """
)

_COMMON = """
an the this that these those it its is are was were been being has have had do does did done not no none nor and or but if then
else than as at by for from in into of off on onto out over to under until up with within without your you our we us he they
their there here when where which while who why how what any all some each every other another more most less least one two
first last next new old only also already again still yet now never always both either same such too very can cannot could
may might must shall should will would please thank sorry
"""
_REDCAP = """
redcap api token tokens super project projects user users username account rights right privilege privileges permission
permissions permitted role roles group groups access export import update delete create edit read write view upload uploaded
uploading download file files document documents field fields form forms instrument instruments event events arm arms
repeating repeat repeated instance instances record records name named names data dictionary metadata codes code coded
value values valid invalid parameter parameters method implemented content format type types array string number integer
text json csv xml odm flat eav checkbox signature survey surveys longitudinal classic designated mapping mappings repository
folder log logging report reports status production development analysis cleanup completed inactive archived deleted moved
locked unlock exist exists existing found missing required provided contain contains empty blank larger large size maximum
minimum limit limits exceed exceeds exceeded exceeding allowed blocked extension extensions successfully success successful
failed failure fail unable insufficient restricted incorrect correct correctly formatted specified unknown expired suspended
disabled enabled active inactive identifier identifiers changed changes unique version
"""
_SERVERS = """
error errors errno warning notice fatal exception occurred occur happen happened internal server servers service temporarily
unavailable maintenance offline online down crashed unexpected php mysql database connect connection connected connecting
hostname host password combination credentials log login logged logon sign single session timeout timed gateway proxy request
requests requested response entity too many rate limit limited limiting blocked ban banned address addresses ip abuse
suspected security firewall application support reference incident forbidden denied unauthorized authorized authorization
authentication required method moved permanently temporarily redirect page pages site website web browser tabs multiple
opened multipart post content-length bytes exceeds try later again contact administrator administrators system undergoing
scheduled upgrade upgrading upgraded back soon shortly minutes hours available message messages help processing process
memory exhausted execution time seconds disk space full
"""
_ELSEWHERE = """
nicht keine kein rechte recht datei feld projekt fehler benutzer zugriff verweigert wartung anmelden passwort
pas droits fichier champ projet erreur utilisateur connexion acceso archivo campo proyecto usuario permiso
"""
_MESSAGES = " ".join(re.sub(r"\{[^}]*\}|<[^>]*>", " ", wording.text) for wording in WORDING.values() if not wording.invented)


def _harmless(word: str) -> bool:
    return re.fullmatch(r"[a-z][a-z-]+", word, re.ASCII) is not None and re.search(r"[^a-f]", word) is not None


#: Words of messages and pages, in lower case.
WORDS = frozenset(
    word
    for text in (_COMMON, _REDCAP, _SERVERS, _ELSEWHERE, _MESSAGES.lower())
    for word in re.findall(r"[a-z-]+", text)
    if _harmless(word)
)
#: Those of them that begin with a capital letter in messages; another one that does may be somebody's name.
CAPITALISED = _words(
    """
    The This That There These You Your An It Is No Not Please One To If In We Our Sorry Error Warning Notice Fatal Invalid
    Unknown Missing Insufficient Unable Forbidden Denied Access Unauthorized Not Found Bad Request Requests Too Many Internal
    Server Service Temporarily Unavailable Gateway Timeout Moved Permanently Entity Method Allowed Data Group Groups Delete
    Record Import Update Export Create Project Design User Rights Logging File Repository Name Login Log Maintenance System
    Security Support Reference Redirect Length Content-Length Post Application Proxy Authentication Required REDCap API PHP IP
    DAG JSON CSV XML ODM POST GET URL EAV MySQL Single Sign On
    """
)


#: What a report is made of, beside what is known of HTTP and REDCap.
_OWN = """
n after asked answered failed method content action parameters others other_parameters other_headers
format return_format type headers body framing file
length extension place path query status seconds protocol media charset names_a_file server retry_after location shape decoded
complete coding same_as_sent kind form words unread columns rows tags names then password numbers bom own_header sent
api other multipart urlencoded none chunked close same-host other-host relative plain-http
empty blank version error object text broken page binary csv json xml null true false flag flag-text number digits list
document unread name refused certificate proxy tls timed-out reset cut no-http unreachable client-gone
"""
ALLOWED = frozenset(_OWN.split()) | METHODS | PARAMETERS | CONTENTS | CHOICES | HEADERS | MEDIA | CHARSETS | SERVERS | CODINGS
ALLOWED |= EXTENSIONS | PROTOCOLS | COLUMNS | TAGS | WORDS | {UNKNOWN}

#: So many words of a message or page are told.
MOST_WORDS = 60
#: A word with what may stand within one. Underscores and digits belong to names.
_WORD = re.compile(r"[\w-]+")
_VERSION = re.compile(r"\s*([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{1,2})\s*", re.ASCII)
_HTML = re.compile(r"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|br|b|p|h1|title)\b", re.IGNORECASE | re.DOTALL)
_ERROR = re.compile(r"\s*ERROR:", re.ASCII)

Shape = dict[str, Any]


def shape_of(body: bytes, asked: str, form: str, hidden: Collection[str]) -> Shape:
    """The shape of a reply to `content=asked` in the format `form`. `hidden`: words of the request's own values, not told.

    What stands in an error, a page or a text is told by its known words alone; of data only of what kind it is.
    """
    bom = body.startswith(b"\xef\xbb\xbf")
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    found = _shape(text, asked, form, frozenset(word.lower() for word in hidden))
    return {"bom": True, **found} if bom else found


def _shape(text: str, asked: str, form: str, hidden: frozenset[str]) -> Shape:
    if not text.strip():
        return {"kind": "blank" if text else "empty"}
    if asked == "version" and (numbers := _VERSION.fullmatch(text)):
        return {"kind": "version", "numbers": [int(number) for number in numbers.groups()]}
    if text.lstrip()[0] in "{[":
        return _json(text, hidden)
    if _HTML.match(text):
        return _page(text, form, hidden)
    if text.lstrip().startswith("<"):
        return _xml(text, hidden)
    if _ERROR.match(text):
        return {"kind": "error", "form": "csv", "words": known_words(text.partition(":")[2], hidden)}
    if form == "csv":
        return _csv(text)
    return {"kind": "text", "words": known_words(text, hidden)}


def known_words(text: str, hidden: Collection[str]) -> str:
    """The known words of a text in lower case, in their order, with `…` for one or more others."""
    told: list[str] = []
    for found in _WORD.finditer(text):
        word = found[0].strip("-")
        known = word.lower() in WORDS and word.lower() not in hidden and (word.islower() or word in CAPITALISED)
        if known or told[-1:] != [UNKNOWN]:
            told.append(word.lower() if known else UNKNOWN)
        if len(told) > MOST_WORDS:
            break
    return " ".join(told[:MOST_WORDS])


def _json(text: str, hidden: frozenset[str]) -> Shape:
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return {"kind": "broken", "form": "json"}
    if isinstance(value, dict) and isinstance(value.get("error"), str):
        return {"kind": "error", "form": "json", "words": known_words(value["error"], hidden), "columns": _columns([value])}
    if isinstance(value, dict):
        shape: Shape = {"kind": "object", "form": "json", "columns": _columns([value])}
        if isinstance(value.get("message"), str):
            shape["words"] = known_words(value["message"], hidden)
        return shape
    rows = [row for row in value if isinstance(row, dict)]
    return {"kind": "rows", "form": "json", "rows": len(value), "others": len(value) - len(rows), "columns": _columns(rows)}


def _columns(rows: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """The kinds of value under each name of REDCap's own; all other names together, as `…`."""
    kinds: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            kinds.setdefault(name if name in COLUMNS else UNKNOWN, set()).add(_kind(value))
    return {name: sorted(found) for name, found in kinds.items()}


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return "flag" if value in (0, 1) else "number"
    if isinstance(value, str):
        if value in ("", "0", "1", "[document]"):
            return {"": "blank", "[document]": "document"}.get(value, "flag-text")
        return "digits" if re.fullmatch(r"[0-9]+", value, re.ASCII) else "text"
    return "list" if isinstance(value, list) else "object"


def _xml(text: str, hidden: frozenset[str]) -> Shape:
    try:
        root = ElementTree.fromstring(text.strip().encode())
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return {"kind": "broken", "form": "xml"}
    names = sorted({element.tag if element.tag in TAGS | COLUMNS else UNKNOWN for element in root.iter()})
    error = root.find("error") if root.tag != "error" else root
    if error is not None:
        return {"kind": "error", "form": "xml", "words": known_words("".join(error.itertext()), hidden), "tags": names}
    return {"kind": "rows", "form": "xml", "rows": len(root), "tags": names}


def _csv(text: str) -> Shape:
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return {"kind": "broken", "form": "csv"}
    names = [name if name in COLUMNS else UNKNOWN for name in rows[0]]
    return {"kind": "rows", "form": "csv", "rows": len(rows) - 1, "names": list(dict.fromkeys(names))}


def _page(text: str, form: str, hidden: frozenset[str]) -> Shape:
    """A page, or a warning before something else: data, perhaps, of which no word is told."""
    text = re.sub(r"(?is)<(script|style)\b.*?(?:</\1\s*>|$)", r" <\1> ", text)
    if form == "csv" and not text.rstrip().lower().endswith("</html>"):
        return {"kind": "page", "then": {"kind": "unread"}}
    begins = [found.start() for found in re.finditer(r'<\?xml|[{\[]\s*["{]', text)]
    page, rest = (text[: begins[0]], text[begins[0] :]) if begins else (text, "")
    visible = html.unescape(re.sub(r"<[^>]*>", " ", page))
    tags = {name.lower() for name in re.findall(r"<([A-Za-z][A-Za-z0-9]{0,9})\b", page)}
    shape: Shape = {"kind": "page", "tags": sorted(tags & TAGS), "words": known_words(visible, hidden)}
    if re.search(r"(?i)<input[^>]{0,300}type\s*=\s*[\"']?password", page):
        shape["password"] = True
    if rest:
        shape["then"] = _shape(rest, "", form, hidden)
    return shape


def gate(value: Any) -> Any:
    """What may be written of a value: numbers, yes and no, and texts by their known words. Everything else is `…`."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return " ".join(word if word in ALLOWED else UNKNOWN for word in value.split(" ")) if value else value
    if isinstance(value, Mapping):
        return {gate(str(name)): gate(inner) for name, inner in value.items()}
    return [gate(inner) for inner in value]
