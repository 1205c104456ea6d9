"""The configurations that people copy load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dropcap.config.load import load

ROOT = Path(__file__).parents[2]
#: What is not there on this machine and is on theirs.
_ABSENT = ("does not exist", "is not set", "no such folder", "is not there", "cannot be")

_FENCE = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_DOCUMENTS = ("README.md", "docs/for-your-redcap-administrator.md")


def _problems(path: Path) -> list[str]:
    return [str(problem) for problem in load(path).problems if not any(words in str(problem) for words in _ABSENT)]


def test_the_settings_that_the_example_comments_out_are_the_defaults(tmp_path: Path) -> None:
    text = (ROOT / "config.example.yaml").read_text()
    uncommented, number = re.subn(
        r"^( *)# (ledger|lease|uploads_at_once|small_file|stop_within|create_limit|suggest_records|case_sensitive"
        r"|requests_per_minute|connect_timeout|timeout|deadline|max_size|allow_http|subfolders|rescan|settle_closed|settle_quiet"
        r"|first_start|min_free|ca_file|client_cert_file|client_key_file|proxy|proxy_credentials_file|group"
        r"|mode): ([^#\n]*?)( +#.*|; .*| \(.*)?$",
        r"\1\2: \3",
        text,
        flags=re.MULTILINE,
    )
    assert number == 27
    path = tmp_path / "config.yaml"
    path.write_text(uncommented)
    assert _problems(path) == []
    plain, explicit = load(ROOT / "config.example.yaml"), load(path)
    for name in ("ledger", "uploads_at_once", "small_file", "stop_within"):
        assert getattr(plain, name) == getattr(explicit, name), name
    assert plain.projects.keys() == explicit.projects.keys()
    for name, project in plain.projects.items():
        for key in ("requests_per_minute", "connect_timeout", "timeout", "deadline", "max_size", "ca_file", "proxy"):
            assert getattr(project, key) == getattr(explicit.projects[name], key), key


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_the_configurations_in_the_documents_load(document: str, tmp_path: Path) -> None:
    blocks = _FENCE.findall((ROOT / document).read_text())
    whole = [block for block in blocks if re.search(r"^(folders|projects):", block, re.MULTILINE)]
    for number, block in enumerate(whole):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        assert not load(path).fatal
        assert _problems(path) == []
    if document == "README.md":
        assert whole, "README shows a whole configuration"
