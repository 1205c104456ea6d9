from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from redcap_sandbox import Sandbox, classic_project, demo_project

TOKEN = "0123456789ABCDEF0123456789ABCDEF"

Post = Callable[..., requests.Response]


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with Sandbox(demo_project(), TOKEN) as running:
        yield running


@pytest.fixture
def classic() -> Iterator[Sandbox]:
    with Sandbox(classic_project(), TOKEN) as running:
        yield running


def call(box: Sandbox, *, files: Any = None, token: str = TOKEN, timeout: float = 10, **data: Any) -> requests.Response:
    """One API call on a connection of its own, messages as json."""
    fields = {"token": token, "format": "json", "returnFormat": "json", **data}
    return requests.post(box.url, data=fields, files=files, timeout=timeout, allow_redirects=False)


def upload(box: Sandbox, content: bytes = b"%PDF-1.7", name: str = "consent.pdf", **data: Any) -> requests.Response:
    """Import a file, into consent_pdf of record 101 at baseline unless told otherwise."""
    place = {"record": "101", "field": "consent_pdf", "event": "baseline_arm_1", **data}
    return call(box, content="file", action="import", files={"file": (name, content)}, **place)


def download(box: Sandbox, **data: Any) -> requests.Response:
    place = {"record": "101", "field": "consent_pdf", "event": "baseline_arm_1", **data}
    return call(box, content="file", action="export", **place)


def head_and_body(box: Sandbox, boundary: str, body: bytes, length: int | None = None) -> bytes:
    """A multipart request as it goes over the wire, its length told falsely if wanted."""
    head = (
        f"POST /api/ HTTP/1.1\r\nHost: 127.0.0.1:{box.port}\r\nContent-Type: multipart/form-data; boundary={boundary}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
