"""Multipart bodies, read as PHP reads them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from urllib.parse import parse_qsl

from redcap_sandbox.structure import Upload


def split_name(name: str) -> tuple[str, str | None]:
    """A variable's name and its array key: `a[b]` -> ("a", "b"), `a[]` -> ("a", ""), `a.b` -> ("a_b", None)."""
    name = name.split("\0", 1)[0].lstrip(" ")
    base, bracket, rest = name.partition("[")
    if bracket and base and "]" in rest:
        return _mangled(base), rest.split("]", 1)[0]
    return _mangled(name.replace("[", "_", 1) if bracket else name), None


def _mangled(name: str) -> str:
    return name.replace(".", "_").replace(" ", "_")


def base_name(filename: str) -> str:
    """What PHP keeps of a file's name."""
    return filename.split("\0", 1)[0].replace("\\", "/").rsplit("/", 1)[-1]


#: One parameter with its quotes, and what stands within quotes, in which a backslash hides itself and the quote.
_PARAMETER = re.compile(r"""(?:"(?:\\["\\]|[^"])*(?:"|$)|'(?:\\['\\]|[^'])*(?:'|$)|[^;"'])+""", re.DOTALL)
_QUOTED = re.compile(r"""(["'])((?:\\(?:\\|\1)|(?!\1).)*)""", re.DOTALL)


def parameters(header: str) -> dict[str, str]:
    """The parameters of a Content-Disposition line, unquoted the way PHP does it."""
    pairs = (part.partition("=") for part in _PARAMETER.findall(header))
    return {name.lstrip().lower(): _unquoted(value.strip()) for name, equals, value in pairs if equals}


def _unquoted(value: str) -> str:
    quoted = _QUOTED.match(value)
    if quoted is None:
        return value.split(" ", 1)[0]
    return re.sub(rf"\\(\\|{quoted[1]})", r"\1", quoted[2])


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a multipart Content-Type names, or None."""
    kind, _, rest = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        return None
    position = rest.lower().find("boundary=")
    if position < 0:
        return None
    value = rest[position + len("boundary=") :]
    if value.startswith('"'):
        value, closed, _ = value[1:].partition('"')
        if not closed:
            return None
    else:
        value = value.split(";", 1)[0].split(",", 1)[0]
    return value.encode("latin-1") or None


CHUNK = 256 * 1024
#: PHP gives up on header lines that are longer.
MAX_LINE = 16 * 1024


class UploadError(IntEnum):
    """PHP's codes for what became of an upload."""

    OK = 0
    INI_SIZE = 1
    PARTIAL = 3
    NO_FILE = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """PHP's settings, in bytes; 0 for no limit. `emptied_status`: what REDCap answers to a request over post_max_size, of
    which PHP leaves nothing (which of 400, 403 and 501 it is, no public capture tells)."""

    upload_max_filesize: int = 0
    post_max_size: int = 0
    max_input_vars: int = 100_000
    emptied_status: int = 403
    display_errors: bool = False


@dataclass(slots=True)
class PostedFile:
    name: str
    error: UploadError
    upload: Upload


@dataclass(slots=True)
class Post:
    """`fields` holds text, or for arrays a mapping of keys to text. `emptied`: bytes of a body that was over post_max_size."""

    fields: dict[str, str | dict[str, str]] = field(default_factory=dict)
    files: dict[str, PostedFile] = field(default_factory=dict)
    emptied: int = 0

    def text(self, name: str) -> str:
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else ""

    def array(self, name: str) -> list[str]:
        """The values of an array; text is split at commas, as REDCap does with record and field lists."""
        value = self.fields.get(name, "")
        if isinstance(value, dict):
            return list(value.values())
        return [part.strip() for part in value.split(",") if part.strip()]

    def add(self, name: str, value: str) -> None:
        base, key = split_name(name)
        if not base or name.lstrip(" ").startswith("["):
            return
        if key is None:
            self.fields[base] = value
            return
        array = self.fields.get(base)
        if not isinstance(array, dict):
            array = self.fields[base] = {}
        array[key or _next_key(array)] = value

    def discard(self) -> None:
        for posted in self.files.values():
            posted.upload.discard()


def _next_key(array: dict[str, str]) -> str:
    return str(max((int(key) for key in array if key.isascii() and key.isdigit()), default=-1) + 1)


