"""Replies and what they prove: tables of what servers were seen to say, and properties that hold for whatever they say."""

from __future__ import annotations

import html
import json
import time
import unicodedata
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from dropcap.redcap.parsing import error_text, file_name, page_text, retry_after, says_success
from dropcap.redcap.reply import Meaning, Verdict, no_reply, read_reply
from dropcap.secret import Token

HTML = {"Content-Type": "text/html; charset=utf-8"}
FILE = {"Content-Type": 'application/pdf; name="a.pdf"'}


def judged(status: int, body: str | bytes, headers: dict[str, str] | None = None, **more: Any) -> Meaning:
    settings: dict[str, Any] = {"for_": "import", "body_complete": True} | more
    data = body if isinstance(body, bytes) else body.encode()
    return read_reply(status, CaseInsensitiveDict(headers or {}), data, **settings)


@pytest.mark.parametrize(
    ("message", "verdict", "reason"),
    [
        # Wordings that public clients' tests and threads quote.
        ("You do not have permissions to use the API", Verdict.PROJECT, "token"),
        ("The field 'mugshotttttt' does not exist or is not a 'file' field", Verdict.REFUSED, "not_a_file_field"),
        (
            '"1","f","4","This field (\'f\') exists on an instrument that is not designated for the event named \'e\'. '
            'You are not allowed to import data for this field into this event."',
            Verdict.REFUSED,
            "not_designated",
        ),
        (
            "This field ('f') exists on a Repeating Instrument named 'fall'. However, the fields 'redcap_repeat_instance' "
            "and/or 'redcap_repeat_instrument' for this row of data have no value, which are both required",
            Verdict.REFUSED,
            "needs_instance",
        ),
        (
            "redcap_repeat_instance cannot have a value since this instrument or event is not a repeating instrument",
            Verdict.REFUSED,
            "not_repeating",
        ),
        ("The following values in the parameter \"fields\" are not valid: 'x'", Verdict.REFUSED, "no_field"),
        ("Your user privileges do NOT allow you to create new records.", Verdict.REFUSED, "rights"),
        ("The following values of redcap_event_name are invalid: 'v9_arm_1'", Verdict.REFUSED, "no_event"),
        # Wordings that they may have.
        ("Invalid token", Verdict.PROJECT, "token"),
        ("The API token is missing", Verdict.PROJECT, "token"),
        ("You do not have API Import/Update privileges", Verdict.PROJECT, "rights"),
        ("The project is currently offline", Verdict.PROJECT, "project_offline"),
        ("The record '17' does not exist", Verdict.REFUSED, "no_record"),
        ("Record 17 was not found in this project", Verdict.REFUSED, "no_record"),
        ("The event 'v9_arm_1' is not valid", Verdict.REFUSED, "no_event"),
        ("Invalid event", Verdict.REFUSED, "no_event"),
        ("The field 'x' does not exist", Verdict.REFUSED, "no_field"),
        ("The field 'x' is a signature field and cannot be imported", Verdict.REFUSED, "signature_field"),
        ("Files with the extension .exe are not allowed", Verdict.REFUSED, "blocked_extension"),
        ("The file exceeds the maximum upload size of 128 MB", Verdict.REFUSED, "too_large"),
        ("REDCap is currently offline", Verdict.SERVER, "maintenance"),
        ("The system is undergoing maintenance", Verdict.SERVER, "maintenance"),
        ("You have exceeded 600 requests per minute", Verdict.RATE_LIMITED, "rate_limited"),
        ("Your IP address (192.0.2.1) has been banned due to suspected abuse", Verdict.BANNED, "banned"),
        ("Der Datensatz ist gesperrt", Verdict.REFUSED, "refused"),
        ("File-upload fields are disabled on this system", Verdict.PROJECT, "refused"),
    ],
)
def test_redcaps_words(message: str, verdict: Verdict, reason: str) -> None:
    quoted = message.replace("\\", "\\\\").replace('"', '\\"')
    escaped = message.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&#039;")
    for body in (
        f'{{"error":"{quoted}"}}',
        f'<?xml version="1.0" encoding="UTF-8" ?><hash><error>{escaped}</error></hash>',
        f"<hash>\n<error><![CDATA[{message}]]></error>\n</hash>",
        f"ERROR: {message}",
    ):
        meaning = judged(400, body)
        assert (meaning.verdict, meaning.reason) == (verdict, reason), body
        assert message[:40] in meaning.message
        assert meaning.remedy
        assert not meaning.outcome_unknown


