"""Makes the pictures of the README, by real commands on a terminal of 80 columns, beside a sandbox REDCap: `make screenshots`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.site import DROPCAP, TOKEN, Site, eventually, site  # noqa: E402

from redcap_sandbox import Fault, Sandbox, demo_project  # noqa: E402

#: Where the scene is played. Its paths can be read in the pictures.
PLACE = Path("/tmp/dropcap")
COLUMNS = 80
_ANSI = [
    (27, 33, 38),
    (255, 125, 107),
    (134, 220, 192),
    (240, 184, 74),
    (138, 184, 240),
    (200, 160, 230),
    (140, 210, 230),
    (231, 235, 238),
]
_THEME = TerminalTheme((19, 23, 26), (231, 235, 238), _ANSI, _ANSI)
#: As rich draws a terminal, but without fonts from elsewhere, which a README does not load.
_FORMAT = """<svg viewBox="0 24 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>.{unique_id}-matrix{{font-family:"Cascadia Mono",Consolas,"DejaVu Sans Mono",ui-monospace,Menlo,monospace;
font-size:{char_height}px;line-height:{line_height}px}}{styles}</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
<rect fill="#13171a" x="1" y="24" width="{width}" height="{height}" rx="8"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def on_a_terminal(command: list[str], env: dict[str, str]) -> str:
    """What a command writes to a terminal of so many columns, colours and all."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 100, COLUMNS, 0, 0))
    clean = {key: value for key, value in env.items() if key not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env={**clean, "TERM": "xterm-256color"})
    os.close(its)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError as error:  # how a terminal ends
        if error.errno != errno.EIO:
            raise
    process.wait()
    os.close(ours)
    return said.decode().replace("\r\n", "\n").rsplit("\r\x1b[K", 1)[-1]


def draw(path: Path, told: list[tuple[str, str]]) -> None:
    """Write an SVG of commands and what they said."""
    console = Console(record=True, width=COLUMNS + 2, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for words, said in told:
        console.print(Text(f"$ {words}", "bold"))
        console.print(Text.from_ansi(said.rstrip("\n")), soft_wrap=True)
    console.print()  # the last line would lose what hangs beneath it
    path.write_text(console.export_svg(title="", theme=_THEME, code_format=_FORMAT, unique_id=path.stem), encoding="utf-8")


def scene(place: Site, away: Sandbox) -> None:
    """Folders of a made-up trial, each with a trouble of its own."""
    (place.root / "sleep.token").write_text(away.token)
    (place.root / "sleep.token").chmod(0o600)
    place.config["projects"]["sleep"] = {**place.project, "url": away.url, "token_file": str(place.root / "sleep.token")}
    for name, project in (("dicom", "trial"), ("labs", "trial"), ("recordings", "sleep")):
        (place.root / name).mkdir()
        place.config["folders"][name] = {**place.folder, "path": str(place.root / name), "project": project}
    place.write_config()


def play(place: Site, away: Sandbox) -> None:
    """Let it happen: some files are stored, others fail or wait."""
    daemon = place.start()
    away.ill(Fault("maintenance"))
    assert place.dropcap("pause", "--folder", "labs").returncode == 0
    for number in range(101, 106):
        place.put(f"{number}_V1_consent.pdf")
    daemon.wait_for("done", 5)
    for number in range(1, 14):
        place.put(f"{100 + number}_V1_consnet.pdf")
    for number in (901, 902):
        place.put(f"../dicom/{number}_V1_scan.zip")
    for number in (101, 102, 103):
        place.put(f"../labs/{number}_V1_lab.pdf")
    for number in range(101, 112):
        place.put(f"../recordings/{number}_V1_scan.edf")
    daemon.wait_for("failed", 15)
    daemon.wait_for("paused", scope="server")
    daemon.wait_for("claimed", 33)
    place.box.ill(Fault("slow_read", bytes_per_second=3_000_000, match={"action": "import"}))
    place.put("../dicom/103_V2_scan.zip", bytes(40 * 1024**2))
    eventually(lambda: '"sent"' in place.dropcap("status", "--json").stdout)
    time.sleep(4)  # some of it has gone, and how long the rest takes can be told


def photograph(page: Path, into: Path) -> None:
    """Pictures of a page by a browser, if there is one."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        print("no chromium: the pictures of the status page stay as they are", file=sys.stderr)
        return
    for width in (390, 1280):
        shot = into / f"status_page_{width}.png"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},900"]
        subprocess.run([browser, *flags, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True, timeout=120)


def main() -> None:
    """Make all pictures."""
    into = ROOT / "docs" / "pictures"
    into.mkdir(exist_ok=True)
    PLACE.mkdir()  # never over somebody's
    try:
        with contextlib.ExitStack() as stack:
            away: Sandbox = stack.enter_context(Sandbox(demo_project(), "F" * 32))
            place = stack.enter_context(site(PLACE, stack.enter_context(Sandbox(demo_project(), TOKEN))))
            scene(place, away)
            play(place, away)
            _commands(place, into)
            page, played = place.drop / "_STATUS.html", time.time()
            eventually(lambda: page.exists() and page.stat().st_mtime > played, patience=90.0)
            photograph(page, into)
    finally:
        shutil.rmtree(PLACE)


def _commands(place: Site, into: Path) -> None:
    env = place.env()

    def shot(name: str, *commands: str) -> None:
        said = [(f"dropcap {words}", on_a_terminal([*DROPCAP, *words.split()], env)) for words in commands]
        draw(into / f"{name}.svg", said)

    shot("status", "status")
    rules: list[dict[str, Any]] = place.folder["rules"]
    rules[0]["field"] = "consent_pfd"
    place.write_config()
    shot("check", "check")
    shot("explain", "explain 101_V1_consnet.pdf --folder consents")


if __name__ == "__main__":
    main()
