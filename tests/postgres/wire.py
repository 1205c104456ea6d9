"""As much of PostgreSQL's protocol as it takes to see where a message ends, which statement was sent and what was committed."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

#: What a client may ask before all else, each answered by one byte: TLS, GSSAPI.
_ASKING = (80877103, 80877104)
_COMMIT = re.compile(rb"\s*(?:commit|end)\b", re.IGNORECASE)
#: Statements that commit nothing, by the first word of what the server says of each; a rolled back COMMIT says ROLLBACK.
_CHANGE_NOTHING = (b"BEGIN", b"ROLLBACK", b"SELECT", b"SET", b"SHOW", b"FETCH", b"DISCARD", b"LISTEN", b"SAVEPOINT", b"RELEASE")


@dataclass
class Session:
    """One connection: what has been sent in its transaction, and prepared before."""

    #: Encrypted, or nothing that is known: no message is seen any more.
    opaque: bool = False
    statements: list[bytes] = field(default_factory=list)
    _from_client: bytes = b""
    _from_server: bytes = b""
    _begun: bool = False
    _answered: bool = False
    _prepared: dict[bytes, bytes] = field(default_factory=dict)

    def sent(self, data: bytes) -> Iterator[bytes]:
        """What the client sent, message by message; the rest of one that is not whole follows with the next call."""
        self._from_client += data
        while not self.opaque and (size := self._size(self._from_client, 1 if self._begun else 0)):
            message, self._from_client = self._from_client[:size], self._from_client[size:]
            if self._begun:
                self._note(message)
            elif struct.unpack_from("!I", message, 4)[0] not in _ASKING:
                self._begun = True
            yield message
        if self.opaque and self._from_client:
            yield self._from_client
            self._from_client = b""

    def answered(self, data: bytes) -> Iterator[bytes]:
        """What the server sent, message by message."""
        self._from_server += data
        while not self.opaque and self._from_server:
            if not self._answered and self._from_server[:1] in (b"S", b"G"):
                self.opaque = True
                break
            alone = not self._answered and self._from_server[:1] == b"N"
            size = 1 if alone else self._size(self._from_server, 1)
            if not size:
                return
            self._answered = self._answered or not alone
            message, self._from_server = self._from_server[:size], self._from_server[size:]
            yield message
        if self.opaque and self._from_server:
            yield self._from_server
            self._from_server = b""

    def _size(self, data: bytes, kind: int) -> int:
        """The length of the first message, 0 if not all of it is there."""
        if len(data) < kind + 4:
            return 0
        (length,) = struct.unpack_from("!I", data, kind)
        if kind == 0 and data[0] == 0x16:  # TLS from the first byte
            self.opaque = True
            return 0
        return kind + length if len(data) >= kind + length else 0

    def _note(self, message: bytes) -> None:
        kind, body = message[:1], message[5:]
        if kind == b"Q":
            self.statements.append(body)
        elif kind == b"P":
            name, _, rest = body.partition(b"\0")
            self._prepared[name] = rest.partition(b"\0")[0]
        elif kind == b"B":
            self.statements.append(self._prepared.get(body.split(b"\0", 2)[1], b""))


def asks_to_commit(message: bytes) -> bool:
    """Whether a client's message is a COMMIT, or prepares one."""
    kind, body = message[:1], message[5:]
    text = body if kind == b"Q" else body.partition(b"\0")[2] if kind == b"P" else b""
    return bool(_COMMIT.match(text))


def is_done(message: bytes) -> bool:
    """Whether the server says that a statement is done (CommandComplete)."""
    return message[:1] == b"C"


def ends_turn(message: bytes) -> bool:
    """Whether the server waits for the client after this message of its own (ReadyForQuery)."""
    return message[:1] == b"Z"


def is_idle(message: bytes) -> bool:
    """Whether no transaction is open after `ends_turn`."""
    return message[5:] == b"I"


def has_committed(turn: list[bytes]) -> bool:
    """Whether a transaction that may have changed something was committed: all that `is_done`, and the message that
    `ends_turn`.
    """
    done = [message[5:].split(b"\0")[0].split(b" ")[0] for message in turn[:-1]]
    return is_idle(turn[-1]) and any(word not in _CHANGE_NOTHING for word in done)
