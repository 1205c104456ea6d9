"""The configuration: real files, every problem at once, each with its line and what it disables."""

from __future__ import annotations

import os
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dropcap.config.load import load
from dropcap.config.model import Config, Problem
from dropcap.routing.route import Route, route
from dropcap.routing.rule import Confirm, ExistingFile, MissingRecord

ROOT = Path(__file__).parents[2]

SOUND = """\
projects:
  trial: {url: "https://redcap.example.org/api/", token_file: trial.token}
folders:
  consents:
    path: /srv/consents
    project: trial
    rules:
      - {pattern: "{record:digits}_c.pdf", field: consent_pdf}
"""


def written(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def with_rule(tmp_path: Path, rule: str, before: str = "", folder: str = "") -> Config:
    text = f"""\
    {before or "contact: x"}
    projects: {{trial: {{url: "https://redcap.example.org/api/", token_env: T}}}}
    folders:
      f:
        path: /srv/f
        project: trial
        {folder or "subfolders: true"}
        rules:
          - {rule}
    """
    return load(written(tmp_path, text))


def only(config: Config) -> Problem:
    assert len(config.problems) == 1, [str(problem) for problem in config.problems]
    return config.problems[0]


def test_a_sound_file(tmp_path: Path) -> None:
    config = load(written(tmp_path, SOUND))
    assert config.problems == ()
    assert config.state_dir == Path("/var/lib/dropcap")
    project = config.projects["trial"]
    assert (project.url, project.requests_per_minute, project.max_size) == ("https://redcap.example.org/api/", 240, 128 * 1024**2)
    assert "exe" in project.blocked_extensions
    assert project.token_source.where == str(tmp_path / "trial.token")
    folder = config.folders["consents"]
    assert (folder.path, folder.project, folder.rules[0].name) == (Path("/srv/consents"), "trial", "rule 1")
    assert (folder.rescan, folder.settle_closed, folder.settle_quiet) == (60, 5, 15)


def test_the_example_is_sound() -> None:
    config = load(ROOT / "config.example.yaml")
    assert [str(problem) for problem in config.problems] == []
    found = route(config.folders["consents"].rules, "consents", "101_V1_consent.pdf")
    assert isinstance(found, Route)
    assert (found.target.record, found.target.event) == ("101", "baseline_arm_1")
    found = route(config.folders["results"].rules, "results", "101-ab/lab_2026-11-24.pdf")
    assert isinstance(found, Route)
    assert found.target.must_match == {"initials": "AB"}
    assert found.settings.confirm is Confirm.LISTED


def test_every_value(tmp_path: Path) -> None:
    config = load(
        written(
            tmp_path,
            """\
            state_dir: state
            contact: "Desk"
            uploads_at_once: 8
            small_file: 10 KiB
            stop_within: 2m
            log: {format: text, level: debug}
            projects:
              p:
                url: http://redcap.example.org/api
                allow_http: true
                token_credential: trial
                project_id: 42
                requests_per_minute: 0
                connect_timeout: 500ms
                timeout: 30
                deadline: 2h
                max_size: 1GB
                blocked_extensions: [EXE, .js]
                ca_file: ca.pem
              q:
                url: https://redcap.example.org/api/
                token_env: Q
                client_cert_file: client.pem
                client_key_file: client.key
                proxy: http://Proxy.example.org:3128/
                proxy_credentials_file: proxy.credentials
            folders:
              f:
                path: drop
                project: p
                subfolders: no
                rescan: 5m
                settle_closed: 2s
                settle_quiet: 20s
                first_start: leave
                min_free: 0
                group: staff
                mode: 0660
                ignore: ["*.log"]
                rules: [{name: r, pattern: "{record}", field: f}]
            """,
        )
    )
    assert config.problems == ()
    assert config.state_dir == tmp_path / "state"
    assert (config.contact, config.uploads_at_once, config.small_file, config.stop_within) == ("Desk", 8, 10240, 120)
    assert (config.log.format, config.log.level) == ("text", "debug")
    project = config.projects["p"]
    assert (project.url, project.project_id, project.requests_per_minute) == ("http://redcap.example.org/api/", 42, 0)
    assert (project.connect_timeout, project.timeout, project.deadline, project.max_size) == (0.5, 30, 7200, 10**9)
    assert (project.blocked_extensions, project.ca_file) == (frozenset({"exe", "js"}), tmp_path / "ca.pem")
    assert str(project.token_source) == "the credential trial"
    assert (project.host, project.server) == ("redcap.example.org:80", "redcap.example.org:80")
    behind = config.projects["q"]
    assert (behind.client_cert_file, behind.client_key_file) == (tmp_path / "client.pem", tmp_path / "client.key")
    assert (str(behind.proxy), behind.host) == ("proxy.example.org:3128", "redcap.example.org:443")
    assert behind.proxy_credentials.file == str(tmp_path / "proxy.credentials")
    assert behind.server == f"redcap.example.org:443 as {tmp_path / 'client.pem'} via proxy.example.org:3128"
    folder = config.folders["f"]
    assert (folder.path, folder.subfolders, folder.rescan, folder.mode) == (tmp_path / "drop", False, 300, 0o660)
    assert (folder.settle_closed, folder.settle_quiet, folder.first_start) == (2, 20, "leave")
    assert (folder.min_free, folder.group, folder.ignore) == (0, "staff", ("*.log",))


def test_the_nearest_setting_wins(tmp_path: Path) -> None:
    config = with_rule(
        tmp_path,
        '{pattern: "{record:digits}", field: f, confirm: none}',
        before="defaults: {existing_file: refuse, confirm: listed, missing_record: wait, mode: 0640, group: g, rescan: 9s}",
        folder="{existing_file: replace, group: null}"[1:-1].replace(", ", "\n        "),
    )
    assert config.problems == ()
    folder = config.folders["f"]
    assert (folder.mode, folder.group, folder.rescan) == (0o640, None, 9)
    rule = folder.rules[0]
    assert rule.settings.existing_file is ExistingFile.REPLACE
    assert rule.settings.confirm is Confirm.NONE
    assert rule.settings.missing_record is MissingRecord.WAIT
    assert rule.settings_from == {"existing_file": "folder", "confirm": "rule", "missing_record": "defaults"}


@pytest.mark.parametrize(
    ("value", "record"),
    [("0101", "0101"), ("1_000", "1_000"), ("1:30", "1:30"), ("yes", "yes"), ("1.50", "1.50"), ("0x10", "0x10"), ("1e3", "1e3")],
)
def test_text_keeps_its_spelling(tmp_path: Path, value: str, record: str) -> None:
    config = with_rule(tmp_path, f'{{pattern: "x", field: f, record: {value}}}')
    assert config.problems == ()
    found = route(config.folders["f"].rules, "f", "x")
    assert isinstance(found, Route)
    assert found.target.record == record


def test_table_words_keep_their_spelling(tmp_path: Path) -> None:
    config = with_rule(
        tmp_path,
        '{pattern: "{record}-{a:t}.pdf", field: f, event: "{a|t}"}',
        before="tables: {t: {yes: on, 007: 0815, no: 1:30, null: 'null'}}",
    )
    assert config.problems == ()
    for word, event in {"yes": "on", "007": "0815", "NO": "1:30", "null": "null"}.items():
        found = route(config.folders["f"].rules, "f", f"1-{word}.pdf")
        assert isinstance(found, Route)
        assert found.target.event == event


@pytest.mark.parametrize(
    ("text", "line", "key", "message", "remedy"),
    [
        ("contakt: x", 1, "contakt", "unknown key", "did you mean `contact`?"),
        ("contact: a\ncontact: b", 2, "contact", "twice (first in line 1)", "keep one"),
        ("notify: {}", 1, "notify", "says nobody", "name somebody in `to`"),
        ("database: x", 1, "database", "not in this version", "take it out"),
        ("keep: {done: 1d}", 1, "keep.done", "out of range", "7d"),
        ("keep: {failed: 30d}", 1, "keep.failed", "unknown key", "done"),
        ("keep: {history: soon}", 1, "keep.history", "`soon` is not a duration", "7d"),
        ("uploads_at_once: 0", 1, "uploads_at_once", "`0`", "1 to 64"),
        ("uploads_at_once: [1]", 1, "uploads_at_once", "list or a mapping", "one value"),
        ("uploads_at_once:", 1, "uploads_at_once", "no value", "take the key out"),
        ("stop_within: 1:30", 1, "stop_within", "`1:30` is not a duration", "5m"),
        ("small_file: big", 1, "small_file", "`big` is not a size", "10 KiB"),
        ("log: json", 1, "log", "not a mapping", "indented"),
        ("log:\n  format: xml", 2, "log.format", "`xml`", "json or text"),
        ("log: {levle: info}", 1, "log.levle", "unknown key", "did you mean `level`?"),
        ("defaults: {path: /x}", 1, "defaults.path", "unknown key", "settings of folders and rules"),
        ("defaults: {confirm: maybe}", 1, "defaults.confirm", "`maybe`", "readback or listed or none"),
        ("defaults: {subfolders: 1}", 1, "defaults.subfolders", "neither true nor false", "write true"),
        ("tables: {digits: {a: b}}", 1, "tables.digits", "already has a meaning", "another name"),
        ("tables: {t: {a: b, a: c}}", 1, "tables.t.a", "twice", "keep one"),
        ("tables: {t: {\u00e9: b, e\u0301: c}}", 1, "tables.t.e\u0301", "twice", "keep one"),
        ("defaults: {<<: {confirm: listed}}", 1, "defaults.<<", "merge keys", "write the settings out"),
        ("tables: {t: {a: }}", 1, "tables.t.a", "no value", "take the key out"),
        ("tables: {t: {a: [b]}}", 1, "tables.t.a", "list or a mapping", "one value"),
        ("tables: {t: [a]}", 1, "tables.t", "not a mapping", "indented"),
        ("include: [/dev]", 1, "include[1]", "/dev cannot be read: Is a directory", "correct the path"),
        ("include: none.yaml", 1, "include", "there is no file", "correct the path"),
        ("? [a]\n: b", 1, "", "key that is a list", "quotes"),
        ("state_dir: ~/state", 1, "state_dir", "`~/state` begins with `~`", "the whole path"),
        ("state_dir: ''", 1, "state_dir", "empty", "write a value"),
    ],
)
def test_what_keeps_everything_from_starting(tmp_path: Path, text: str, line: int, key: str, message: str, remedy: str) -> None:
    path = written(tmp_path, text + "\n" + SOUND)
    config = load(path)
    problem = only(config)
    assert (problem.file, problem.line, problem.key, problem.scope) == (str(path), line, key, None)
    assert message in problem.message
    assert remedy in problem.remedy
    assert config.fatal == config.problems
    where = f"{path}:{line}: {key}" if key else f"{path}:{line}"
    assert str(problem) == f"{where}: {problem.message}; {problem.remedy}"


@pytest.mark.parametrize(
    ("project", "key", "message"),
    [
        ("{}", "", "no url"),
        ('{url: "https://h/api/"}', "", "where the token is"),
        ('{url: "https://h/api/", token_env: A, token_file: b}', "", "more than one place"),
        ("{token_env: A}", "", "no url"),
        ('{url: "http://h/api/", token_env: A}', ".url", "clear text"),
        ('{url: "https://red..cap/api/", token_env: A}', ".url", "not a web address"),
        ('{url: "https://h/api/", token_env: A, timeout: 0}', ".timeout", "range"),
        ('{url: "https://h/api/", token_env: A, mask: 1}', ".mask", "not in this version"),
        ('{url: "https://h/api/", token_env: A, tiemout: 1}', ".tiemout", "unknown key"),
        ('{url: "https://h/api/", token_env: A, blocked_extensions: exe}', ".blocked_extensions", "not a list"),
        ('{url: "https://h/api/", token_env: A, blocked_extensions: ["*"]}', ".blocked_extensions[1]", "not an extension"),
        ('{url: "https://h/api/", token_credential: ../x}', ".token_credential", "name of a credential"),
        ('{url: "https://h/api/", token_env: A, proxy: "proxy.example.org:3128"}', ".proxy", "not the address of a proxy"),
        ('{url: "https://h/api/", token_env: A, proxy: "http://u:geheim@h:3128"}', ".proxy", "holds a user or a password"),
        ('{url: "https://h/api/", token_env: A, proxy: "https://h:3128"}', ".proxy", "not in this version"),
        ('{url: "https://h/api/", token_env: A, proxy: "socks5://h:3128"}', ".proxy", "not in this version"),
        ('{url: "https://h/api/", token_env: A, proxy: "http://h"}', ".proxy", "host and port alone"),
        ('{url: "https://h/api/", token_env: A, proxy: "http://h:3128/pac"}', ".proxy", "host and port alone"),
        ('{url: "https://h/api/", token_env: A, proxy: "http://h:99999"}', ".proxy", "not the address of a proxy"),
        (
            '{url: "https://h/api/", token_env: A, proxy_credentials_file: f}',
            ".proxy_credentials_file",
            "no proxy to show them to",
        ),
        ('{url: "https://h/api/", token_env: A, client_key_file: f}', ".client_key_file", "without its certificate"),
        ('{url: "http://h/api/", allow_http: true, token_env: A, proxy: "http://h:3128"}', ".proxy", "clear text"),
        ('{url: "http://127.0.0.1/api/", token_env: A, proxy: "http://127.0.0.1:3128"}', ".proxy", "clear text"),
        (
            '{url: "http://127.0.0.1/api/", token_env: A, client_cert_file: f}',
            ".client_cert_file",
            "http:// shows no certificates",
        ),
        ("https://h/api/", "", "not a mapping"),
    ],
)
def test_a_project_that_is_not_sound(tmp_path: Path, project: str, key: str, message: str) -> None:
    text = SOUND + "  bad:\n    {path: /srv/bad, project: bad, rules: [{pattern: '{record}', field: f}]}\n"
    text = text.replace("folders:\n", f"  bad: {project}\nfolders:\n")
    config = load(written(tmp_path, text))
    assert set(config.projects) == {"trial"}
    assert set(config.folders) == {"consents"}
    assert config.fatal == ()
    mine = [problem for problem in config.problems if problem.scope == ("project", "bad")]
    assert any(problem.key == "projects.bad" + key and message in problem.message for problem in mine)
    (follows,) = [problem for problem in config.problems if problem.scope == ("folder", "bad")]
    assert (follows.key, follows.remedy) == ("folders.bad.project", "mend those first")


SECRET = "0123456789ABCDEF" * 2


@pytest.mark.parametrize(
    "text",
    [
        f'projects: {{p: {{url: "https://h/api/", token: {SECRET}}}}}',
        f'projects: {{p: {{url: "https://h/api/", token_file: {SECRET}}}}}',
        f'projects: {{p: {{url: "https://h/api/", token_env: {SECRET}}}}}',
        f'projects: {{p: {{url: "https://h/api/?token={SECRET}", token_env: A}}}}',
        f"projects: {{p: {{url: {SECRET}, token_env: A, timeout: {SECRET}}}}}",
        f"projects: {{p: {{{SECRET}: x}}}}",
        f"projects: {{{SECRET}: x}}",
        f"{SECRET}: x",
        f"token: {SECRET}",
        f"contact: *{SECRET}",
        f"contact: !{SECRET} [",
        f"contact: &{SECRET} a\nx: &{SECRET} b\ny: [",
        SECRET,
        f"folders: {{f: {{project: {SECRET}, rules: [{{pattern: '{{a:{SECRET}}}', field: {SECRET}}}]}}}}",
    ],
)
def test_a_token_is_never_shown(tmp_path: Path, text: str) -> None:
    config = load(written(tmp_path, text))
    assert config.problems
    for problem in config.problems:
        assert SECRET not in str(problem)


@pytest.mark.parametrize(
    ("rule", "key", "message", "remedy"),
    [
        ("{field: f}", "", "either a pattern or a regex", "write one"),
        ('{pattern: "{record}", regex: x, field: f}', "", "either a pattern or a regex", "write one"),
        ('{pattern: "{record}"}', "", "no field", "File Upload field"),
        ('{pattern: "{rec}", field: f}', "", "no record", "record_where"),
        ('{pattern: "{record:digts}", field: f}', ".pattern", "character 9 of `{record:digts}`", "did you mean digits?"),
        ('{regex: "(?=x)", field: f}', ".regex", "RE2", "no look-around"),
        ('{pattern: "{record}", field: f, event: "{evnt}"}', ".event", "no capture `evnt`", "it has record"),
        ('{pattern: "{record}", field: f, event: "{record|t}"}', ".event", "no filter or table `t`", "use upper"),
        ('{pattern: "{record}", field: F}', ".field", "`F`", "a-z"),
        ('{pattern: "{record}", field: f, record: ""}', ".record", "empty", "take the key out"),
        ('{pattern: "{record}", field: f, instance: 0}', ".instance", "`0`", "or next"),
        ('{pattern: "{record}", field: f, instance: nxt}', ".instance", "`nxt`", "or next"),
        ('{pattern: "{record}", field: f, confirm: no}', ".confirm", "`no`", "readback or listed"),
        ('{pattern: "{record}", field: f, mask: 1}', ".mask", "not in this version", "take it out"),
        ('{pattern: "{record}", field: f, feild: 1}', ".feild", "unknown key", "did you mean `field`?"),
        ('{pattern: "{record}", field: f, must_match: {A: b}}', ".must_match.A", "`A`", "a-z"),
        ('{pattern: "{record}", field: f, must_match: {}}', ".must_match", "names no field", "take it out"),
        ('{pattern: "{a}", field: f, record: "{a}", record_where: {m: "{a}"}}', ".record", "either", "take one"),
        ('{pattern: "{record}", field: f, missing_record: create}', ".missing_record", "typed capture", "a type"),
        ('{pattern: "{a}", field: f, record_where: {m: "{a}"}, missing_record: create}', ".missing_record", "cannot", "wait"),
        ('{pattern: "{record:alnum}", field: f, must_match: {m: x}, missing_record: create}', ".missing_record", "empty", "wait"),
        ("just text", "", "not a mapping", "indented"),
    ],
)  # fmt: skip
def test_a_rule_that_is_not_sound(tmp_path: Path, rule: str, key: str, message: str, remedy: str) -> None:
    config = with_rule(tmp_path, rule)
    assert config.folders == {}
    assert config.fatal == ()
    problem = only(config)
    assert (problem.key, problem.line, problem.scope) == ("folders.f.rules[1]" + key, 9, ("folder", "f"))
    assert message in problem.message
    assert remedy in problem.remedy


def test_defaults_of_a_rule(tmp_path: Path) -> None:
    config = with_rule(tmp_path, '{pattern: "{record}-{event}-{field}.pdf"}')
    assert config.problems == ()
    found = route(config.folders["f"].rules, "f", "1-base-photo.pdf")
    assert isinstance(found, Route)
    assert (found.target.record, found.target.event, found.target.field) == ("1", "base", "photo")


def test_where_copies_are_kept(tmp_path: Path) -> None:
    folder = "folders: {{{0}: {{path: /srv/{0}, project: trial, rules: [{{pattern: '{{record}}.pdf', field: f}}]{1}}}}}"
    written(tmp_path, folder.format("b", ", preserve_in: copies"), "conf.d/b.yaml")
    written(tmp_path, folder.format("c", ", preserve_in: null"), "conf.d/c.yaml")
    written(tmp_path, folder.format("d", ""), "conf.d/d.yaml")
    text = SOUND + "state_dir: state\ninclude: conf.d/*.yaml\n"
    config = load(written(tmp_path, text))
    assert config.problems == ()
    assert {name: config.keeps_in(folder) for name, folder in config.folders.items()} == {
        "consents": tmp_path / "state/preserved/consents",
        "b": tmp_path / "conf.d/copies/b",
        "c": tmp_path / "state/preserved/c",
        "d": tmp_path / "state/preserved/d",
    }
    config = load(written(tmp_path, text + "defaults: {preserve_in: /srv/copies}\n"))
    assert config.keeps_in(config.folders["d"]) == Path("/srv/copies/d")
    assert config.keeps_in(config.folders["c"]) == tmp_path / "state/preserved/c"


def test_case_sensitive_reaches_the_pattern(tmp_path: Path) -> None:
    config = with_rule(tmp_path, '{pattern: "{record}_C.pdf", field: f}', folder="case_sensitive: true")
    assert config.folders["f"].rules[0].pattern.match("1_c.pdf") is None


def test_two_rules_of_one_name(tmp_path: Path) -> None:
    rule = '{name: a, pattern: "{record}", field: f}'
    config = with_rule(tmp_path, f"{rule}\n          - {rule}")
    assert "called `a` as well (line 9)" in only(config).message


@pytest.mark.parametrize(
    ("folder", "key", "message"),
    [
        ("{project: trial, rules: [{pattern: '{record}', field: f}]}", "", "no path"),
        ("{path: /x, rules: [{pattern: '{record}', field: f}]}", "", "no project"),
        ("{path: /x, project: trail, rules: [{pattern: '{record}', field: f}]}", ".project", "no project `trail`"),
        ("{path: /x, project: trial}", "", "no rules"),
        ("{path: /x, project: trial, rules: }", ".rules", "no rules"),
        ("{path: /x, project: trial, rules: []}", ".rules", "no rules"),
        ("{path: /x, project: trial, rules: {a: b}}", ".rules", "not a list"),
        ('{path: "/x\\0", project: trial, rules: [{pattern: "{record}", field: f}]}', ".path", "control character"),
        ("{path: /, project: trial, rules: [{pattern: '{record}', field: f}]}", "", "`/`"),
        ("{path: /srv/consents/, project: trial, rules: [{pattern: '{record}', field: f}]}", "", "same folder"),
        ("{path: /srv/consents/done, project: trial, rules: [{pattern: '{record}', field: f}]}", "", "inside the folder"),
        ("{path: /var/lib/dropcap/x, project: trial, rules: [{pattern: '{record}', field: f}]}", "", "state_dir"),
        ("{path: /var/../srv/consents/x, project: trial}", "", "inside the folder"),
        ("{path: /x, project: trial, first_start: maybe, rules: [{pattern: '{record}', field: f}]}", ".first_start", "`maybe`"),
        ("{path: /x, project: trial, mode: 0440, rules: [{pattern: '{record}', field: f}]}", ".mode", "0440"),
        ("{path: /x, project: trial, receipts: true, rules: [{pattern: '{record}', field: f}]}", ".receipts", "was removed"),
        ("{path: /x, project: trial, mask: 1, rules: [{pattern: '{record}', field: f}]}", ".mask", "version"),
        ("{path: /x, project: trial, subfolders: 7, rules: [{pattern: '{record}', field: f}]}", ".subfolders", "7"),
        ("{path: /x, project: trial, language: deutsch, rules: [{pattern: '{record}', field: f}]}", ".language", "deutsch"),
        ("{path: /x, project: trial, page_refresh: 1s, rules: [{pattern: '{record}', field: f}]}", ".page_refresh", "1s"),
        (
            "{path: /x, project: trial, rules: [{pattern: '{record:digits}.pdf', field: f, example: 7x.pdf}]}",
            *(".rules[1].example", "no name that this rule takes"),
        ),
        ("[]", "", "not a mapping"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_sound(tmp_path: Path, folder: str, key: str, message: str) -> None:
    config = load(written(tmp_path, SOUND + f"  bad: {folder}\n"))
    assert "bad" not in config.folders
    assert config.fatal == ()
    mine = [problem for problem in config.problems if problem.scope == ("folder", "bad")]
    assert any(problem.key == "folders.bad" + key and message in problem.message for problem in mine)
    together = any("/srv/consents" in problem.message for problem in mine)
    assert ("consents" in config.folders) is not (together or "path: /," in folder)


def test_siblings_with_a_common_beginning_are_not_nested(tmp_path: Path) -> None:
    rules = "rules: [{pattern: '{record}', field: f}]"
    more = "".join(
        f"  f{n}: {{path: '{path}', project: trial, {rules}}}\n"
        for n, path in enumerate(["/srv/consents2", "/srv/cons", "/srv/consents-a"])
    )
    config = load(written(tmp_path, SOUND + more))
    assert config.problems == ()
    assert len(config.folders) == 4


def test_included_files(tmp_path: Path) -> None:
    tmp_path = tmp_path / "[study]"
    main = written(tmp_path, "include: [conf.d/*.yaml, '*.yaml', none/*.yaml]\n" + SOUND)
    written(
        tmp_path,
        """\
        tables: {visits: {V1: base}}
        projects: {second: {url: "https://other.example/api/", token_file: s.token}}
        folders:
          more: {path: drop, project: second, rules: [{pattern: "{record}_{v:visits}", field: f, event: "{v|visits}"}]}
        """,
        "conf.d/a.yaml",
    )
    config = load(main)
    assert [str(problem) for problem in config.problems] == []
    assert set(config.folders) == {"consents", "more"}
    assert config.folders["more"].path == tmp_path / "conf.d/drop"
    assert config.projects["second"].token_source.where == str(tmp_path / "conf.d/s.token")


def test_included_files_with_problems(tmp_path: Path) -> None:
    main = written(tmp_path, "include: conf.d/*.yaml\n" + SOUND)
    a = written(tmp_path, "contact: x\nfolders:\n  consents: {path: /a, project: trial}\n", "conf.d/a.yaml")
    b = written(tmp_path, "folders: [\n", "conf.d/b.yaml")
    config = load(main)
    assert config.folders == {}
    by_place = {(problem.file, problem.key): problem for problem in config.problems}
    assert "projects, folders and tables" in by_place[str(a), "contact"].remedy
    duplicate = by_place[str(a), "folders.consents"]
    assert (duplicate.line, duplicate.scope) == (3, ("folder", "consents"))
    assert f"{main}:5" in duplicate.message
    assert "not YAML" in by_place[str(b), ""].message


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (None, 0, "there is no such file"),
        (b"", 0, "empty"),
        (b"# nothing\n", 0, "empty"),
        (b"a: b\nc: [\n", 3, "not YAML"),
        (b"a: b\n\tc: d\n", 2, "no tabs"),
        (b"a: b\nc\nd: e\n", 2, "not YAML"),
        (b"!!python/object/apply:os.system ['true']\n", 1, "not"),
        (b"a: b\n---\nc: d\n", 2, "not YAML"),
        (b"a: *x\n", 1, "not YAML"),
        (b"state_dir: /x\ncontact: caf\xe9\n", 2, "not YAML; save it as plain text in UTF-8"),
        (b"contact: a\x00b\n", 0, "not YAML"),
        (b"[" * 100_000, 1, "not YAML"),
        (b"- a\n", 1, "not a mapping"),
        (b"text\n", 1, "not a mapping"),
    ],
)  # fmt: skip
def test_what_is_no_configuration(tmp_path: Path, content: bytes | None, line: int, message: str) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    config = load(path)
    problem = config.fatal[0]
    assert (problem.file, problem.line) == (str(path), line)
    assert message in f"{problem.message}; {problem.remedy}"
    assert config.folders == {}


def test_nobody_waits_for_what_is_no_file(tmp_path: Path) -> None:
    fifo = tmp_path / "config.yaml"
    os.mkfifo(fifo)
    problem = only(load(fifo))
    assert (problem.file, problem.message) == (str(fifo), "the file cannot be read: it is not a regular file")
    assert "not a regular file" in only(load(Path("/dev/zero"))).message
    including = tmp_path / "main.yaml"
    including.write_text("include: [config.yaml]\nfolders: {}\n")
    (of_the_entry,) = [one for one in load(including).problems if one.key == "include[1]"]
    assert "not a regular file" in of_the_entry.message


def test_a_configuration_without_folders(tmp_path: Path) -> None:
    assert "no folders" in only(load(written(tmp_path, "folders:\n"))).message


def test_nodes_that_contain_themselves(tmp_path: Path) -> None:
    config = load(written(tmp_path, "folders: &f\n  a: *f\n  b: {rules: &r [*r]}\nprojects: *f\ntables: *f\n"))
    assert config.problems


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.data())
def test_no_damage_crashes(tmp_path: Path, data: st.DataObject) -> None:
    lines = (ROOT / "config.example.yaml").read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        number = data.draw(st.integers(0, len(lines) - 1))
        at = data.draw(st.integers(0, len(lines[number])))
        what = data.draw(
            st.one_of(
                st.sampled_from(["[", "]", "{", "}", ":", "null", "- ", "  ", '"', "&a ", "*a", "!x "]), st.text(max_size=3)
            )
        )
        lines[number] = lines[number][:at] + what + lines[number][at + data.draw(st.integers(0, 5)) :]
    path = tmp_path / "damaged.yaml"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    for problem in load(path).problems:
        assert problem.message
        assert problem.remedy
        assert "\n" not in str(problem)


def test_five_hundred_folders_load_quickly(tmp_path: Path) -> None:
    text = "tables: {visits: {" + ", ".join(f"V{n}: e{n}" for n in range(50)) + "}}\n"
    text += "projects: {p: {url: 'https://h/api/', token_env: T}}\nfolders:\n"
    for number in range(500):
        text += f"  f{number}:\n    path: /srv/f{number}\n    project: p\n    rules:\n"
        text += f"      - {{pattern: '{{record:digits}}_{{v:visits}}_c{number}.pdf', field: c, event: '{{v|visits}}'}}\n"
        text += "      - {pattern: '{record}_d.pdf', field: d}\n"
    path = written(tmp_path, text)
    begin = time.process_time()  # of this process alone, however busy the machine is
    config = load(path)
    assert time.process_time() - begin < 1
    assert (len(config.folders), config.problems) == (500, ())
