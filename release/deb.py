"""`make deb`: dist/dropcap_VERSION_ARCH.deb of the wheel in dist/, with Debian's own dpkg-deb.

The libraries lie in /usr/lib/dropcap, for every Python that `PYTHONS` names: compiled modules carry theirs in their names, so an
upgrade of the system's Python within these finds its own. The bytes are the same each time.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
#: What dropcap can be asked for that needs libraries of its own; /usr/lib/dropcap takes none later. Not `postgres`: few need it,
#: and Debian's python3-psycopg brings a libpq that is looked after.
EXTRAS = "notify,metrics,web"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_LAUNCHER = """#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/usr/lib/dropcap")

from dropcap.cli import main

main()
"""
_CONTROL = """Package: dropcap
Version: {version}
Architecture: {architecture}
Maintainer: dropcap <dropcap@localhost>
Installed-Size: {size}
Depends: python3 (>= {oldest}), python3 (<< {newest}), libc6 (>= 2.28), systemd, init-system-helpers
Recommends: acl, ca-certificates
Suggests: samba, python3-psycopg (>= 3.2), postgresql
Section: science
Priority: optional
Description: Drop a file, it lands in the right REDCap field
 dropcap watches folders, on this machine or on a share, and delivers what is
 dropped there into the file fields of REDCap projects, by REDCap's own API.
 Each file is read back and compared, and anybody who sees the folder sees what
 became of it.
"""


def run(*words: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], check=True, text=True, **more)  # type: ignore[call-overload, no-any-return]


def libraries(wheel: Path, into: Path, machine: str) -> None:
    """The wheel with what it needs, for each Python; what several have is the same."""
    for python in PYTHONS:
        with tempfile.TemporaryDirectory() as one:
            platforms = [word for name in _PLATFORMS for word in ("--platform", f"{name}_{machine}")]
            run(
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-compile", "--target", one),
                *("--only-binary", ":all:", "--python-version", python, "--implementation", "cp", *platforms),
                f"{wheel}[{EXTRAS}]",
            )
            shutil.copytree(one, into, dirs_exist_ok=True)
    shutil.rmtree(into / "bin", ignore_errors=True)
    for unwanted in into.rglob("direct_url.json"):
        unwanted.unlink()
    if strip := shutil.which("strip"):
        for compiled in sorted(into.rglob("*.so*")):
            subprocess.run([strip, "--strip-unneeded", str(compiled)], check=False, stderr=subprocess.DEVNULL)


def filled(root: Path, lib: Path) -> None:
    """All other files of the package."""

    def put(path: str, text: str, mode: int = 0o644) -> None:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    put("usr/bin/dropcap", _LAUNCHER, 0o755)
    for name in ("dropcap.service", "dropcap-failed.service", "dropcap-prune.service", "dropcap-prune.timer"):
        unit = (ROOT / "deploy" / name).read_text().replace("/opt/dropcap/bin/dropcap", "/usr/bin/dropcap")
        put(f"usr/lib/systemd/system/{name}", unit)
    put("usr/lib/sysusers.d/dropcap.conf", (ROOT / "deploy/dropcap.sysusers").read_text())
    # The example's drop folder is for those who copy the file; `dropcap init` makes the real ones.
    lines = (ROOT / "deploy/dropcap.tmpfiles").read_text().splitlines(keepends=True)
    put("usr/lib/tmpfiles.d/dropcap.conf", "".join(line for line in lines if "/srv/dropcap/consents" not in line))
    doc = "usr/share/doc/dropcap"
    for page in ("README.md", "SECURITY.md", *(f"docs/{one.name}" for one in sorted((ROOT / "docs").glob("*.md")))):
        put(f"{doc}/{page}", (ROOT / page).read_text())
    for example in ("config.example.yaml", "deploy/smb.conf.example"):
        put(f"{doc}/examples/{Path(example).name}", (ROOT / example).read_text())
    (root / doc / "changelog.gz").write_bytes(gzip.compress((ROOT / "CHANGELOG.md").read_bytes(), 9, mtime=0))
    licences = DIST / "licences.txt"
    vendored = (
        f"\n\nThe libraries in /usr/lib/dropcap (each with its licence in its .dist-info):\n\n{licences.read_text()}"
        if licences.exists()
        else ""
    )
    put(f"{doc}/copyright", (ROOT / "LICENSE").read_text() + vendored)
    command = ["/usr/bin/env", sys.executable, "-c", "from dropcap.cli import main; main()"]
    for shell, path in (
        ("bash", "bash-completion/completions/dropcap"),
        ("zsh", "zsh/vendor-completions/_dropcap"),
        ("fish", "fish/vendor_completions.d/dropcap.fish"),
    ):
        env = {**os.environ, "PYTHONPATH": str(lib), "_DROPCAP_COMPLETE": f"{shell}_source"}
        put(f"usr/share/{path}", run(*command, env=env, capture_output=True).stdout)
    pages = ROOT / "tools/man_pages.py"
    if pages.exists():
        with tempfile.TemporaryDirectory() as made:
            run(ROOT / ".venv/bin/python", pages, made)
            for page in sorted(Path(made).rglob("*.1")):
                target = root / "usr/share/man/man1" / f"{page.name}.gz"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(gzip.compress(page.read_bytes(), 9, mtime=0))


def main() -> int:
    os.umask(0o022)
    (wheel,) = DIST.glob("*.whl")
    version = wheel.name.split("-")[1].replace(".dev", "~dev")
    architecture = run("dpkg", "--print-architecture", capture_output=True).stdout.strip()
    epoch = int(run("git", "-C", ROOT, "log", "-1", "--format=%ct", capture_output=True).stdout)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "root"
        lib = root / "usr/lib/dropcap"
        lib.mkdir(parents=True)
        libraries(wheel, lib, _MACHINES[architecture])
        filled(root, lib)
        for compiled in list(root.rglob("__pycache__")):
            shutil.rmtree(compiled)
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024
        last = PYTHONS[-1].split(".")
        control = _CONTROL.format(
            version=version, architecture=architecture, size=size, oldest=PYTHONS[0], newest=f"{last[0]}.{int(last[1]) + 1}"
        )
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN/control").write_text(control)
        (root / "DEBIAN/triggers").write_text("interest-noawait /usr/bin/python3\n")
        for script in ("postinst", "prerm", "postrm"):
            shutil.copyfile(ROOT / "deploy/debian" / script, root / "DEBIAN" / script)
            (root / "DEBIAN" / script).chmod(0o755)
        for path in [root, *root.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
            os.utime(path, (epoch, epoch), follow_symlinks=False)
        package = DIST / f"dropcap_{version}_{architecture}.deb"
        run(
            "dpkg-deb",
            "--root-owner-group",
            "-Zxz",
            "--build",
            root,
            package,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        )
    print(f"{package.relative_to(ROOT)}: {package.stat().st_size / 1024**2:.1f} MiB, {size / 1024:.0f} MiB installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
