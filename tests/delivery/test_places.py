"""Files of several folders that go to one place follow each other, each as soon as the one before it is over."""

from __future__ import annotations

from pathlib import Path

from tests.site import site

FOLDERS, EACH = 3, 3


def test_files_of_three_folders_to_one_place_follow_each_other(tmp_path: Path) -> None:
    with site(tmp_path, existing_file="replace", confirm="none", rescan="60s") as place:
        for number in range(1, FOLDERS):
            path = tmp_path / f"drop{number}"
            path.mkdir()
            place.config["folders"][f"more{number}"] = {**place.folder, "path": str(path)}
        place.write_config()
        daemon = place.start()
        for number in range(EACH):
            for folder in ("drop", *(f"drop{one}" for one in range(1, FOLDERS))):
                place.put(f"../{folder}/101_V1_scan_{number}.pdf", f"%PDF {folder} {number}\n".encode())
        daemon.wait_for("done", FOLDERS * EACH)
        jobs = [line["job"] for line in daemon.events("sending")]
        assert jobs == sorted(jobs), "in the order of their claims"
        assert len({line["folder"] for line in daemon.events("done")}) == FOLDERS
