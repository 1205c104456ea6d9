"""What a configuration says that is probably not meant: `check` finds it, and nothing stops for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropcap.config.load import load

TEXT = """\
contact: {contact}
tables:
  visits: {{{table}}}
projects:
  trial: {{url: "https://redcap.example.org/api/", token_file: t{project}}}
{projects}
folders:
  f:
    path: /srv/f
    project: trial
    rules:
      - pattern: {pattern}
        record: {record}
        field: scan
        must_match: {must_match}
        case_sensitive: {case}
"""
SOUND = {
    "contact": "x",
    "table": "V1: a_arm_1, V2: b_arm_1",
    "project": "",
    "projects": "",
    "pattern": '"{n:digits}.pdf"',
    "record": '"{n}"',
    "must_match": "{a: b}",
    "case": "false",
}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"record": "“SN{n}”"}, [("error", "folders.f.rules[1].record", "typographic quotes")]),
        ({"record": "„SN{n}“"}, [("error", "folders.f.rules[1].record", "typographic quotes")]),
        ({"record": "«SN{n}»"}, [("error", "folders.f.rules[1].record", "typographic quotes")]),
        ({"record": "‘SN{n}’"}, [("error", "folders.f.rules[1].record", "typographic quotes")]),
        ({"record": "”SN{n}”"}, [("error", "folders.f.rules[1].record", "typographic quotes")]),
        ({"record": '"“SN{n}”"'}, []),  # whoever writes them within quotes means them
        ({"record": "SN“{n}”x"}, [("warning", "folders.f.rules[1].record", "has typographic quotes")]),
        ({"record": "Crohn’s{n}"}, []),
        ({"contact": "“Data desk”, ext.\u00a04711"}, []),
        ({"record": '"SN\u00a0{n}"'}, [("error", "folders.f.rules[1].record", "no-break space (character 3, U+00A0)")]),
        ({"record": '"SN\u200b{n}"'}, [("error", "folders.f.rules[1].record", "nobody sees (character 3, U+200B)")]),
        ({"pattern": '"Scan\u202f{n:digits}.pdf"'}, [("warning", "folders.f.rules[1].pattern", "U+202F")]),
        ({"must_match": "{a: [x, “b”]}"}, [("error", "folders.f.rules[1].must_match.a[2]", "typographic quotes")]),
        ({"must_match": "{“a”: b}"}, [("error", "folders.f.rules[1].must_match.“a”", "the key")]),
        ({"table": "V1: a_arm_1, v1: b_arm_1"}, [("warning", "tables.visits.v1", "its case only, and leads elsewhere")]),
        ({"table": "V1: a_arm_1, v1: a_arm_1"}, [("warning", "tables.visits.v1", "says the same")]),
        ({"table": "V1: a_arm_1, v1: a_arm_1", "case": "true"}, []),
        ({"table": "V1: a_arm_1, v1: b_arm_1", "case": "true"}, [("warning", "tables.visits.v1", "leads elsewhere")]),
        ({"table": "Straße: a_arm_1, STRASSE: b_arm_1"}, [("warning", "tables.visits.STRASSE", "leads elsewhere")]),
        (
            {"projects": '  two: {url: "https://redcap.example.org/api", token_file: t}'},
            [("warning", "projects.two", "`trial` in line 5")],
        ),
        ({"projects": '  two: {url: "https://redcap.example.org/api/", token_file: u}'}, []),
        ({"projects": '  two: {url: "https://redcap.example.com/api/", token_file: t}'}, []),
        (
            {
                "project": ", project_id: 42",
                "projects": '  two: {url: "https://REDCAP.example.org/api/", token_file: u, project_id: 42}',
            },
            [("warning", "projects.two", "same REDCap project")],
        ),
    ],
)
def test_what_is_doubtful(tmp_path: Path, changed: dict[str, str], found: list[tuple[str, str, str]]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT.format(**SOUND | changed), encoding="utf-8")
    doubts = load(path).doubts
    assert [(doubt.level, doubt.key) for doubt in doubts] == [(level, key) for level, key, _ in found]
    for doubt, (_, _, said) in zip(doubts, found, strict=True):
        assert said in doubt.message
        assert doubt.remedy


def test_a_doubt_disables_nothing_and_shows_no_token(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT.format(**SOUND | {"record": "“0123456789ABCDEF0123456789ABCDEF{n}”"}), encoding="utf-8")
    config = load(path)
    assert (config.problems, list(config.folders)) == ((), ["f"])
    (doubt,) = config.doubts
    assert "0123456789" not in str(doubt)
