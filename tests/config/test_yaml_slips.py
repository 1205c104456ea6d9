"""What people are told where YAML cannot be read: the usual cause, and the line that it is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropcap.config.load import load

BEHIND = "behind the closing quote"
COLON = "put the value in quotes: it has a `:` in it"
CHARACTER = "put the value in quotes, because of the character"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("contact: Data desk: ext. 4711", 1, COLON),
        ("folders:\n  a:\n    path: /srv/a: b", 3, COLON),
        ("rules:\n  - name: a: b", 2, COLON),
        ("contact: 10:30 to 12: always", 1, COLON),
        ('contact: "Data desk" ext. 4711', 1, BEHIND),
        ("contact: 'it's the desk'", 1, BEHIND),
        ('"a": "b": c', 1, BEHIND),
        ("pattern: {record}_x.pdf", 1, CHARACTER),
        ("pattern: [a]_b.pdf", 1, CHARACTER),
        ("pattern: *.pdf", 1, CHARACTER),
        ("a: @x", 1, CHARACTER),
        ("a: `b`", 1, CHARACTER),
        ("a: ,b", 1, CHARACTER),
        ('regex: "\\d+"', 1, "two backslashes"),
        ("a: b\nfolders: [x\nc: d", 2, "bracket that opens there is not closed"),
        ("projects: {trial: {url: x}\nfolders: y", 1, "bracket that opens there is not closed"),
        ('a: b\ncontact: "Data desk\nfolders: y\n', 2, "quote that begins there is never closed"),
        ("folders:\n\ta: b", 2, "indent with spaces"),
        ("contact:\u00a0x\nfolders: y", 2, "no-break space"),
        ("rules:\n  - {pattern: {record}_x.pdf, field: y}", 2, CHARACTER),
        ("contact: “Data desk: ext. 4711”", 1, 'straight quotes ("…")'),
        ("contact: x\n  folders: y", 2, "indent the line as the one before"),
        ("folders\ncontact: x", 2, "write it as `key: value`"),
        ("a: - b", 1, "begin the list in a line of its own"),
        ("folders:\n    a: b\n  c: d", 3, "begins in the same column"),
        ("- a\nb: c", 2, "begins in the same column"),
    ],
)
def test_the_usual_cause(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text + "\n", encoding="utf-8")
    (problem,) = load(path).problems
    assert problem.message.startswith("not YAML: ")
    assert (problem.line, said in problem.remedy) == (line, True), str(problem)


@pytest.mark.parametrize("text", ["a: 0123456789ABCDEF0123456789ABCDEF: b", "0123456789ABCDEF0123456789ABCDEF\na: b: c"])
def test_no_line_of_the_file_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert "0123456789" not in " ".join(map(str, load(path).problems))
