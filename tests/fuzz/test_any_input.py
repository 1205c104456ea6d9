"""Whatever a person, a server or an export writes: an answer in words, never a crash. DROPCAP_HEAVY=1 tries far more."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dropcap.config.load import load
from dropcap.redcap import client as answers
from dropcap.redcap.request import FileBody, safe_name
from dropcap.routing.pattern import PatternError, compile_pattern, compile_regex
from dropcap.routing.route import Route, nearest, route
from redcap_sandbox import from_dictionary, from_xml
from redcap_sandbox.multipart import Limits, parse_body
from redcap_sandbox.structure import Upload
from tests.heavy import HEAVY
from tests.redcap_sandbox.test_projects import XML

MANY = 5000 if HEAVY else 40
tried = settings(max_examples=MANY, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

EXAMPLE = yaml.safe_load((Path(__file__).parents[2] / "config.example.yaml").read_text())
#: Names as file systems have them: any bytes but NUL, as Python shows them.
NAMES = st.binary(min_size=1, max_size=120).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"0")))
PATTERNS = st.text(st.sampled_from("{}[]|:()*?\\/_.-abz019 \u00e9\u0301") | st.characters(), max_size=60)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=6
)


@tried
@given(PATTERNS, NAMES, st.booleans())
@example("{a}" * 30 + "x", "y" * 255, False)
@example("[[[[[[[[{a}]]]]]]]]", "a", True)
@example("[" * 400 + "{a}" + "]" * 400, "a", True)
def test_patterns(text: str, name: str, case_sensitive: bool) -> None:
    for compiled in (lambda: compile_pattern(text, {"visits": {"V1": "x"}}, case_sensitive), lambda: compile_regex(text)):
        refusal: PatternError | None = None
        try:
            pattern = compiled()
            found = pattern.match(name)
            assert found is None or set(found) == set(pattern.captures)
        except PatternError as error:
            refusal = error
        assert refusal is None or (0 <= refusal.position <= len(unicodedata.normalize("NFC", text)) and refusal.remedy)


def paths(value: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [so_far] if so_far else []
    if isinstance(value, dict):
        found += [path for key, inner in value.items() for path in paths(inner, (*so_far, key))]
    if isinstance(value, list):
        found += [path for number, inner in enumerate(value) for path in paths(inner, (*so_far, number))]
    return found


PATHS = paths(EXAMPLE)


@tried
@given(st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=3), NAMES)
def test_configurations(tmp_path: Path, changes: list[tuple[tuple[Any, ...], Any]], name: str) -> None:
    """Any value anywhere: every problem is told with file, line and key; rules that are left can be asked about any name."""
    document = copy.deepcopy(EXAMPLE)
    for path, value in changes:
        place = document
        with contextlib.suppress(KeyError, IndexError, TypeError):
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
    file = tmp_path / "config.yaml"
    file.write_text(yaml.dump(document, allow_unicode=True))
    config = load(file)
    for problem in config.problems:
        assert str(file) in str(problem)
        assert ";" in str(problem), "what is wrong, and what to do"
    for folder in config.folders.values():
        found = route(folder.rules, folder.name, name)
        if isinstance(found, Route):
            assert found.target.field
        else:
            assert found.message
        nearest(folder.rules, name)


ROWS = st.dictionaries(
    st.sampled_from(
        ["field_name", "form_name", "field_type", "unique_event_name", "arm_num", "form", "project_id", "is_longitudinal",
         "username", "api_import", "data_export", "forms", "text_validation_type_or_show_slider_number", "event_name"]
    ),
    VALUES,
    max_size=8,
)  # fmt: skip


@tried
@given(ROWS)
def test_what_a_server_tells_of_its_project(row: dict[str, Any]) -> None:
    for read in (answers.project, answers.field_info, answers.event_info, answers.mapping, answers.repeating, answers.rights):
        with contextlib.suppress(ValueError):  # told as "this is not the API"
            read(row)


@tried
@given(NAMES, st.binary(max_size=100))
@example('a"\r\nContent-Type: text/html\r\n\r\n.pdf', b"")
@example("\u202e.pdf", b"--")
@example("..", b"\r\n--")
def test_multipart_names(name: str, content: bytes) -> None:
    """Whatever the file is called, the server sees one file of the safe name, the very bytes, and no other field."""
    safe = safe_name(name)
    assert safe_name(safe) == safe
    body = FileBody([("token", "T"), ("content", "file")], io.BytesIO(content), len(content), safe)
    sent = b"".join(body)
    assert len(sent) == body.length
    source = io.BytesIO(sent)
    post = parse_body(body.content_type, len(sent), source.read, Limits(), lambda: Upload(None))
    assert post.fields == {"token": "T", "content": "file"}
    (file,) = post.files.values()
    assert file.name == safe
    post.discard()


def damaged(draw: st.DrawFn, text: str) -> bytes:
    raw = bytearray(text.encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw) - 1))
        until = min(len(raw), at + draw(st.integers(0, 40)))
        raw[at:until] = draw(st.binary(max_size=20) | st.sampled_from([b"<", b'"', b"&x;", b"\n", b",", b"-1", b"9" * 30]))
    return bytes(raw)


DICTIONARY = (
    "Variable / Field Name,Form Name,Field Type,Field Label,Choices,Text Validation Type OR Show Slider Number\n"
    "record_id,visit,text,Record,,\nconsent_pdf,visit,file,Consent,,\n"
    'sex,visit,radio,Sex,"1, female | 2, male",\nsum,visit,calc,Sum,[a]+[b],number\n'
)


@tried
@given(st.data())
def test_project_xml(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / "project.xml"
    file.write_bytes(data.draw(st.composite(lambda draw: damaged(draw, XML))()))
    with contextlib.suppress(ValueError):
        assert from_xml(file).fields is not None


def test_project_xml_in_an_unknown_encoding(tmp_path: Path) -> None:
    file = tmp_path / "project.xml"
    file.write_text(XML.replace("UTF-8", "U-TF-8"))
    with pytest.raises(ValueError, match="export it from REDCap again"):
        from_xml(file)


@tried
@given(st.data())
def test_dictionaries(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / "dictionary.csv"
    file.write_bytes(data.draw(st.composite(lambda draw: damaged(draw, DICTIONARY))()))
    with contextlib.suppress(ValueError):
        assert from_dictionary(file).fields is not None


@pytest.mark.parametrize("text", ["", "\0", "a,b\n" + '"' * 10, "Variable / Field Name\n" + "x" * 200_000])
def test_dictionaries_of_odd_shapes(tmp_path: Path, text: str) -> None:
    file = tmp_path / "dictionary.csv"
    file.write_text(text)
    with contextlib.suppress(ValueError):
        from_dictionary(file)
