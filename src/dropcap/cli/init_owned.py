"""What `dropcap init` leaves behind as root, for the account that the service runs as; and what is left to do."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from dropcap.display import shown
from dropcap.preflight.unit import DROPPERS, ServiceUnit, giving

#: The service's account (deploy/dropcap.sysusers).
USER = "dropcap"
_DEFAULT_ACL = "system.posix_acl_default"
_ACL_VERSION, _NOBODY = 2, 0xFFFFFFFF
_OWNER, _GROUP_OF_FILE, _GROUP, _MASK, _OTHERS = 0x01, 0x04, 0x08, 0x10, 0x20


@dataclass(frozen=True, slots=True)
class Account:
    """Numbers of the service's user and its group, and of the group of those who drop files (its own, if there is none)."""

    user: int
    group: int
    droppers: int

    @classmethod
    def here(cls) -> Account | None:
        """The service's account, if root asks and the account is there."""
        if os.geteuid() != 0:
            return None
        try:
            user = pwd.getpwnam(USER)
        except KeyError:
            return None
        droppers = user.pw_gid
        with contextlib.suppress(KeyError):
            droppers = grp.getgrnam(DROPPERS).gr_gid
        return cls(user.pw_uid, user.pw_gid, droppers)

    def give_folder(self, path: Path) -> None:
        """A drop folder that was just made: setgid, with a default ACL by which the group may read and write what others make."""
        os.chown(path, self.user, self.droppers)
        os.chmod(path, 0o2770)
        entries = [
            (_OWNER, 7, _NOBODY),
            (_GROUP_OF_FILE, 7, _NOBODY),
            (_GROUP, 7, self.droppers),
            (_MASK, 7, _NOBODY),
            (_OTHERS, 0, _NOBODY),
        ]
        acl = struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        try:
            os.setxattr(path, _DEFAULT_ACL, acl)
        except OSError as error:
            told = f"{shown(str(path))} got no default ACL ({error.strerror})"
            click.echo(f"{told}: dropcap may not be able to read what others drop there", err=True)

    def give_secret(self, path: Path) -> None:
        """A file that the service alone reads."""
        os.chown(path, self.user, self.group)

    def give_configuration(self, path: Path) -> None:
        """Files that the service reads and cannot change, and that nobody else reads."""
        os.chown(path, 0, self.group)
        os.chmod(path, 0o640)


def left_to_do(account: Account | None, folder: Path, config: Path, token: Path) -> Iterator[str]:
    """What nobody but a person can do, a line each."""
    if account is None:
        yield 'give the drop folder, the token and the configuration to dropcap\'s user (README, "On a server")'
    elif folder.stat().st_uid != account.user and folder.stat().st_gid not in os.getgrouplist(USER, account.group):
        if folder.stat().st_gid == 0:
            yield f"give the drop folder, which was there before, to dropcap's user: {giving(folder, USER)}"
        else:
            yield f"let dropcap's user in: {shown(str(folder))} was there before and belongs to others"
    if account is not None and token.stat().st_uid != account.user:
        yield f"let dropcap's user, and nobody else, read the token: chown {USER}: {shown(str(token))}"
    unit = ServiceUnit.installed()
    if unit is not None and not any(folder.is_relative_to(place) for place in unit.writable):
        yield f"let the service write there: `ReadWritePaths=-{shown(str(folder))}` in [Service], by `systemctl edit dropcap`"
    if account is not None and account.droppers != account.group:
        yield f"let people in who drop files: usermod -aG {DROPPERS} NAME; they log in anew then"
    as_user = "" if account is None else f"runuser -u {USER} -- "
    yield f"look through {shown(str(config))}, then: {as_user}dropcap check -c {shown(str(config))}"
    if unit is not None:
        yield "start it: systemctl enable --now dropcap (where it runs already: dropcap reload)"
