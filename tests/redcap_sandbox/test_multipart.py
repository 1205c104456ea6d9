"""Bodies as PHP reads them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import encode_multipart_formdata

from redcap_sandbox.multipart import Limits, Post, parse_body
from redcap_sandbox.structure import Upload


def reader(body: bytes, step: int = 1 << 16) -> Callable[[int], bytes]:
    left = [body]

    def read(size: int) -> bytes:
        size = min(size, step)
        chunk, left[0] = left[0][:size], left[0][size:]
        return chunk

    return read


def parse(body: bytes, content_type: str = "multipart/form-data; boundary=B", step: int = 1 << 16, **limits: int) -> Post:
    return parse_body(content_type, len(body), reader(body, step), Limits(**limits), lambda: Upload(None))


def part(headers: str, content: bytes = b"x") -> bytes:
    return b"--B\r\n" + f"Content-Disposition: form-data; {headers}\r\n\r\n".encode() + content + b"\r\n"


def content(post: Post, name: str = "file") -> bytes:
    stored = post.files[name].upload.content()
    assert isinstance(stored, bytes)
    return stored


@pytest.mark.parametrize("known", [True, False])
def test_largest_post_makes_it_empty(known: bool) -> None:
    body = part('name="a"') + part('name="file"; filename="a"', b"z" * 500) + b"--B--"
    length = len(body) if known else None
    post = parse_body("multipart/form-data; boundary=B", length, reader(body), Limits(post_max_size=400), lambda: Upload(None))
    assert not post.fields
    assert not post.files


def test_more_variables_than_allowed_are_dropped() -> None:
    body = b"&".join(b"r[]=%d" % number for number in range(10))
    assert parse(body, "application/x-www-form-urlencoded", max_input_vars=4).array("r") == ["0", "1", "2", "3"]


@given(st.binary(max_size=300), st.integers(1, 40), st.binary(max_size=40))
def test_content_arrives_as_it_was_however_it_is_sliced(sent: bytes, step: int, more: bytes) -> None:
    sent = sent + b"\r\n--" + more.replace(b"B", b"b")  # near misses of the boundary
    fields = {"token": "t", "file": ("scan 1.dcm", sent), "note": "ü"}
    body, _ = encode_multipart_formdata(fields, boundary="B" * 12)
    post = parse(body, "multipart/form-data; boundary=" + "B" * 12, step)
    assert content(post) == sent
    assert post.files["file"].upload.size == len(sent)
    assert (post.text("token"), post.text("note")) == ("t", "ü")


@given(st.binary(max_size=400))
def test_rubbish_is_survived(body: bytes) -> None:
    for kind in ("multipart/form-data; boundary=B", "application/x-www-form-urlencoded", "text/plain"):
        parse(b"--B\r\n" + body, kind).discard()


def test_large_content_goes_to_disk(tmp_path: object) -> None:
    from pathlib import Path

    directory = Path(str(tmp_path))
    body = part('name="file"; filename="a"', b"z" * 300_000) + b"--B--"
    post = parse_body("multipart/form-data; boundary=B", len(body), reader(body), Limits(), lambda: Upload(directory))
    stored = post.files["file"].upload.content()
    assert isinstance(stored, Path)
    assert stored.parent == directory
    assert stored.stat().st_size == 300_000
    post.discard()
    assert not list(directory.iterdir())
