"""Many small files at once: dropcap against the scripts that people write, from the first write to the last file in done/."""

from __future__ import annotations

import selectors
import socket
import statistics
import time
from contextlib import AbstractContextManager

from ground import TOKEN, Ground, Options, Process, ground

FILES = 2000
SIZE = 10 * 1024
CONNECTIONS = 4
RIVALS = {"inotifywait + curl": "inotify_curl", "watchdog + PyCap": "watchdog_pycap", "watchdog + requests": "watchdog_requests"}


def run(options: Options) -> list[str]:
    """Files a second of each, and dropcap's ratio to them."""
    return compared(options, 1)


def compared(options: Options, folders: int) -> list[str]:
    """The same with the files in so many folders."""
    files = options.scaled(FILES)
    rates: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    for _ in range(options.runs):
        for name in ("dropcap", *RIVALS):
            rates.setdefault(name, []).append(files / _seconds(options, name, files, folders, cpu))
        rates.setdefault("the sink's ceiling", []).append(files / _ceiling(options, files))
    ours = statistics.median(rates["dropcap"])
    where = "" if folders == 1 else f" in {folders} folders"
    lines = [f"burst of {files} files of {SIZE // 1024} KiB{where}, median of {options.runs} alternating runs"]
    for name, found in rates.items():
        middle = statistics.median(found)
        ratio = "" if name == "dropcap" else f"   dropcap is {ours / middle:5.2f} x that"
        used = f"  {statistics.median(cpu[name]):.2f} ms CPU a file" if name in cpu else ""
        lines.append(f"  {name:<20} {middle:7.0f} files/s  ({min(found):.0f} to {max(found):.0f}){used}{ratio}")
    return lines


def _seconds(options: Options, name: str, files: int, folders: int, cpu: dict[str, list[float]]) -> float:
    with ground(options) as place:
        with _uploader(place, name, folders) as process:
            before = process.cpu()
            began = time.monotonic()
            place.write(files, SIZE, folders=folders)
            took = place.wait_done(files, folders=folders) - began
            cpu.setdefault(name, []).append(1000 * (process.cpu() - before) / files)
        arrived = len({one[0] for one in place.received()})
        if arrived != files:
            raise AssertionError(f"{name}: {files} files in done/, {arrived} at the server")
        return took


def _uploader(place: Ground, name: str, folders: int) -> AbstractContextManager[Process]:
    if name == "dropcap":
        return place.dropcap(folders, uploads_at_once=CONNECTIONS)
    return place.rival(RIVALS[name], folders)


def _ceiling(options: Options, files: int) -> float:
    """Seconds in which a bare client brings the same bodies to the sink, over as many connections as dropcap has."""
    with ground(options) as place:
        request = _request(SIZE)
        chooser = selectors.DefaultSelector()
        for _ in range(CONNECTIONS):
            chooser.register(socket.create_connection(("127.0.0.1", place.port)), selectors.EVENT_READ)
        began = time.monotonic()
        left, answered = files, 0
        for key in chooser.get_map().values():
            key.fileobj.sendall(request)  # type: ignore[union-attr]
            left -= 1
        while answered < files:
            for key, _ in chooser.select():
                if not key.fileobj.recv(4096):  # type: ignore[union-attr]
                    raise AssertionError("the sink has closed a connection")
                answered += 1
                if left > 0:
                    key.fileobj.sendall(request)  # type: ignore[union-attr]
                    left -= 1
        took = time.monotonic() - began
        for key in list(chooser.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        return took


def _request(size: int) -> bytes:
    fields = {
        "token": TOKEN,
        "content": "file",
        "action": "import",
        "record": "1",
        "field": "consent_pdf",
        "returnFormat": "json",
    }
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
    parts += '--b\r\nContent-Disposition: form-data; name="file"; filename="1_consent.pdf"\r\n\r\n'
    body = parts.encode() + b"x" * size + b"\r\n--b--\r\n"
    head = "POST /api/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
