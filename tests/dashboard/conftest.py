"""A daemon with a page, and a browser."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs
from tests.site import Daemon, Site, site

SECRET = "correct horse battery staple"


class Watched:
    """A site whose daemon has a page."""

    def __init__(self, place: Site) -> None:
        self.place = place
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        secret = place.root / "secret"
        secret.write_text(SECRET + "\n")
        secret.chmod(0o600)
        place.config["dashboard"] = {"listen": f"127.0.0.1:{self.port}", "secret_file": str(secret)}
        place.project["requests_per_minute"] = 6000
        place.write_config()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Daemon:
        """The daemon, once its page is there."""
        daemon = self.place.start()
        daemon.wait_for("dashboard")
        return daemon

    def link(self) -> str:
        """A link that signs in."""
        return self.place.dropcap("dashboard", "--link").stdout.strip()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    for library in ("starlette", "uvicorn", "jinja2", "prometheus_client"):
        needs.library(library)
    with site(tmp_path) as made:
        yield Watched(made)
