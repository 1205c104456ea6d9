"""`make dist`: sdist and wheel, built twice from different copies at different times and compared byte by byte, in dist/.

Also compared: the wheel that the sdist makes. `--release` refuses a version that is none of a release.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"


def built(source: Path, out: Path, *what: str) -> dict[str, str]:
    """Build, and the SHA-256 of each file by its name."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *what, str(source)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


def copy(into: Path) -> Path:
    """The files that git knows, with its .git, elsewhere, with other times and another umask."""
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(into)], check=True)
    changed = subprocess.run(["git", "-C", str(ROOT), "diff", "HEAD", "--binary"], check=True, capture_output=True).stdout
    if changed:
        subprocess.run(["git", "-C", str(into), "apply"], input=changed, check=True)
    return into


def main() -> int:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        os.umask(0o022)
        first = built(copy(place / "one"), place / "a")
        os.umask(0o077)
        second_source = copy(place / "another" / "place")
        for path in second_source.rglob("*"):
            if ".git" not in path.parts:
                os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
        second = built(second_source, place / "b")
        (sdist,) = (place / "a").glob("*.tar.gz")
        shutil.unpack_archive(sdist, place / "unpacked", filter="data")
        third = built(next((place / "unpacked").iterdir()), place / "c", "--wheel")
        if first != second or not third.items() <= first.items():
            print(f"not the same bytes: {first}, {second}, from the sdist {third}", file=sys.stderr)
            return 1
        if "--release" in sys.argv and ("dev" in sdist.name or "+" in sdist.name):
            print(f"{sdist.name} is no release: tag the commit, and write its version into release/version.py", file=sys.stderr)
            return 1
        os.umask(0o022)
        shutil.rmtree(DIST, ignore_errors=True)
        DIST.mkdir()
        for path in (place / "a").iterdir():
            shutil.copyfile(path, DIST / path.name)
        (DIST / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(first.items())))
    for name, digest in sorted(first.items()):
        print(f"{digest}  dist/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
