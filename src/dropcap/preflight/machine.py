"""This machine: the state directory, tokens, certificates, the kernel's limits."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from dropcap.config.model import Config, Project
from dropcap.config.secret_file import SecretError
from dropcap.config.token_source import TokenError
from dropcap.delivery.clients import way_of
from dropcap.intake.mounts import Mounts
from dropcap.preflight.remark import Remark, on_machine, place_of
from dropcap.redcap.trust import Trust
from dropcap.redcap.way import NoWay

#: Room for the ledger below which it is worth a word, in bytes: it grows by about 1 KiB a file.
_LITTLE = 100 * 1024**2
_INOTIFY = Path("/proc/sys/fs/inotify")


def state_dir_remarks(state_dir: Path, mounts: Mounts) -> Iterator[Remark]:
    """Whether the ledger can live there."""
    where = on_machine(f"state_dir {state_dir}")
    try:
        there = state_dir.exists()
        base = state_dir
        while not base.exists() and base != base.parent:
            base = base.parent
    except PermissionError as error:
        yield Remark("error", where, f"this user may not look at it ({error.strerror})", "run this check as dropcap's user")
        return
    if not base.is_dir():
        yield Remark("error", where, f"{base} is not a directory", "name another state_dir")
        return
    if not os.access(base, os.W_OK | os.X_OK):
        message = "it cannot be written" if there else f"it does not exist, and cannot be made in {base}"
        yield Remark("error", where, message, "make it and give it to dropcap's user, or run this check as that user")
        return
    mount = mounts.of(os.path.realpath(base), base.stat().st_dev)
    if not mount.local:
        message = f"it lies on {mount}: SQLite's locks cannot be trusted on a network file system"
        yield Remark("error", where, message, "name a directory on a disk of this machine")
        return
    free = os.statvfs(base)
    if free.f_bavail * free.f_frsize < _LITTLE:
        yield Remark("warning", where, "less than 100 MiB are free there", "make room for the ledger")
    yield Remark("ok", where, f"on {mount}" if there else f"dropcap makes it when it starts, on {mount}")
    owner = base.stat().st_uid
    if there and os.geteuid() == 0 and owner != 0:
        name = _user(owner)
        yield Remark(
            "warning",
            where,
            f"it belongs to {name}, and this check runs as root: it cannot tell what {name} may do",
            f"run this check as that user: sudo -u {name} dropcap check",
        )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


def project_remarks(project: Project) -> Iterator[Remark]:
    """Whether a project's token and certificates can be had here."""
    where = place_of(project)
    try:
        project.token_source.read()
    except TokenError as error:
        # Only the service itself is given its credentials.
        by_hand = project.token_source.kind == "credential" and "CREDENTIALS_DIRECTORY" not in os.environ
        yield Remark("unsure" if by_hand else "error", where, error.message, error.remedy)
    else:
        yield Remark("ok", where, f"{project.token_source} holds a token")
    yield from _way_remarks(project)


def _way_remarks(project: Project) -> Iterator[Remark]:
    """Whether the files can be used that the way to the server needs."""
    where = place_of(project)
    if project.proxy_credentials is not None:
        try:
            project.proxy_credentials.read()
        except SecretError as error:
            yield Remark("error", where, error.message, error.remedy)
    files = (project.ca_file, project.client_cert_file, project.client_key_file)
    named = [str(path) for path in files if path is not None]
    if not named:
        return
    try:
        Trust(way_of(project)).context()
    except NoWay as error:
        yield Remark("error", where, error.message, error.remedy)
        return
    yield Remark("ok", where, f"{' and '.join(dict.fromkeys(named))} can be used")
    key = project.client_key_file or project.client_cert_file
    if key is not None and key.stat().st_mode & stat.S_IRWXO:
        message = f"everybody on this machine can get at the key in {key}"
        yield Remark("warning", where, message, f"run chmod 0600 {key}, and have the key renewed if others may have read it")


def inotify_remarks(config: Config, directories: int, limits: Path = _INOTIFY) -> Iterator[Remark]:
    """Whether the kernel watches so many directories for one user."""
    try:
        watches = int((limits / "max_user_watches").read_text())
        instances = int((limits / "max_user_instances").read_text())
    except (OSError, ValueError):
        yield Remark(
            "unsure", on_machine("inotify"), "the kernel's limits cannot be read", "folders that it does not watch are walked"
        )
        return
    folders = len(config.folders)
    short = [
        f"fs.inotify.{name} is {limit}, and {need} are needed"
        for name, limit, need in (
            ("max_user_watches", watches, directories),
            ("max_user_instances", instances, folders),
        )
        if limit < need
    ]
    if short:
        remedy = "raise it with sysctl; until then folders are walked every few seconds instead"
        yield Remark("warning", on_machine("inotify"), " and ".join(short), remedy)
    else:
        yield Remark(
            "ok", on_machine("inotify"), f"{directories} directories to watch of {watches}, {folders} folders of {instances}"
        )
