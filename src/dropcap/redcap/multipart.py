"""An import request's body, streamed: exact length, bounded memory, and never finished if the file is not as it was."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Protocol

from dropcap.threads import NoThread, begin

#: Bytes per read and send. Large enough to keep system calls few, small enough that progress and stops come quickly.
CHUNK = 512 * 1024
#: Chunks of one body in memory.
BUFFERS = 4


class Readable(Protocol):
    """A file object that reads into a given buffer."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read at most as much as fits; how much it was, 0 at the end."""


class SourceChanged(Exception):  # noqa: N818 - names what the file did
    """The file became shorter or longer than it was while it was being sent; the request was broken off."""


class SourceUnreadable(Exception):  # noqa: N818
    """The file could not be read to its end; the request was broken off. The cause is the operating system's error."""


class FileBody:
    """The bytes of a `multipart/form-data` body with `fields` first and the file last: `whole`, or piece by piece.

    `source` is a file descriptor (read from its beginning, its offset left alone) or a file object (read from where it
    stands). Exactly `size` bytes are read. A source that holds fewer or more raises `SourceChanged` before the closing
    boundary is given out, so that the server sees a body that breaks off and stores nothing.
    """

    def __init__(
        self,
        fields: list[tuple[str, str]],
        source: Readable | int,
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
        """The SHA-256 (hex) of the file's bytes given out so far, once the last piece was asked for."""
        return self._digest.hexdigest()

    def whole(self) -> bytes:
        """The body in one piece, for a file that is small enough."""
        content = bytearray(self._size)
        position = 0
        while position < self._size:
            position += self._read(memoryview(content)[position:], position)
        self._digest.update(content)
        self._end()
        self._report(self._size)
        return b"".join((self._head, content, self._tail))

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """The pieces. Each is good until the next one is asked for.

        What was read is hashed from the buffer that it is sent from, in another thread meanwhile: on a quick network
        hashing takes as long as sending. A few buffers take turns, so that neither waits for the other's every step.
        """
        yield self._head
        free: SimpleQueue[memoryview] = SimpleQueue()
        filled: SimpleQueue[tuple[memoryview, memoryview] | None] = SimpleQueue()
        for _ in range(BUFFERS):
            free.put(memoryview(bytearray(CHUNK)))

        def hash_what_is_sent() -> None:
            while (work := filled.get()) is not None:
                self._digest.update(work[1])
                free.put(work[0])

        hasher: threading.Thread | None = None
        with contextlib.suppress(NoThread):  # then this one hashes as well
            hasher = begin(hash_what_is_sent, "sha256")
        position = 0
        piece = memoryview(b"")
        try:
            while position < self._size:
                if hasher is None and free.empty():
                    filled.put(None)
                    hash_what_is_sent()
                buffer = free.get()
                piece = buffer[: self._size - position]
                piece = piece[: self._read(piece, position)]
                position += len(piece)
                filled.put((buffer, piece))
                if position < self._size:
                    yield piece
                    self._report(position)
        finally:
            filled.put(None)
        if hasher is not None:
            hasher.join()
        else:
            hash_what_is_sent()
        # The last bytes go out only together with the end, and the end only if the file ends here too.
        self._end()
        yield b"".join((piece, self._tail))
        self._report(self._size)

    def _read(self, buffer: memoryview, position: int) -> int:
        """Fill the beginning of `buffer` with what follows `position`, which must be something."""
        count = self._readinto(buffer, position)
        if not count:
            raise SourceChanged(f"the file ended after {position} of {self._size} bytes")
        return count

    def _end(self) -> None:
        if self._readinto(memoryview(bytearray(1)), self._size):
            raise SourceChanged(f"the file has more than its {self._size} bytes")

    def _readinto(self, buffer: memoryview, position: int) -> int:
        try:
            if isinstance(self._source, int):
                return os.preadv(self._source, [buffer], position)
            return self._source.readinto(buffer) or 0
        except (OSError, ValueError) as error:
            raise SourceUnreadable(f"the file could not be read: {error}") from error

    def _report(self, position: int) -> None:
        if self._progress is not None:
            self._progress(position)