@pytest.mark.parametrize(
    "message",
    [
        "This record has been locked at the record level. No value within this record can be modified.",
        "This field is located on a form that is locked. You must first unlock this form for this record.",
    ],
)
def test_a_lock_is_the_files_own_trouble_and_has_a_remedy(message: str) -> None:
    meaning = judged(400, json.dumps({"error": message}))
    assert (meaning.verdict, meaning.reason, meaning.alike) == (Verdict.REFUSED, "refused", "")
    assert meaning.remedy == "unlock the form or record in REDCap, then `dropcap retry JOB`"


@pytest.mark.parametrize("for_", ["json", "export", "import"])
def test_a_page_that_grants_no_access_is_no_answer_of_the_api(for_: str) -> None:
    meaning = judged(200, "<html><body>Access was not granted</body></html>", HTML, for_=for_)
    if for_ == "import":
        assert (meaning.verdict, meaning.outcome_unknown) == (Verdict.NOT_THE_API, True)
    else:
        assert (meaning.verdict, meaning.reason, meaning.of_rights) == (Verdict.PROJECT, "rights", False)


def test_an_export_that_redcap_gives_up_is_the_servers_trouble() -> None:
    said = json.dumps({"error": "We are sorry, but apparently the data export is not able to complete successfully."})
    meaning = judged(400, said, for_="json")
    assert (meaning.verdict, meaning.reason, meaning.worded) == (Verdict.SERVER, "server_error", True)


