"""A TCP proxy on the way to a PostgreSQL that loses, delays and cuts off what passes, as a sick network does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.postgres.cluster import reserved_port
from tests.postgres.wire import Session, asks_to_commit, ends_turn, has_committed, is_done, is_idle

Side = Literal["client", "server", "both"]
#: How a connection comes to its end at a COMMIT: reset, or nothing passes on it any more.
End = Literal["reset", "silence"]


@dataclass
class _Cut:
    """An order to cut off one connection at a COMMIT of a transaction with this text."""

    before: bool
    of: bytes
    end: End
    struck: threading.Event = field(default_factory=threading.Event)


class _Connection:
    """One client and its way to the server."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = {"client": client}
        self.session = Session()
        #: What the server has said to be done since it last waited for the client, and what of its words is held back.
        self.turn: list[bytes] = []
        self.held = b""
        self.silent = False
        #: The sides that were reset here, of which the other one is told nothing.
        self.gone: set[str] = set()

    def reset(self, side: Side) -> None:
        for name, writer in self.writers.items():
            if side in (name, "both"):
                self.gone.add(name)
                _reset(writer)


class Proxy:
    """Listens on loopback; what it is told nothing about goes through as it is. All methods may be called from any thread, and
    what they ask for holds when they return.
    """

    def __init__(self, upstream: int) -> None:
        #: The server's port: that of connections to come, if it is changed.
        self.upstream = upstream
        self._reserved = reserved_port()
        self.port: int = self._reserved.getsockname()[1]
        self._latency = 0.0
        self._cuts: list[_Cut] = []
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._open = {"client": asyncio.Event(), "server": asyncio.Event()}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.resume()
        self.admit()

    # -- what is done to those who pass

    def deaf(self, side: Side = "both") -> None:
        """Nothing reaches this side any longer, not even that the other one has gone; what comes is acknowledged and kept."""
        for name, event in self._open.items():
            if side in (name, "both"):
                self._call(event.clear)

    def resume(self) -> None:
        """What was kept goes on its way, and all that comes."""
        for event in self._open.values():
            self._call(event.set)

    def latency(self, milliseconds: float) -> None:
        """So long is the way, in each direction."""
        self._latency = milliseconds / 1000

    def reset(self, side: Side = "both") -> None:
        """Reset every connection; that of one side only: the other one learns nothing of it."""

        def each() -> None:
            for connection in self._connections:
                connection.reset(side)

        self._call(each)

    def refuse(self) -> None:
        """Nobody listens any more; those who have come stay."""

        def close() -> None:
            if self._listener is not None:
                self._listener.close()
                self._listener = None

        self._call(close)

    def admit(self) -> None:
        """Listen again."""

        async def listen() -> None:
            if self._listener is None:
                self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=100)

        asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)

    def cut_after_commit(self, *, of: str = "", end: End = "reset") -> threading.Event:
        """Cut off the next client whose transaction was committed (of those in which a statement contains `of`), before it
        hears of it. A SELECT alone commits nothing, nor can be seen what TLS hides. Set once that has happened.
        """
        return self._order(_Cut(False, of.encode(), end))

    def cut_before_commit(self, *, of: str = "", end: End = "reset") -> threading.Event:
        """As `cut_after_commit`, and its COMMIT is lost as well: the client cannot tell the two apart."""
        return self._order(_Cut(True, of.encode(), end))

    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def close(self) -> None:
        """Break off everything."""
        self.refuse()
        self.reset()
        asyncio.run_coroutine_threadsafe(self._ended(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._reserved.close()

    # -- in the loop's thread

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        connection = _Connection(client)
        self._connections.add(connection)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._open["server"].wait()
            if client.is_closing():
                return
            back, connection.writers["server"] = await asyncio.open_connection("127.0.0.1", self.upstream)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(connection, "server", reader))
                group.create_task(self._carry(connection, "client", back))
        except OSError:  # nobody listens there
            connection.reset("both")
        except asyncio.CancelledError:
            task.uncancel()
        finally:
            for writer in connection.writers.values():
                writer.close()
            self._connections.discard(connection)
            self._tasks.discard(task)

    async def _carry(self, connection: _Connection, to: str, reader: asyncio.StreamReader) -> None:
        """Take what comes from one side to the other, in order, each when it is due."""
        under_way: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()
        bringing = asyncio.create_task(self._bring(connection, to, under_way))
        try:
            data: bytes | None = b"-"
            while data:
                try:
                    data = await reader.read(1 << 16)
                except OSError:
                    data = None
                if not data and (connection.gone - {to}):
                    return
                under_way.put_nowait((self._loop.time() + self._latency, data))
            await bringing
        finally:
            bringing.cancel()

    async def _bring(self, connection: _Connection, to: str, under_way: asyncio.Queue[tuple[float, bytes | None]]) -> None:
        data: bytes | None = b"-"
        while data:
            due, data = await under_way.get()
            await asyncio.sleep(due - self._loop.time())
            await self._open[to].wait()
            writer = connection.writers[to]
            if connection.silent or writer.is_closing():
                continue
            if data is None:
                _reset(writer)
            elif not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
            elif passing := (self._to_server if to == "server" else self._to_client)(connection, data):
                writer.write(passing)

    def _to_server(self, connection: _Connection, data: bytes) -> bytes:
        passing = b""
        for message in connection.session.sent(data):
            if asks_to_commit(message) and (cut := self._ordered(connection, before=True)):
                self._strike(connection, cut)
                return passing if cut.end == "silence" else b""
            passing += message
        return passing

    def _to_client(self, connection: _Connection, data: bytes) -> bytes:
        passing = b""
        for message in connection.session.answered(data):
            connection.turn += [message] if is_done(message) or ends_turn(message) else []
            connection.held += message
            if ends_turn(message):
                cut = self._ordered(connection, before=False) if has_committed(connection.turn) else None
                if cut:
                    self._strike(connection, cut)
                    return b""
                if is_idle(message):
                    connection.session.statements.clear()
                connection.turn.clear()
            if not (self._cuts and connection.turn):
                passing += connection.held
                connection.held = b""
        return passing

    def _ordered(self, connection: _Connection, *, before: bool) -> _Cut | None:
        """The order for a connection that commits, if there is one; it is not given twice."""
        for cut in self._cuts:
            if cut.before == before and any(cut.of in text for text in connection.session.statements):
                self._cuts.remove(cut)
                return cut
        return None

    def _strike(self, connection: _Connection, cut: _Cut) -> None:
        if cut.end == "reset":
            connection.reset("both")
        else:
            connection.silent = True
        cut.struck.set()

    async def _ended(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- from other threads

    def _order(self, cut: _Cut) -> threading.Event:
        self._call(lambda: self._cuts.append(cut))
        return cut.struck

    def _call(self, what: Callable[[], object]) -> None:
        async def calling() -> None:
            what()

        asyncio.run_coroutine_threadsafe(calling(), self._loop).result(10)


@contextlib.contextmanager
def proxy(upstream: int) -> Iterator[Proxy]:
    """A proxy before the PostgreSQL at a port of this machine."""
    made = Proxy(upstream)
    try:
        yield made
    finally:
        made.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close without a farewell."""
    if not writer.is_closing():
        held: socket.socket = writer.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
