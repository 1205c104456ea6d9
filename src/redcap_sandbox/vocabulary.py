"""The words of a reply that may be told. Nothing else of what was asked and answered is: see `shape.gate`.

Numbers are never among them, nor single letters and words of a-f alone: no token can be put together from these words.
"""

from __future__ import annotations

import re

from redcap_sandbox.fault import MATCHED
from redcap_sandbox.formats import FORMATS
from redcap_sandbox.structure import METADATA_COLUMNS
from redcap_sandbox.wording import WORDING

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
#: Parameters of the protocol; every other one may hold something that is nobody's business.
PROTOCOL = frozenset({"content", "action", "format", "returnFormat", "type", "returnContent"})

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
        project_pi_firstname project_pi_lastname display_today_now_button missing_data_codes external_modules
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
