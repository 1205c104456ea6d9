"""`check` tells every problem at once, each one once, and nothing that another one says already."""

from __future__ import annotations

import yaml

from redcap_sandbox import Rights, Sandbox, demo_project
from tests.cli.command import dropcap
from tests.site import Site


def check(place: Site, *words: str) -> tuple[int, list[str]]:
    """The exit code and the findings that are no `ok`; after them stands the verdict alone."""
    result = dropcap(place, "check", *words)
    *found, empty, verdict = [line for line in result.stdout.splitlines() if not line.startswith(("ok ", "skipped "))]
    assert (empty, verdict.partition("  ")[0]) == ("", "READY" if result.exit_code == 0 else "NOT READY")
    return result.exit_code, found


def test_all_at_once_and_no_echo(place: Site) -> None:
    rule = {"pattern": "{record:digits}.pdf", "field": "scan"}
    place.config["projects"] |= {
        "bad": {"url": "http://redcap.example.org/api/", "token_file": "t", "colour": "red"},
        "unused": {"url": place.box.url, "token_file": str(place.root / "nowhere")},
    }
    folders = place.config["folders"]
    folders["b"] = {"path": str(place.root / "b"), "project": "bad", "rules": [rule]}
    folders["c"] = {"path": str(place.root / "b" / "inner"), "project": "bad", "rules": [rule]}
    folders["d"] = {
        "path": str(place.root / "gone"),
        "project": "trial",
        "rules": [
            {
                "pattern": "{record:digitz}.pdf",
                "field": "Bad",
                "instance": 0,
                "must_match": {"NO": "{x}"},
                "event": "{visit|vists}",
            },
            rule,
        ],
    }
    place.write_config()
    code, told = check(place)
    assert code == 1
    expected = [
        "projects.bad.url: the token and the files",
        "projects.bad.colour: unknown key",
        "rules[1].pattern: there is no type or table `digitz`",
        "rules[1].field: `Bad` is not the name",
        "rules[1].instance: `0` is not possible",
        "rules[1].must_match.NO: `NO` is not the name",
        "rules[1].must_match.NO: the pattern has no capture `x`",
        "rules[1].event: the pattern has no capture `visit`",
        "folders.c: `",  # one of the two folders that lie in each other
        "project unused: the token file",
        f"folder d: path: {place.root / 'gone'} does not exist",
        "folder d, rule rule 2: event: the project collects data at events",
    ]
    text = "\n".join(told)
    for said in expected[:-1]:
        assert text.count(said) == 1, (said, text)
    assert "rule rule 2" in text  # a sound rule of a folder that is not is compared with the project
    assert "problems of its own" not in text
    assert "as well; keep them apart" not in text
    assert len(told) == len(set(told)) == len(expected), text


def test_a_mistake_that_concerns_everything_hides_no_other(place: Site) -> None:
    place.config |= {"colour": "red", "log": {"level": "loud"}}
    place.folder["path"] = str(place.root / "gone")
    place.config["projects"]["trial"]["token_file"] = str(place.root / "nowhere")
    place.write_config()
    code, told = check(place, "--adopt")
    assert code == 2
    for said in ("colour: unknown key", "log.level: `loud`", "the token file", f"{place.root / 'gone'} does not exist"):
        assert sum(said in line for line in told) == 1, told
    assert not (place.root / "state").exists()


def test_a_server_that_does_not_answer_is_told_once(place: Site) -> None:
    trial = place.project
    place.config["projects"]["second"] = {**trial, "token_file": str(place.root / "second")}
    (place.root / "second").write_text("F" * 32)
    (place.root / "second").chmod(0o600)
    place.write_config()
    place.box.stop()
    code, told = check(place)
    assert (code, len(told)) == (3, 1), told


def test_two_entries_that_only_redcap_tells_apart(place: Site) -> None:
    other = "F" * 32
    place.box.grant(other, Rights(username="other"))
    (place.root / "second").write_text(other)
    (place.root / "second").chmod(0o600)
    place.config["projects"]["second"] = {**place.project, "token_file": str(place.root / "second")}
    place.write_config()
    _, told = check(place)
    (line,) = told
    assert line.startswith("warning")
    assert "projects.second: is the same REDCap project as `trial`" in line
    with Sandbox(demo_project(), other) as elsewhere:
        place.config["projects"]["second"]["url"] = elsewhere.url
        place.write_config()
        assert check(place) == (0, [])


def test_typographic_quotes_are_an_error_of_check_alone(place: Site) -> None:
    place.folder["rules"][0]["record"] = "RECORD"
    place.config_file.write_text(
        yaml.safe_dump(place.config, sort_keys=False).replace("RECORD", "“SN{record}”"), encoding="utf-8"
    )
    code, told = check(place, "--offline")
    assert (code, len(told)) == (1, 1)
    assert "“SN{record}”" in told[0]
    assert place.once().returncode == 0
