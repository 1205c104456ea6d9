"""People at their desks: a real Samba server on the drop folder, written to and read by two colleagues and a stranger."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shares.samba import samba
from tests.site import Site, site


@pytest.fixture
def shared() -> Iterator[Site]:
    """A site that users other than root can get at; the folder that pytest gives lets in nobody else."""
    with tempfile.TemporaryDirectory(prefix="dropcap-test-") as name:
        Path(name).chmod(0o755)
        with site(Path(name)) as made:
            yield made


def put(root: Path, name: str, content: bytes) -> str:
    local = root / "to-put"
    local.write_bytes(content)
    local.chmod(0o644)
    return f'put "{local}" "{name}"'


def test_two_colleagues_and_a_stranger(shared: Site) -> None:
    with samba(shared.root, shared.drop) as server:
        daemon = shared.start()
        daemon.wait_for("folder_watched")
        sent = server.client(
            "desk1", put(shared.root, "999_V1_consent.pdf", b"one"), put(shared.root, "998_V1_consent.pdf", b"one")
        )
        assert sent.returncode == 0, sent.stdout + sent.stderr
        daemon.wait_for("failed", 2)
        for user in ("desk1", "desk2"):
            read = server.client(user, r"get failed\999_V1_consent.pdf.why.txt -")
            assert "999" in read.stdout, read.stdout + read.stderr
            assert "Data desk, ext. 4711" in read.stdout
        # The one who did not drop it renames it in failed/, and moves the other one back.
        renamed = server.client("desk2", r"rename failed\999_V1_consent.pdf failed\101_V1_consent.pdf")
        assert renamed.returncode == 0, renamed.stdout
        daemon.wait_for("done")
        moved = server.client("desk2", r"rename failed\998_V1_consent.pdf 102_V1_consent.pdf")
        assert moved.returncode == 0, moved.stdout
        daemon.wait_for("done", 2)
        # And the one who did drop it takes what the daemon has moved.
        assert server.client("desk1", put(shared.root, "holiday.jpg", b"a picture")).returncode == 0
        daemon.wait_for("failed", 3)
        assert server.client("desk1", r"rename failed\holiday.jpg 103_V1_scan.jpg").returncode == 0
        daemon.wait_for("done", 3)
        assert shared.names("failed") == []
        assert shared.box.content("101", "consent_pdf", "baseline_arm_1") == b"one"
        listed = server.client("desk1", r"cd done", "recurse", "ls")
        assert "101_V1_consent.pdf" in listed.stdout
        page = server.client("desk2", "get _STATUS.html -")
        assert "<html" in page.stdout

        stranger = server.client("stranger", "ls")
        assert stranger.returncode != 0
        assert "ACCESS_DENIED" in stranger.stdout + stranger.stderr
        assert "consent" not in stranger.stdout
        for path in shared.drop.rglob("*"):
            if path.name != ".dropcap":
                assert path.stat().st_mode & 0o007 == 0, f"{path} is open to everybody"
        assert daemon.stop() == 0
