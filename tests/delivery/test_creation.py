"""`missing_record: create`: several files of one new record."""

from __future__ import annotations

from tests.site import Site


def test_several_files_of_one_new_record_take_one_of_the_days_limit(place: Site) -> None:
    place.folder.update(missing_record="create", create_limit=1)
    place.folder["rules"][0]["pattern"] = "{record:digits}_{visit:visits}_consent.pdf"
    place.write_config()
    files = ["501_V1_consent.pdf", "501_V1_lab_1.pdf", "501_V1_lab_2.pdf", "501_V1_scan.tif", "501_V2_consent.pdf"]
    for name in files:
        place.put(name, name.encode())
    result = place.once()
    assert result.returncode == 0, result.stdout
    assert place.done() == sorted(files)
