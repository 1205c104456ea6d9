"""watchdog_pycap.py URL TOKEN_FILE DROP...: watchdog sees a file closed, PyCap imports it, then it goes to its done/."""

from __future__ import annotations

import sys
from pathlib import Path
from queue import SimpleQueue

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from redcap import Project, RedcapError


class Closed(FileSystemEventHandler):
    """Hands over the files that were written and closed."""

    def __init__(self, queue: SimpleQueue[Path]) -> None:
        self._queue = queue

    def on_closed(self, event: FileSystemEvent) -> None:
        self._queue.put(Path(str(event.src_path)))


def main() -> None:
    url, token_file, drops = sys.argv[1], Path(sys.argv[2]), [Path(drop) for drop in sys.argv[3:]]
    for drop in drops:
        (drop / "done").mkdir(exist_ok=True)
        (drop / "failed").mkdir(exist_ok=True)
    project = Project(url, token_file.read_text().strip())
    project.field_names  # noqa: B018 - PyCap fetches the data dictionary now, not with the first file
    queue: SimpleQueue[Path] = SimpleQueue()
    observer = Observer()
    for drop in drops:
        observer.schedule(Closed(queue), str(drop), recursive=False)
    observer.start()
    print("ready", flush=True)
    while True:
        path = queue.get()
        try:
            with path.open("rb") as file:
                project.import_file(path.name.partition("_")[0], "consent_pdf", path.name, file)
        except FileNotFoundError:
            continue
        except (RedcapError, OSError) as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            path.rename(path.parent / "failed" / path.name)
        else:
            path.rename(path.parent / "done" / path.name)


if __name__ == "__main__":
    main()