def parse_body(
    content_type: str, length: int | None, read: Callable[[int], bytes], limits: Limits, new_upload: Callable[[], Upload]
) -> Post:
    """Read a body to its end. `length` is its announced length in bytes, None if it has none."""
    if limits.post_max_size and (length or 0) > limits.post_max_size:
        while read(CHUNK):
            pass
        return Post(emptied=length or 0)
    taken = 0

    def counted(size: int) -> bytes:
        nonlocal taken
        chunk = read(size)
        taken += len(chunk)
        return chunk

    boundary = boundary_of(content_type)
    if boundary is not None:
        post = _Multipart(boundary, counted, limits, new_upload).parse()
    else:
        post = _parse_form(content_type, counted, limits)
    if limits.post_max_size and taken > limits.post_max_size:  # a chunked body tells its length only at the end
        post.discard()
        return Post(emptied=taken)
    return post


def _parse_form(content_type: str, read: Callable[[int], bytes], limits: Limits) -> Post:
    body = bytearray()
    while chunk := read(CHUNK):
        body += chunk
    post = Post()
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace")
        for name, value in pairs[: limits.max_input_vars]:
            post.add(name, value)
    return post


class _Multipart:
    def __init__(self, boundary: bytes, read: Callable[[int], bytes], limits: Limits, new_upload: Callable[[], Upload]) -> None:
        self._delimiter = b"--" + boundary
        self._read = read
        self._limits = limits
        self._new_upload = new_upload
        self._buffer = b""
        self._ended = False

    def parse(self) -> Post:
        post = Post()
        count = 0
        while self._next_part():
            headers = self._headers()
            if "content-disposition" not in headers:
                continue
            disposition = parameters(headers["content-disposition"])
            if not {"name", "filename"} & disposition.keys():
                break
            name = disposition.get("name", "")
            count += 1
            wanted = bool(name) and count <= self._limits.max_input_vars
            if "filename" in disposition:
                posted = self._file(disposition["filename"])
                base, key = split_name(name)
                if wanted and key is None:
                    if base in post.files:
                        post.files[base].upload.discard()
                    post.files[base] = posted
                else:
                    posted.upload.discard()
            else:
                value = bytearray()
                self._content(value.extend)
                if wanted:
                    post.add(name, value.decode("utf-8", "replace"))
        while not self._ended:
            self._buffer = b""
            self._fill()
        return post

    def _next_part(self) -> bool:
        while (line := self._line()) is not None:
            if line == self._delimiter:
                return True
        return False

    def _file(self, name: str) -> PostedFile:
        upload = self._new_upload()
        limit = self._limits.upload_max_filesize
        too_large = False

        def keep(chunk: bytes) -> None:
            nonlocal too_large
            too_large = too_large or bool(limit and upload.size + len(chunk) > limit)
            if name and not too_large:
                upload.write(chunk)

        whole = self._content(keep)
        error = UploadError.OK
        if not name:
            error = UploadError.NO_FILE
        elif too_large:
            error = UploadError.INI_SIZE
        elif not whole:
            error = UploadError.PARTIAL
        if error:
            upload.discard()
        return PostedFile(base_name(name), error, upload)

    def _fill(self) -> bool:
        if self._ended:
            return False
        chunk = self._read(CHUNK)
        self._ended = not chunk
        self._buffer += chunk
        return bool(chunk)

    def _line(self) -> bytes | None:
        """The next line without its end, or None at the end of the body."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE or not self._fill():
                line, self._buffer = self._buffer, b""
                return line or None
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.removesuffix(b"\r")

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        last = ""
        while line := self._line():
            text = line.decode("utf-8", "replace")
            name, colon, value = text.partition(":")
            if colon and name and not name[0].isspace():
                last = name.lower()
                headers[last] = value.strip()
            elif last:
                headers[last] += text
        return headers

    def _content(self, keep: Callable[[bytes], object]) -> bool:
        """Hand on a part's content; False if the body ends before the next boundary."""
        end = b"\n" + self._delimiter
        while (position := self._buffer.find(end)) < 0:
            held_back = len(end) + 1  # the boundary may have come in part, with a CR before it
            if len(self._buffer) > held_back:
                keep(self._buffer[:-held_back])
                self._buffer = self._buffer[-held_back:]
            if not self._fill():
                keep(self._buffer.removesuffix(b"\n").removesuffix(b"\r"))
                self._buffer = b""
                return False
        keep(self._buffer[:position].removesuffix(b"\r"))
        self._buffer = self._buffer[position + 1 :]
        return True
