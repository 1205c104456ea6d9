"""What the unit's sandbox keeps from the service is told by `check`, with the line to add."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropcap.cli.init_written import Account
from dropcap.config import secrets as token_source
from dropcap.config.secrets import SecretError, TokenSource
from dropcap.preflight.machine import ServiceUnit, _hidden, _read_only
from tests import needs
from tests.site import Site

DEPLOYED = Path(__file__).parents[2] / "deploy/dropcap.service"


def unit(path: Path, *lines: str) -> ServiceUnit:
    path.write_text("[Unit]\nDescription=x\nReadWritePaths=/no\n[Service]\n" + "\n".join(lines) + "\n[Install]\nWantedBy=y\n")
    found = ServiceUnit.installed(str(path))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("folder", "lines", "told"),
    [
        ("/srv/dropcap/consents", (), None),
        ("/var/lib/dropcap", (), None),
        ("/srv/other", (), "ReadWritePaths=-/srv/other"),
        ("/srv/other", ("ReadWritePaths=-/srv/other",), None),
        ("/srv/other", ("ReadWritePaths=", "ReadWritePaths=/srv/another"), "ReadWritePaths=-/srv/other"),
        ("/srv/other", ("ProtectSystem=full",), None),
        ("/home/alice/drop", (), "BindPaths=/home/alice/drop"),
        ("/home/alice/drop", ("ProtectHome=tmpfs", "BindPaths=/home/alice/drop"), None),
        ("/home/alice/drop", ("ProtectHome=no", "ReadWritePaths=/home/alice"), None),
        ("/tmp/drop", (), "BindPaths=/tmp/drop"),
        ("/var/tmp/drop", ("PrivateTmp=no", "ReadWritePaths=/var/tmp"), None),
    ],
)
def test_what_the_sandbox_keeps_from_it(tmp_path: Path, folder: str, lines: tuple[str, ...], told: str | None) -> None:
    text = DEPLOYED.read_text().partition("[Service]")[2].partition("[Install]")[0].splitlines()
    sandbox = unit(tmp_path / "u.service", *text, *lines)
    hidden = list(_hidden("here", "path", Path(folder), sandbox))
    remedies = [remark.remedy or "" for remark in hidden]
    if not hidden and _read_only(Path(folder), sandbox):
        remedies.append(f"ReadWritePaths=-{folder}")
    assert told in remedies[0] if told else not remedies, remedies


def test_drop_ins_are_read_as_systemd_reads_them(tmp_path: Path) -> None:
    etc, lib = tmp_path / "etc", tmp_path / "lib"
    for place in (etc, lib):
        (place / "x.service.d").mkdir(parents=True)
    (lib / "x.service").write_text("[Service]\nUser=one\nReadWritePaths=/a \\\n /b\n")
    (lib / "x.service.d/10.conf").write_text("[Service]\nUser=two\n")
    (lib / "x.service.d/20.conf").write_text("[Service]\nReadWritePaths=\n")
    assert ServiceUnit.installed("x.service", (lib,)).may_chown  # type: ignore[union-attr]
    assert not unit(
        tmp_path / "u.service", "SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"
    ).may_chown
    assert unit(tmp_path / "u.service", "SystemCallFilter=~@privileged", "SystemCallFilter=@chown").may_chown
    (etc / "x.service.d/20.conf").write_text("[Service]\n# a comment\nReadWritePaths=-/c\n")
    found = ServiceUnit.installed("x.service", (etc, lib))
    assert (found.last("User"), found.writable) == ("two", ["/a", "/b", "/c"])
    assert ServiceUnit.installed("y.service", (etc, lib)) is None


def test_check_tells_of_the_sandbox(place: Site) -> None:
    told = place.dropcap("check", "--offline", "--unit", str(DEPLOYED))
    assert told.returncode == 1
    assert f"Paths={'' if place.drop.is_relative_to('/tmp') else '-'}{place.drop}` to [Service]" in told.stdout
    open_unit = place.root / "open.service"
    open_unit.write_text("[Service]\nProtectSystem=strict\n")
    told = place.dropcap("check", "--offline", "--unit", str(open_unit))
    assert f"add `ReadWritePaths=-{place.drop}` to [Service]" in told.stdout
    open_unit.write_text(f"[Service]\nProtectSystem=strict\nReadWritePaths=-{place.root}\n")
    told = place.dropcap("check", "--offline", "--all", "--unit", str(open_unit))
    assert (told.returncode, "its sandbox lets the service see" in told.stdout) == (0, True), told.stdout
    assert place.dropcap("check", "--offline", "--unit", "nothing.service").returncode == 1
    if os.geteuid() == 0:
        os.chown(place.drop, 61111, 62222)
        place.drop.chmod(0o2770)
        open_unit.write_text("[Service]\nUser=nobody\n")
        assert "run `usermod -aG #62222 nobody`" in place.dropcap("check", "--offline", "--unit", str(open_unit)).stdout


def test_a_credential_of_the_running_service_can_be_read_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(token_source, "SERVICE_CREDENTIALS", str(tmp_path))
    source = TokenSource("credential", "trial")
    with pytest.raises(SecretError, match="run this as dropcap's user or as root"):
        source.read()
    (tmp_path / "trial").write_text("0123456789ABCDEF0123456789ABCDEF\n")
    assert source.read().reveal() == "0123456789ABCDEF0123456789ABCDEF"


def test_a_folder_that_root_makes_is_for_the_service_and_its_droppers(tmp_path: Path) -> None:
    needs.root("to give files away")
    getfacl = needs.program("setfacl").replace("setfacl", "getfacl")
    folder = tmp_path / "drop"
    folder.mkdir(mode=0o700)
    Account(61111, 61111, 62222).give_folder(folder)
    status = folder.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (61111, 62222, 0o2770)
    acl = os.popen(f"{getfacl} -np {folder}").read()
    told = [line.split()[0] for line in acl.splitlines() if line.startswith("default:")]
    wanted = ["user::rwx", "group::rwx", "group:62222:rwx", "mask::rwx", "other::---"]
    assert told == [f"default:{entry}" for entry in wanted]
