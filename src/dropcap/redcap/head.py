"""A reply as it is read from a connection: its head line by line, then its body as the head frames it.

http.client would hand the head to Python's e-mail parser, which takes longer than all else that a small file costs, and which
takes a head for whole that breaks off in the middle; and it takes a body for whole that ends before its length.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader

#: A longer head is refused, as is a longer line: those of real servers and proxies have a few hundred bytes.
MOST = 64 * 1024
#: Bytes of a body in one piece, at most.
_PIECE = 64 * 1024
_HEX = re.compile(rb"[0-9A-Fa-f]{1,16}")


class Fields(Mapping[str, str]):
    """The fields of a head, whatever the case of their names; what stands in several lines is joined by commas."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in fields:
            key = name.lower()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Response:
    """A reply whose head is read. `kept`: the connection is good for another request, once the body is read.

    `framed`: the reply says where it ends, so that a cut is noticed.
    """

    def __init__(self, source: BufferedReader) -> None:
        """Read the head. Raises http.client.HTTPException if it is none, or not whole; OSError as the connection does."""
        self._source = source
        while True:
            lines = _lines(source)
            version, self.status = _status(lines[0])
            if self.status != http.client.CONTINUE:
                break
        self.headers = fields(lines[1:])
        get = self.headers.get
        self._chunked = get("transfer-encoding", "").lower() == "chunked"
        said = get("content-length", "")
        self.framed = said.isdigit() or self._chunked
        first = said.partition(",")[0].strip()
        self._length = int(first) if first.isascii() and first.isdigit() and not self._chunked else None
        if self.status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED) or self.status < 200:
            self._length = 0
        connection = get("connection", "").lower()
        kept = "close" not in connection if version == 11 else "keep-alive" in connection
        self.kept = kept and (self._chunked or self._length is not None)
        self.ended = self._length == 0

    def pieces(self) -> Iterator[bytes]:
        """The body as it was sent. Raises as reading the head does; a body that ends too early is an error."""
        if self._chunked:
            yield from self._chunks()
        elif self._length is not None:
            yield from self._next(self._length)
        else:
            while piece := self._source.read1(_PIECE):
                yield piece
        self.ended = True

    def _next(self, left: int) -> Iterator[bytes]:
        while left > 0:
            piece = self._source.read1(min(left, _PIECE))
            if not piece:
                raise http.client.IncompleteRead(b"", left)
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._source.readline(MOST)
            said = line.partition(b";")[0].strip()
            if not line.endswith(b"\n") or not _HEX.fullmatch(said):
                raise http.client.IncompleteRead(b"")
            if not (size := int(said, 16)):
                break
            yield from self._next(size)
            if self._source.readline(3) not in (b"\r\n", b"\n"):
                raise http.client.IncompleteRead(b"")
        while (line := self._source.readline(MOST)) not in (b"\r\n", b"\n"):
            if not line:  # the body is whole all the same
                self.kept = False
                break


def _lines(source: BufferedReader) -> list[str]:
    """The lines up to the empty one that ends a head, without their ends."""
    lines: list[str] = []
    left = MOST
    while line := source.readline(left + 1):
        left -= len(line)
        if left < 0:
            raise http.client.LineTooLong("reply's head")
        if not line.endswith(b"\n"):
            break
        text = line.decode("iso-8859-1").rstrip("\r\n")
        if text:
            lines.append(text)
        elif lines:
            return lines
    if not lines and not line:
        raise http.client.RemoteDisconnected("the server closed the connection without a reply")
    raise http.client.BadStatusLine("the reply broke off in its head")


def _status(line: str) -> tuple[int, int]:
    version, _, rest = line.partition(" ")
    code = rest.strip().partition(" ")[0]
    if not version.startswith(("HTTP/1.", "HTTP/0.9")) or len(code) != 3 or not (code.isascii() and code.isdigit()):
        raise http.client.BadStatusLine(line)
    return 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11, int(code)


def fields(lines: list[str]) -> Fields:
    """The header fields; a line that is none says nothing, one that begins with a space goes on with the one before it."""
    found: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if line[0] in " \t":
            if found:
                found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        elif colon and name:
            found.append((name.rstrip(), value.strip()))
    return Fields(found)
