"""watchdog_requests.py URL TOKEN_FILE DROP...: the first thing that comes to mind, everything in watchdog's own thread."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import requests
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer


class Upload(FileSystemEventHandler):
    """Imports a file when it is closed."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._fields = {"token": token, "content": "file", "action": "import", "field": "consent_pdf", "returnFormat": "json"}

    def on_closed(self, event: FileSystemEvent) -> None:
        path = Path(str(event.src_path))
        fields = self._fields | {"record": path.name.partition("_")[0]}
        with path.open("rb") as file:
            reply = requests.post(self._url, data=fields, files={"file": (path.name, file)}, timeout=120)
        path.rename(path.parent / ("done" if reply.ok else "failed") / path.name)


def main() -> None:
    url, token_file = sys.argv[1], Path(sys.argv[2])
    observer = Observer()
    for drop in map(Path, sys.argv[3:]):
        (drop / "done").mkdir(exist_ok=True)
        (drop / "failed").mkdir(exist_ok=True)
        observer.schedule(Upload(url, token_file.read_text().strip()), str(drop), recursive=False)
    observer.start()
    print("ready", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
