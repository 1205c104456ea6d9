"""`dropcap init` writes nothing that `check` would refuse: places that lie in each other."""

from __future__ import annotations

import pytest

from tests.site import Site


@pytest.mark.parametrize(("folder", "state"), [("in", "in/../in/state"), ("state/in", "state"), ("/", "state")])
def test_folder_and_state_dir_are_kept_apart(place: Site, folder: str, state: str) -> None:
    (place.root / "state").mkdir()
    made = place.root / "made.yaml"
    result = place.dropcap(
        *("init", "--url", place.box.url, "--token-file", str(place.token_file), "--folder", str(place.root / folder)),
        *("--state-dir", str(place.root / state), "--output", str(made), "--yes"),
    )
    assert result.returncode == 2
    assert "overlap: keep them apart" in result.stderr
    assert not made.exists()
