"""The head of a reply, read line by line.

http.client hands it to Python's e-mail parser, which takes longer than all else that a small file costs, and which takes a
head for whole that breaks off in the middle.
"""

from __future__ import annotations

import http.client
from io import BufferedReader

#: A longer head is refused, as is a longer line: those of real servers and proxies have a few hundred bytes.
MOST = 64 * 1024


class HeadReadingResponse(http.client.HTTPResponse):
    """http.client's response, whose bodies it goes on to read, with a head of our reading."""

    fp: BufferedReader

    def begin(self) -> None:
        """Read the head. Raises http.client.HTTPException if it is none, or not whole."""
        if self.headers is not None:
            return
        while True:
            lines = self._lines()
            version, status, reason = _status(lines[0])
            if status != http.client.CONTINUE:
                break
        self.code = self.status = status
        self.reason = reason
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.headers = self.msg = fields(lines[1:])
        self._frame()

    def _frame(self) -> None:
        """Where the body ends, and whether the connection is good for another request."""
        self.chunked = (self.headers.get("transfer-encoding") or "").lower() == "chunked"
        self.chunk_left = None
        self.length = None
        said = (self.headers.get("content-length") or "").strip()
        if said.isascii() and said.isdigit() and not self.chunked:
            self.length = int(said)
        if self.status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED) or self.status < 200:
            self.length = 0
        connection = (self.headers.get("connection") or "").lower()
        kept = "close" not in connection if self.version == 11 else "keep-alive" in connection
        self.will_close = not kept or (not self.chunked and self.length is None)

    def _lines(self) -> list[str]:
        """The lines up to the empty one that ends a head, without their ends."""
        lines: list[str] = []
        left = MOST
        while line := self.fp.readline(left + 1):
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


def _status(line: str) -> tuple[str, int, str]:
    version, _, rest = line.partition(" ")
    code, _, reason = rest.strip().partition(" ")
    if not version.startswith(("HTTP/1.", "HTTP/0.9")) or len(code) != 3 or not (code.isascii() and code.isdigit()):
        raise http.client.BadStatusLine(line)
    return version, int(code), reason.strip()


def fields(lines: list[str]) -> http.client.HTTPMessage:
    """The header fields; a line that is none says nothing, one that begins with a space goes on with the one before it."""
    found: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if line[0] in " \t":
            if found:
                found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        elif colon and name:
            found.append((name.rstrip(), value.strip()))
    message = http.client.HTTPMessage()
    for name, value in found:
        message.set_raw(name, value)
    return message
