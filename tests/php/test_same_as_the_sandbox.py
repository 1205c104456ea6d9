"""The sandbox reads the bodies of requests as a real PHP does."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from redcap_sandbox.multipart import Limits, parse_body
from redcap_sandbox.structure import Upload
from tests import needs
from tests.php.server import RealPhp, real_php

pytestmark = needs.every_test_needs("php")

Read = tuple[dict[str, Any], dict[str, tuple[str, int, int, str]]]
MULTIPART = "multipart/form-data; boundary=B"
END = b"--B--\r\n"
LIMIT = 100_000


def part(headers: str | bytes, content: bytes = b"x") -> bytes:
    headers = headers.encode() if isinstance(headers, str) else headers
    return b"--B\r\nContent-Disposition: form-data; " + headers + b"\r\n\r\n" + content + b"\r\n"


def file(name: str | bytes, content: bytes = b"x") -> bytes:
    name = name.encode() if isinstance(name, str) else name
    return part(b'name="file"; ' + name, content) + END


BODIES = {
    "quoted": file('filename="a.pdf"'),
    "bare": file("filename=a.pdf"),
    "bare with a space": file("filename=a b.pdf"),
    "single quotes": file("filename='a;b.pdf'"),
    "semicolon": file('filename="a;b.pdf"'),
    "apostrophe": file('filename="it\'s.pdf"'),
    "escaped quote": file(r'filename="a\"b.pdf"'),
    "percent quote": file('filename="a%22b.pdf"'),
    "open quote": file('filename="a.pdf'),
    "only a quote": file('filename="'),
    "Windows path": file(r'filename="C:\temp\a.pdf"'),
    "escaped path": file(r'filename="C:\\temp\\a.pdf"'),
    "upwards": file('filename="../../etc/passwd"'),
    "nothing but a folder": file('filename="a/"'),
    "dot": file('filename="."'),
    "leading dot": file('filename=".hidden.pdf"'),
    "spaces and dots at the ends": file('filename=" a.pdf. . "'),
    "NUL": file(b'filename="a\0b.pdf"'),
    "control characters": file(b'filename="a\x01\t\x7fb"'),
    "line feed": file(b'filename="a\nb.pdf"'),
    "carriage return": file(b'filename="a\rb.pdf"'),
    "folded": file(b'filename="a\r\n b.pdf"'),
    "UTF-8": file('filename="Röntgen 肺 🫁.pdf"'),
    "bidi": file('filename="a\u202efdp.exe"'),
    "not UTF-8": file(b'filename="R\xf6ntgen.pdf"'),
    "3000 characters": file(f'filename="{"a" * 3000}.pdf"'),
    "filename*": file("filename*=UTF-8''a.pdf"),
    "both filenames": file("filename=\"a.pdf\"; filename*=UTF-8''b.pdf"),
    "two filenames": file('filename="a"; filename="b"'),
    "space before =": file('filename = "a.pdf"'),
    "upper case": part('NAME="file"; FILENAME="a.pdf"') + END,
    "filename first": part('filename="a.pdf"; name="file"') + END,
    "empty name": part('name=""; filename="a.pdf"') + END,
    "no file chosen": file('filename=""', b""),
    "no name, but content": file('filename=""'),
    "empty file": file('filename="a"', b""),
    "same variable twice": part('name="file"; filename="1"', b"one") + file('filename="2"', b"two"),
    "field and file": part('name="file"') + file('filename="a"'),
    "array": part('name="r[]"', b"7") + part('name="r[]"', b"8") + part('name="r[5]"') + part('name="r[k]"') + END,
    "odd variables": part('name="a.b c"')
    + part('name="c[d"')
    + part('name="  s"')
    + part('name="[x]"')
    + part('name="e]f"')
    + END,
    "text as it is": part('name="v"', " ü &+%20 007 \r\n\n".encode())
    + part('name="n"', b"a\0b")
    + part('name="b"', b"\xff")
    + END,
    "near misses of the boundary": file('filename="a"', b"aa\r\n--A\r\n--\r\n--b\r\n-B"),
    "longer than the boundary": file('filename="a"', b"x\r\n--BB\r\ny"),
    "boundary and spaces": part('name="v"') + b'--B  \r\nContent-Disposition: form-data; name="w"\r\n\r\nw\r\n--B--',
    "ends with CR": file('filename="a"', b"abc\r"),
    "ends with LF": file('filename="a"', b"abc\n"),
    "only a line end": file('filename="a"', b"\r\n"),
    "line feeds alone": b'--B\nContent-Disposition: form-data; name="file"; filename="a"\n\nhello\n--B--\n',
    "preamble": b"hello\r\nworld\r\n" + file('filename="a"'),
    "after the end": file('filename="a"') + b"rubbish\r\n" + part('name="late"') + END,
    "no end": part('name="v"') + part('name="file"; filename="a"')[:-2],
    "half an end": part('name="file"; filename="a"') + b"--B",
    "cut in the content": part('name="v"') + file('filename="a"', b"y" * 5000)[:3000],
    "cut in the headers": part('name="v"') + b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n',
    "no content, no line end": b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n--B--\r\n',
    "cut in a text": part('name="v"', b"12345")[:-4],
    "part without headers": b"--B\r\n\r\nfoo\r\n" + file('filename="a"'),
    "part without a disposition": b"--B\r\nContent-Type: text/plain\r\n\r\nfoo\r\n" + file('filename="a"'),
    "disposition without a name": b"--B\r\nContent-Disposition: form-data\r\n\r\nfoo\r\n" + file('filename="a"'),
    "attachment": b'--B\r\nContent-Disposition: attachment; name="file"; filename="a"\r\n\r\nfoo\r\n--B--',
    "folded headers": b'--B\r\nContent-Disposition: form-data;\r\n name="file";\r\n\tfilename="a"\r\n\r\nfoo\r\n--B--',
    "space before the colon": b'--B\r\nContent-Disposition : form-data; name="v"\r\n\r\nfoo\r\n--B--',
    "other headers": b'--B\r\nX: filename="x"\r\n' + file('filename="a"').removeprefix(b"--B\r\n"),
    "every byte": file('filename="a"', bytes(range(256)) * 300),
    "as large as allowed": file('filename="a"', b"z" * LIMIT),
    "larger than allowed": part('name="v"') + part('name="file"; filename="a"', b"z" * (LIMIT + 1)) + part('name="w"') + END,
    "nothing": b"",
    "no boundary at all": b"hello",
}
TYPES = [
    MULTIPART,
    'multipart/form-data; boundary="B"',
    'multipart/form-data; boundary="B',
    "multipart/form-data; boundary=B; charset=x",
    "multipart/form-data; boundary=B,x",
    "multipart/form-data; boundary= B",
    "Multipart/Form-Data;Boundary=B",
    "multipart/form-data",
    "multipart/mixed; boundary=B",
    "text/plain",
]
FORMS = [
    b"a=1&b=2+3&c=%26%2B&e=&=x&f&u=%C3%BC&bad=%ff&n=%00z&p=100%&q=%zz",
    b"r[]=1&r[]=2&r[k]=3&r%5B%5D=4&a.b=1&c d=2",
    b"a=1;b=2&a=3&a=4&&&d==b",
]


@pytest.fixture(scope="module")
def php(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPhp]:
    with real_php(tmp_path_factory.mktemp("php") / "state", upload_max_filesize=str(LIMIT)) as server:
        yield server


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_multipart(php: RealPhp, body: bytes) -> None:
    assert _by_sandbox(body, MULTIPART) == _by_php(php, body, MULTIPART)


@pytest.mark.parametrize("content_type", TYPES)
def test_boundaries(php: RealPhp, content_type: str) -> None:
    body = part('name="v"') + file('filename="a.pdf"')
    assert _by_sandbox(body, content_type) == _by_php(php, body, content_type)


@pytest.mark.parametrize("body", FORMS)
def test_forms(php: RealPhp, body: bytes) -> None:
    kind = "application/x-www-form-urlencoded"
    assert _by_sandbox(body, kind) == _by_php(php, body, kind)


def _by_php(php: RealPhp, body: bytes, content_type: str) -> Read:
    status, reply = php.post("/echo", body, content_type)
    assert status == 200
    told = json.loads(reply)
    files = {_text(one["key"]): (_text(one["name"]), one["error"], one["size"], one["sha256"]) for one in told["files"]}
    return _mapping(told["post"]), files


def _mapping(pairs: list[Any]) -> dict[str, Any]:
    return {_text(key): _mapping(value) if isinstance(value, list) else _text(value) for key, value in pairs}


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode("utf-8", "replace")


def _by_sandbox(body: bytes, content_type: str) -> Read:
    post = parse_body(content_type, len(body), _reader(body), Limits(upload_max_filesize=LIMIT), lambda: Upload(None))
    files = {}
    for name, posted in post.files.items():
        content = posted.upload.content() if not posted.error else b""
        if not isinstance(content, bytes):
            content = content.read_bytes()
        files[name] = (posted.name, int(posted.error), len(content), hashlib.sha256(content).hexdigest())
    post.discard()
    return dict(post.fields), files


def _reader(body: bytes) -> Callable[[int], bytes]:
    left = [body]

    def read(size: int) -> bytes:
        chunk, left[0] = left[0][:size], left[0][size:]
        return chunk

    return read
