"""What is told of a reply when nothing of anybody's may be: known words, kinds of values, counts."""

from __future__ import annotations

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from redcap_sandbox.shape import ALLOWED, gate, known_words, shape_of

TOKEN = "CAFEF00DBEEFD00D5EED4B1DDECAFBAD"


def test_words_of_the_request_are_not_told_even_if_they_are_known() -> None:
    message = "The file of the record page young does not exist"
    assert known_words(message, ()) == "the file of the record page … does not exist"
    assert known_words(message, {"page", "file"}) == "the … of the record … does not exist"
    assert known_words("Will Page may not upload", ()) == "… may not upload"  # capital letters: perhaps a person
    told = shape_of(b'{"error": "the record page is locked"}', "file", "json", {"page"})
    assert told["words"] == "the record … is locked"


def test_values_of_data_are_told_by_their_kind_alone() -> None:
    rows = [{"record_id": "007", "redcap_event_name": "deleted", "sex": "1", "scan": "[document]", "note": "unknown"}]
    told = json.dumps(shape_of(json.dumps(rows).encode(), "record", "json", ()))
    assert not re.search("deleted|unknown|007|sex|note", told)
    assert json.loads(told)["columns"] == {
        "record_id": ["digits"],
        "redcap_event_name": ["text"],
        "…": ["document", "flag-text", "text"],
    }
    for form, text in (("csv", "note\nunknown\ndeleted\n"), ("csv", "<br />\n<b>Warning</b>: no file<br />\nnote\ndeleted\n")):
        told = json.dumps(shape_of(text.encode(), "record", form, ()))
        assert not re.search("deleted|unknown|note", told)
    assert shape_of(b"14.5.5", "version", "json", ()) == {"kind": "version", "numbers": [14, 5, 5]}
    assert "numbers" not in shape_of(b"14.5.5", "record", "json", ())


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=80)
    | st.text(st.sampled_from("<>{}[]\"':,;&# \nab0!/=?-") | st.characters(codec="utf-8"), max_size=80).map(str.encode),
    st.sampled_from(["record", "file", "version", ""]),
    st.sampled_from(["json", "csv", "xml"]),
    st.sampled_from([b"", b"<html>", b"[{", b'{"error": "', b"<?xml version='1.0'?><hash>", b"ERROR: ", b"\xef\xbb\xbf"]),
)
def test_whatever_comes_has_a_shape(body: bytes, asked: str, form: str, before: bytes) -> None:
    assert shape_of(before + body, asked, form, {"file"})["kind"] or body


def test_the_gate_lets_nothing_else_pass() -> None:
    assert gate({"asked": {"method": "POST"}, TOKEN: [TOKEN, {"Zaphod": 1}], "words": "the file Zaphod is", "body": 3}) == {
        "asked": {"method": "POST"},
        "…": ["…", {"…": 1}],
        "words": "the file … is",
        "body": 3,
    }
    assert [word for word in ALLOWED if re.fullmatch(r"[0-9a-fA-F]+", word)] == []
