"""Bodies as PHP reads them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import encode_multipart_formdata

from redcap_sandbox.multipart import Limits, Post, UploadError, base_name, boundary_of, parameters, parse_body, split_name
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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", ("a", None)),
        ("a.b c", ("a_b_c", None)),
        ("a[]", ("a", "")),
        ("a[3]", ("a", "3")),
        ("a.b[c.d]", ("a_b", "c.d")),
        ("a[b", ("a_b", None)),
        ("  a", ("a", None)),
        ("a\0b", ("a", None)),
    ],
)
def test_names_of_variables(name: str, expected: tuple[str, str | None]) -> None:
    assert split_name(name) == expected


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('filename="a.pdf"', "a.pdf"),
        ("filename=a.pdf", "a.pdf"),
        ("filename='a;b.pdf'", "a;b.pdf"),
        (r'filename="a\"b.pdf"', 'a"b.pdf'),
        (r'filename="C:\\temp\\a.pdf"', "a.pdf"),
        (r'filename="C:\temp\a.pdf"', "a.pdf"),
        ('filename="../../etc/passwd"', "passwd"),
        ('filename="a/b\\c.pdf"', "c.pdf"),
        ('filename="a\0b.pdf"', "a"),
        ('filename="a%22b.pdf"', "a%22b.pdf"),
        ('filename="Röntgen 1;2.pdf"', "Röntgen 1;2.pdf"),
    ],
)
def test_names_of_files(header: str, name: str) -> None:
    post = parse(part(f'name="file"; {header}') + b"--B--\r\n")
    assert post.files["file"].name == name
    assert content(post) == b"x"


def test_filename_star_is_not_known() -> None:
    post = parse(part("name=\"file\"; filename*=UTF-8''a.pdf") + b"--B--\r\n")
    assert not post.files
    assert post.text("file") == "x"


def test_last_of_equal_names_wins() -> None:
    body = part('name="a"', b"1") + part('name="a"', b"2") + part('name="file"; filename="1"', b"one")
    post = parse(body + part('name="file"; filename="2"', b"two") + b"--B--")
    assert post.text("a") == "2"
    assert (post.files["file"].name, content(post)) == ("2", b"two")


def test_arrays() -> None:
    body = b"".join(
        part(f'name="{name}"', value) for name, value in [("r[]", b"7"), ("r[]", b"8"), ("r[5]", b"9"), ("f", b"a, b")]
    )
    post = parse(body + b"--B--")
    assert post.fields["r"] == {"0": "7", "1": "8", "5": "9"}
    assert post.array("r") == ["7", "8", "9"]
    assert post.array("f") == ["a", "b"]


@pytest.mark.parametrize("cut", range(1, 8))
def test_cut_off_body_stores_nothing(cut: int) -> None:
    whole = part('name="a"') + part('name="file"; filename="a.pdf"', b"content")
    post = parse((whole + b"--B")[: -2 - cut])
    assert post.files["file"].error is UploadError.PARTIAL
    assert post.text("a") == "x"


@pytest.mark.parametrize(
    ("size", "limit", "error"), [(10, 0, UploadError.OK), (10, 10, UploadError.OK), (11, 10, UploadError.INI_SIZE)]
)
def test_largest_upload(size: int, limit: int, error: UploadError) -> None:
    body = part('name="file"; filename="a"', b"z" * size) + part('name="after"') + b"--B--"
    post = parse(body, upload_max_filesize=limit)
    assert post.files["file"].error is error
    assert post.text("after") == "x"


def test_no_file_chosen() -> None:
    assert parse(part('name="file"; filename=""', b"") + b"--B--").files["file"].error is UploadError.NO_FILE


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


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; boundary="a b"', b"a b"),
        ("Multipart/Form-Data; charset=x; Boundary=abc; y=z", b"abc"),
        ("multipart/form-data", None),
        ("text/plain; boundary=abc", None),
    ],
)
def test_boundary(header: str, boundary: bytes | None) -> None:
    assert boundary_of(header) == boundary


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


@given(st.text(max_size=60))
def test_headers_of_any_shape_are_survived(text: str) -> None:
    parameters(text)
    assert "/" not in base_name(text)
    assert "\\" not in base_name(text)


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
