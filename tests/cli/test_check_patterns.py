"""`dropcap check` on patterns that may be read in several ways."""

from __future__ import annotations

from tests import needs
from tests.site import Site


def test_captures_that_touch_are_a_warning(place: Site) -> None:
    needs.mount_table(place.root)
    place.folder["rules"] = [{"name": "tight", "pattern": "{record:digits}{visit:digits}.pdf", "field": "scan"}]
    place.write_config()
    result = place.dropcap("check", "--offline")
    assert result.returncode == 0, result.stdout
    assert "rule tight: pattern: nothing tells where {record} ends and {visit} begins" in result.stdout
    assert "1 warning" in result.stdout
