"""watchdog_pycap.py DROP URL TOKEN_FILE: watchdog sees a file closed, PyCap imports it, then it goes to DROP/done."""

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
    drop, url, token_file = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    done, failed = drop / "done", drop / "failed"
    done.mkdir(exist_ok=True)
    failed.mkdir(exist_ok=True)
    project = Project(url, token_file.read_text().strip())
    project.field_names  # noqa: B018 - PyCap fetches the data dictionary now, not with the first file
    queue: SimpleQueue[Path] = SimpleQueue()
    observer = Observer()
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
            path.rename(failed / path.name)
        else:
            path.rename(done / path.name)


if __name__ == "__main__":
    main()