@pytest.mark.parametrize(
    ("status", "body", "headers", "more", "verdict", "reason", "unknown"),
    [
        (200, "", {}, {}, Verdict.ACCEPTED, "", False),
        (201, " \r\n", HTML, {}, Verdict.ACCEPTED, "", False),
        (200, "", {}, {"body_complete": False}, Verdict.UNKNOWN, "server_error", True),
        (202, "", {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (204, "", {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, "OK", {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"success": true, "message": "File uploaded successfully"}', {}, {}, Verdict.ACCEPTED, "", False),
        (201, '\ufeff{"success":true}\n', HTML, {}, Verdict.ACCEPTED, "", False),
        (200, '{"success": true', {}, {"body_complete": False}, Verdict.UNKNOWN, "server_error", True),
        (200, '{"success": true}', {}, {"body_complete": False}, Verdict.UNKNOWN, "server_error", True),
        (202, '{"success": true}', {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"success": false, "message": "nothing"}', {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"success": false, "error": "x"}', {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"success": true, "error": "x"}', {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"success": true, "error": null}', {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"success": false, "success": true}', {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"success": 1}', {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"success": "true"}', {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"message": "File uploaded successfully"}', {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, "File uploaded successfully", {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '[{"success": true}]', {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"success": true}', {}, {"for_": "export"}, Verdict.NOT_THE_API, "not_the_api", False),
        (400, '{"success": true}', {}, {}, Verdict.NOT_THE_API, "not_the_api", False),
        (200, "[]", {}, {}, Verdict.UNKNOWN, "not_confirmed", True),
        (200, '{"error":"Invalid event"}', {}, {}, Verdict.REFUSED, "no_event", False),
        (200, '{"error":"Inval', {}, {"body_complete": False}, Verdict.UNKNOWN, "server_error", True),
        (200, "<html>Log in", HTML, {}, Verdict.NOT_THE_API, "not_the_api", True),
        (200, "<p>down for maintenance</p>", HTML, {}, Verdict.NOT_THE_API, "maintenance", True),
        (400, '{"error":"Inval', {}, {"body_complete": False}, Verdict.UNKNOWN, "server_error", True),
        (400, "<html>400 Bad Request", HTML, {}, Verdict.NOT_THE_API, "not_the_api", False),
        (400, "", {}, {}, Verdict.NOT_THE_API, "not_the_api", False),
        (400, "Invalid event", {}, {}, Verdict.REFUSED, "no_event", False),
        (401, '{"error":"no"}', {}, {}, Verdict.PROJECT, "token", False),
        (403, '{"error":"no"}', {}, {}, Verdict.PROJECT, "rights", False),
        (403, "<html>Forbidden", HTML, {}, Verdict.NOT_THE_API, "not_the_api", False),
        (403, "<html>Your IP address has been banned", HTML, {}, Verdict.BANNED, "banned", False),
        (200, "<html>Your IP address has been banned", HTML, {}, Verdict.BANNED, "banned", False),
        (404, "", {}, {}, Verdict.NOT_THE_API, "not_the_api", False),
        (408, "", {}, {}, Verdict.UNKNOWN, "unreachable", True),
        (408, "", {}, {"request_complete": False}, Verdict.SERVER, "unreachable", False),
        (413, "", {}, {"body_complete": False}, Verdict.REFUSED, "too_large", False),
        (413, "", {}, {"for_": "export"}, Verdict.SERVER, "server_error", False),
        (429, "", {"Retry-After": "9"}, {}, Verdict.RATE_LIMITED, "rate_limited", False),
        (301, "", {"Location": "/x"}, {}, Verdict.NOT_THE_API, "not_the_api", False),
        (500, '{"error":"x"}', {}, {}, Verdict.UNKNOWN, "server_error", True),
        (500, "", {}, {"request_complete": False}, Verdict.UNKNOWN, "server_error", True),
        (502, "", {}, {}, Verdict.UNKNOWN, "server_error", True),
        (502, "", {}, {"request_complete": False}, Verdict.SERVER, "server_error", False),
        (503, "", {}, {"for_": "json"}, Verdict.SERVER, "maintenance", False),
        (200, "%PDF", FILE, {"for_": "export"}, Verdict.ACCEPTED, "", False),
        (200, "<html>", {"Content-Type": 'text/html; name="a.html"'}, {"for_": "export"}, Verdict.ACCEPTED, "", False),
        (200, "%PDF", {"Content-Type": "application/pdf"}, {"for_": "export"}, Verdict.NOT_THE_API, "not_the_api", False),
        (200, "<html>", HTML, {"for_": "export"}, Verdict.NOT_THE_API, "not_the_api", False),
        (
            400,
            '{"error":"There is no file to download for this record"}',
            {},
            {"for_": "export"},
            Verdict.REFUSED,
            "no_file",
            False,
        ),
        (200, "<html>", HTML, {"for_": "json"}, Verdict.NOT_THE_API, "not_the_api", False),
        (200, "[", {}, {"for_": "json", "body_complete": False}, Verdict.SERVER, "server_error", False),
        # Data that speaks of a ban is data.
        (200, '[{"note":"IP address was banned"}]', {}, {"for_": "json"}, Verdict.ACCEPTED, "", False),
    ],
)
def test_what_replies_prove(
    status: int, body: str, headers: dict[str, str], more: dict[str, Any], verdict: Verdict, reason: str, unknown: bool
) -> None:
    meaning = judged(status, body, headers, **more)
    assert (meaning.verdict, meaning.reason, meaning.outcome_unknown) == (verdict, reason, unknown)


@pytest.mark.parametrize("status", [408, 425])
@pytest.mark.parametrize(
    "body", ["", "<html>Too early", '{"error":"Invalid record"}', "<hash><error>You lack privileges</error></hash>"]
)
def test_who_says_that_it_did_not_arrive_is_not_redcap(status: int, body: str) -> None:
    meaning = judged(status, body, {"Retry-After": "70"})
    assert (meaning.verdict, meaning.reason, meaning.outcome_unknown) == (Verdict.UNKNOWN, "unreachable", True)
    assert meaning.retry_after == 70
    half = judged(status, body, request_complete=False)
    assert (half.verdict, half.outcome_unknown) == (Verdict.SERVER, False)
    assert judged(status, body, for_="export").verdict is Verdict.SERVER


@pytest.mark.parametrize("status", [405, 407, 411])
@pytest.mark.parametrize("body", ["", "<html>No", '{"error":"Invalid record"}', "You lack privileges to the API import"])
def test_what_redcap_never_answers_is_not_its_refusal(status: int, body: str) -> None:
    assert judged(status, body).verdict is Verdict.NOT_THE_API


_ANY_BODY = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(max_size=80).map(lambda text: b'{"error":"' + text.encode("utf-8", "surrogatepass") + b'"}'),
)


@given(
    st.integers(100, 599),
    _ANY_BODY,
    st.sampled_from(["import", "export", "json"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "text/html", 'a/b; name="x"', "application/json"]),
)
@example(200, b'{"a":' * 10_000, "json", True, True, "")
@example(400, b'{"error":' * 10_000, "import", True, True, "")
@example(200, b'{"error": ' + b"9" * 5000 + b"}", "import", True, True, "")
@example(200, b"", "export", True, True, '\u00ff; name="' + "\\" * 500)
def test_whatever_a_server_says(status: int, body: bytes, for_: str, whole: bool, sent: bool, kind: str) -> None:
    meaning = judged(status, body, {"Content-Type": kind}, for_=for_, body_complete=whole, request_complete=sent)
    assert len(meaning.message) <= 500
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in meaning.message)
    if meaning.verdict is Verdict.ACCEPTED:
        assert status in (200, 201)
        assert whole
        if for_ == "import" and says_success(body.decode("utf-8", "replace").strip()) is not True:
            assert not body.decode("utf-8", "replace").strip().strip("\ufeff")
    else:
        assert meaning.reason
        assert meaning.message
        assert meaning.remedy
    if meaning.verdict is Verdict.UNKNOWN:
        assert for_ == "import"
        assert meaning.outcome_unknown
    if for_ != "import":
        assert not meaning.outcome_unknown


def test_a_token_that_is_echoed_is_struck_out_wherever_it_is() -> None:
    secret = "5EC2E7" * 5 + "00"
    Token(secret)
    for status, body, headers in (
        (400, json.dumps({"error": secret}), {}),
        (302, "", {"Location": f"/?{secret}"}),
        (200, secret, {}),
        (500, f"<html>{secret}", HTML),
    ):
        message = judged(status, body, headers).message
        assert secret not in message
        assert "[token]" in message


def test_without_a_reply_only_an_import_that_began_is_unknown() -> None:
    for for_, began, verdict in (
        ("import", True, Verdict.UNKNOWN),
        ("import", False, Verdict.SERVER),
        ("export", True, Verdict.SERVER),
    ):
        meaning = no_reply(for_=for_, request_began=began, reason="unreachable", message="x\u202e\n")  # type: ignore[arg-type]
        assert (meaning.verdict, meaning.outcome_unknown) == (verdict, verdict is Verdict.UNKNOWN)
        assert meaning.message == "x\\u202e"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ('application/pdf; name="a.pdf"', "a.pdf"),
        ('application/pdf; name="a.pdf"; charset=UTF-8', "a.pdf"),
        ("application/pdf; NAME=a.pdf; charset=UTF-8", "a.pdf"),
        ('application/pdf; name="a \\"b\\".pdf"', 'a "b".pdf'),
        ('application/pdf; name=""', ""),
        ('application/pdf; name="Ü.pdf"'.encode().decode("latin-1"), "Ü.pdf"),
        ('application/pdf; filename="a.pdf"', None),
        ("text/html; charset=utf-8", None),
        ("", None),
    ],
)
def test_the_name_of_an_exported_file(value: str, name: str | None) -> None:
    assert file_name({"Content-Type": value}) == name


@pytest.mark.parametrize(
    ("kind", "disposition", "name"),
    [
        ("application/pdf", 'attachment; filename="a.pdf"', "a.pdf"),
        ("application/pdf", "attachment; FileName=a.pdf", "a.pdf"),
        ("application/pdf", 'attachment; filename="Ü.pdf"'.encode().decode("latin-1"), "Ü.pdf"),
        ('application/pdf; name="a.pdf"', 'attachment; filename="b.pdf"', "a.pdf"),
        ("application/pdf", "attachment", None),
        ("application/pdf", "inline; name=a.pdf", None),
    ],
)
def test_a_file_that_only_its_disposition_names(kind: str, disposition: str, name: str | None) -> None:
    headers = {"Content-Type": kind, "Content-Disposition": disposition}
    assert file_name(headers) == name
    assert (judged(200, "%PDF", headers, for_="export").verdict is Verdict.ACCEPTED) == (name is not None)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("-5", None),
        ("soon", None),
        ("\u00b2", None),
        ("Wed, 32 Foo 99999 99:99:99 GMT", None),
        ("", None),
        ("9" * 400, 999999999.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}, now=1000.0) == seconds


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"a":1}', "<hash></hash>", "error", "null", '{"error"'])
def test_what_is_no_error_of_redcaps(body: str) -> None:
    assert error_text(body) is None


NAMES = [
    "my ip address is banned",
    "banned ip address",
    "too many requests",
    "You exceeded 900 requests per minute",
    "rate limit",
    "invalid token",
    "project was deleted",
    "offline for maintenance",
    "api import rights",
    "no file exists",
    "system is offline/ÜBER \"quotes\" & 'such' <b>things</b>",
    "suspected\u00a0abuse\tÄ",
]


def _shapes(name: str) -> dict[str, tuple[str, dict[str, str]]]:
    quoted = f'Fall "{name}" kzt'
    page = f"<html><body>Fall {html.escape(name)} kzt</body></html>"
    return {
        "json": (json.dumps({"error": quoted}), {}),
        "json, escaped as PHP does": (json.dumps({"error": quoted}).replace("/", "\\/"), {}),
        "json in raw letters": (json.dumps({"error": quoted.upper()}, ensure_ascii=False), {}),
        "xml": (f"<hash><error>{html.escape(quoted)}</error></hash>", {}),
        "csv": (f"ERROR: {quoted}", {}),
        "entities within json": (json.dumps({"error": html.escape(quoted)}), {}),
        "slashes before quotes": (json.dumps({"error": "Fall " + name.replace('"', '\\"').replace("'", "\\'")}), {}),
        "a url": (json.dumps({"error": "nicht da: /x?record=" + quote_plus(name)}), {}),
        "decomposed": (json.dumps({"error": unicodedata.normalize("NFD", quoted)}), {}),
        "a page": (page, HTML),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", list(_shapes("")))
def test_what_was_asked_is_no_wording(name: str, shape: str) -> None:
    """A name that is repeated means what any other name would mean."""
    body, headers = _shapes(name)[shape]
    plain, _ = _shapes("P-17")[shape]
    for status in (200, 400, 403, 500):
        for for_ in ("import", "export", "json"):
            for value in (name, f"  {name} "):
                meaning = judged(status, body, headers, for_=for_, asked_with=[value, "field", "", "1"])
                expected = judged(status, plain, headers, for_=for_, asked_with=["P-17"])
                assert (meaning.verdict, meaning.reason) == (expected.verdict, expected.reason), (status, for_)


@pytest.mark.parametrize(
    ("said", "values", "reason"),
    [
        ("Your IP address was banned", ["banned"], "refused"),  # vaguer, and a probe decides
        ("Your IP address was banned", ["ban", "ip", "address wa"], "banned"),  # no whole words, or too short
        ("Record 'no' does not exist", ["no"], "no_record"),
        ("The project is offline", ["a project is offline and more"], "project_offline"),
    ],
)
def test_only_whole_values_are_blanked_out(said: str, values: list[str], reason: str) -> None:
    assert judged(400, json.dumps({"error": said}), asked_with=values).reason == reason


@pytest.mark.parametrize("title", ["400 No required SSL certificate was sent", "400 The SSL certificate error"])
@pytest.mark.parametrize("for_", ["import", "export", "json"])
def test_a_web_server_that_wants_to_see_a_certificate(title: str, for_: str) -> None:
    """nginx takes the connection, and says so in a page only then."""
    meaning = judged(400, f"<html><head><title>{title}</title></head><body>{title}<hr>nginx</body></html>", HTML, for_=for_)
    assert (meaning.verdict, meaning.reason, meaning.outcome_unknown) == (Verdict.NOT_THE_API, "certificate", False)
    assert "client_cert_file" in meaning.remedy


@pytest.mark.parametrize(
    "unit", ["<script ", "<style><script ", "<", "<!--", "</title ", "<?xml ", "exceed", "token ", "&#x", "\\u{", "ﷺ"]
)
def test_no_reply_takes_long_to_read(unit: str) -> None:
    """By the time that this thread works: once 2 s for the first ones, and 2 minutes for one."""
    for before, after in (("<html>", ""), ('{"error": "', '"}')):
        body = (before + unit * (65536 // len(unit)))[:65000] + after
        began = time.thread_time()
        judged(400, body, HTML)
        assert time.thread_time() - began < 1.0


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("<title>Ban</title ><SCRIPT>if (a<b) x()</script\n><p>You", "Ban: You"),
        ("a<style>b</style>c<script>d<style>e</script>f</style>g", "a c f g"),
        ("<script>a", "a"),
        ("<script>a<style>b</style>c", "a c"),
        ("a < b", "a < b"),
        ("a<b>c<d", "a c<d"),
    ],
)
def test_what_is_read_of_a_page(page: str, told: str) -> None:
    assert " ".join(page_text(page).split()) == told
