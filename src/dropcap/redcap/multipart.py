"""An import request's body, streamed: exact length, bounded memory, and never finished if the file is not as it was."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from typing import BinaryIO

#: Bytes per read and send. Large enough to keep system calls few, small enough that progress and stops come quickly.
CHUNK = 256 * 1024


class SourceChanged(Exception):  # noqa: N818 - names what the file did
    """The file became shorter or longer than it was while it was being sent; the request was broken off."""


class SourceUnreadable(Exception):  # noqa: N818
    """The file could not be read to its end; the request was broken off. The cause is the operating system's error."""


class FileBody:
    """Iterates over the bytes of a `multipart/form-data` body with `fields` first and the file last.

    `source` is a file descriptor (read from its beginning, its offset left alone) or a binary file object (read from
    where it stands). Exactly `size` bytes are read. A source that holds fewer or more raises `SourceChanged` before the
    closing boundary is given out, so that the server sees a body that breaks off and stores nothing.
    """

    def __init__(
        self,
        fields: list[tuple[str, str]],
        source: BinaryIO | int,
        size: int,
        name: str,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        boundary = f"dropcap-{secrets.token_hex(16)}"
        self._head = (
            b"".join(
                f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
                for key, value in fields
            )
            + (
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
        )
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._source = source
        self._size = size
        self._progress = progress
        self._digest = hashlib.sha256()
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.length = len(self._head) + size + len(self._tail)

    @property
    def sha256(self) -> str:
        """The SHA-256 (hex) of the file's bytes given out so far."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        pending = self._head
        position = 0
        while position < self._size:
            chunk = self._read(position, min(CHUNK, self._size - position))
            if not chunk:
                raise SourceChanged(f"the file ended after {position} of {self._size} bytes")
            position += len(chunk)
            self._digest.update(chunk)
            if position == self._size:
                # The last bytes go out only together with the end, and the end only if the file ends here too.
                pending += chunk
                break
            yield pending + chunk if pending else chunk
            pending = b""
            self._report(position)
        if self._read(self._size, 1):
            raise SourceChanged(f"the file has more than its {self._size} bytes")
        yield pending + self._tail
        self._report(self._size)

    def _read(self, position: int, count: int) -> bytes:
        try:
            if isinstance(self._source, int):
                return os.pread(self._source, count, position)
            return self._source.read(count) or b""
        except (OSError, ValueError) as error:
            raise SourceUnreadable(f"the file could not be read: {error}") from error

    def _report(self, position: int) -> None:
        if self._progress is not None:
            self._progress(position)
