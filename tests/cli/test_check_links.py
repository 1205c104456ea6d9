"""What lies in each other only by way of links: in state_dir the configuration sees it, in folders `check` does."""

from __future__ import annotations

from tests.site import Site


def test_a_state_dir_that_leads_into_the_drop_folder(place: Site) -> None:
    (place.root / "link").symlink_to(place.drop)
    place.config["state_dir"] = str(place.root / "link" / "state")
    place.write_config()
    content = place.put("101_V1_consent.pdf")
    result = place.once("--wait", "0")
    assert result.returncode != 0
    assert "overlap" in result.stdout + result.stderr
    assert content.exists()


def test_folders_by_way_of_a_link(place: Site) -> None:
    (place.root / "link").symlink_to(place.root)
    (place.drop / "sub").mkdir()
    place.config["folders"]["other"] = {**place.folder, "path": str(place.root / "link" / "drop" / "sub")}
    place.write_config()
    result = place.dropcap("check", "--offline")
    assert result.returncode == 1
    assert "folder other: a link makes it overlap with the drop folder consents" in result.stdout


def test_a_folder_that_leads_to_state_dir(place: Site) -> None:
    (place.root / "link").symlink_to(place.root)
    place.config["state_dir"] = str(place.drop / "state")
    place.folder["path"] = str(place.root / "link" / "drop")
    place.write_config()
    result = place.dropcap("check", "--offline")
    assert result.returncode == 1
    assert "a link makes the folder" in result.stdout
