"""The Debian package in a clean Debian, by what an operator sees: `systemctl`, `journalctl`, `dropcap status`.

One story, since a machine's boot and the package's installation take longer than all that is looked at.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from redcap_sandbox import Fault, Sandbox, demo_project
from tests import needs
from tests.notify.sink import Hook, hook
from tests.site import TOKEN, eventually
from tests.system.machine import Machine, machine

ROOT = Path(__file__).parents[2]
IMPORT = {"content": "file", "action": "import"}
SHARE = """
[global]
   server role = standalone server
   map to guest = never
   log level = 0
   smb ports = 4450
   bind interfaces only = yes
   interfaces = 127.0.0.1
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(demo_project(), token=TOKEN) as made:
        yield made


@pytest.fixture(scope="module")
def desk() -> Iterator[Hook]:
    with hook() as made:
        yield made


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    needs.by_name("DROPCAP_SYSTEM_TESTS", "test-system")
    with machine(tmp_path_factory.mktemp("machine")) as made:
        yield made


def package(machine: Machine, version: str | None = None) -> str:
    """The package inside the machine; with another version in its name and control file, if one is given."""
    (built,) = (ROOT / "dist").glob("dropcap_*.deb")
    if version is None:
        shutil.copy(built, machine.root / "root/dropcap.deb")
        return "/root/dropcap.deb"
    place = machine.root / "root/other"
    subprocess.run(["dpkg-deb", "-R", str(built), str(place)], check=True)
    control = place / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.MULTILINE))
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "-b", str(place), str(machine.root / f"root/{version}.deb")], check=True
    )
    shutil.rmtree(place)
    return f"/root/{version}.deb"


def configure(machine: Machine, **changes: object) -> None:
    """Write what is in force, with changes of its topmost keys."""
    path = machine.root / "etc/dropcap/config.yaml"
    config = yaml.safe_load(path.read_text())
    config.update(changes)
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def states(machine: Machine) -> dict[str, int]:
    done = machine.run("dropcap", "history", "--json", "--limit", "1000").stdout
    found = re.findall(r'"state": "(\w+)"', done)
    return {state: found.count(state) for state in set(found)}


def done(machine: Machine, name: str) -> bool:
    return bool(list((machine.root / "srv/dropcap/consents/done").rglob(name)))


def drop(machine: Machine, name: str, content: str) -> str:
    """As bob, over Samba."""
    (machine.root / "root" / name).write_text(content)
    words = ["smbclient", "//127.0.0.1/consents", "-p", "4450", "-U", "bob%secret", "-c", f"put /root/{name} {name}"]
    return machine.good(*words)


def test_the_life_of_an_installation(debian: Machine, box: Sandbox, desk: Hook) -> None:
    m = debian
    # 1. Installed: nothing runs yet, and all is there.
    told = m.good("dpkg", "-i", package(m, "0.1.0"))
    assert "dropcap init" in told
    assert m.run("systemctl", "is-enabled", "dropcap").stdout.strip() == "disabled"
    assert m.good("id", "-nG", "dropcap").split() == ["dropcap", "redcap-drop"]
    assert "complete" in (m.root / "usr/share/bash-completion/completions/dropcap").read_text()

    # 2. init as root: owners, groups and ACL are right, and what is left is told.
    (m.root / "root/token").write_text(TOKEN + "\n")
    (m.root / "root/token").chmod(0o600)
    m.good("install", "-o", "dropcap", "-g", "dropcap", "-m", "0600", "/root/token", "/etc/dropcap/trial.token")
    words = ["dropcap", "init", "--url", box.url, "--token-file", "/etc/dropcap/trial.token", "--project-name", "trial"]
    told = m.good(*words, "--folder", "/srv/dropcap/consents", "--output", "/etc/dropcap/config.yaml", "--yes")
    assert "left to do" in told
    assert "systemctl enable --now dropcap" in told
    assert m.good("stat", "-c", "%U:%G %a", "/srv/dropcap/consents").strip() == "dropcap:redcap-drop 2770"
    assert m.good("stat", "-c", "%U:%G %a", "/etc/dropcap/config.yaml").strip() == "root:dropcap 640"
    assert "default:group:redcap-drop:rwx" in m.good("getfacl", "-p", "/srv/dropcap/consents")
    quick = {"settle_closed": "100ms", "settle_quiet": "500ms", "rescan": "2s"}
    configure(m, defaults=quick)

    # 3. check knows what the service may not do; what it names mends it.
    checked = m.run("runuser", "-u", "dropcap", "--", "dropcap", "check", "--all")
    assert checked.returncode == 0, checked.stdout
    assert "its sandbox lets the service see and write" in checked.stdout
    config = yaml.safe_load((m.root / "etc/dropcap/config.yaml").read_text())
    name = next(iter(config["folders"]))
    other = {**config["folders"][name], "path": "/home/drop"}
    m.good("install", "-d", "-o", "dropcap", "-g", "dropcap", "-m", "0770", "/home/drop")
    configure(m, folders={**config["folders"], "home": other})
    checked = m.run("runuser", "-u", "dropcap", "--", "dropcap", "check", "--offline")
    lines = re.findall(r"`((?:ProtectHome|BindPaths)=[^`]*)`", checked.stdout)
    assert lines == ["ProtectHome=tmpfs", "BindPaths=/home/drop"], checked.stdout
    drop_in = m.root / "etc/systemd/system/dropcap.service.d"
    drop_in.mkdir()
    (drop_in / "home.conf").write_text(
        "[Service]\n" + "\n".join(lines) + "\nRestartSec=200ms\nLoadCredential=trial:/root/token\n"
    )
    config["projects"]["trial"].pop("token_file")
    config["projects"]["trial"]["token_credential"] = "trial"
    configure(m, projects=config["projects"])
    m.good("systemctl", "daemon-reload")
    m.good("systemctl", "enable", "--now", "dropcap")
    eventually(lambda: "2 folders" in m.show("StatusText")["StatusText"])
    assert m.run("dropcap", "check").returncode == 0, "the service's credential is found beside it"

    # 4. Samba: another user drops, dropcap files, and the group may read it.
    (m.root / "etc/samba/smb.conf").write_text(SHARE + (ROOT / "deploy/smb.conf.example").read_text())
    m.good("useradd", "-M", "bob")
    m.good("usermod", "-aG", "redcap-drop", "bob")
    m.good("sh", "-c", "printf 'secret\\nsecret\\n' | smbpasswd -s -a bob")
    m.good("testparm", "-s")
    m.good("systemctl", "restart", "smbd")
    example = next(line for line in (m.root / "etc/dropcap/config.yaml").read_text().splitlines() if "pattern:" in line)
    pattern = example.split("pattern:", 1)[1].strip().strip("\"'")
    visits = next(iter(config.get("tables", {"": {}}).values()), {})
    visit = next(iter(visits), "V1")

    def named(record: str) -> str:
        text = re.sub(r"\{record[^}]*\}", record, pattern)
        return re.sub(r"\{[^}]*\}", visit, text).replace("*", "x")

    drop(m, named("101"), "over Samba")
    eventually(lambda: done(m, named("101")), 40)
    filed = next((m.root / "srv/dropcap/consents/done").rglob(named("101")))
    assert m.good("stat", "-c", "%U:%G %a", "/" + str(filed.relative_to(m.root))).strip() == "bob:redcap-drop 660"

    # 5. A reload that is good (people are told from then on), one that is not, and a configuration with which nothing starts.
    (m.root / "etc/dropcap/desk.url").write_text(desk.url)
    m.good("chown", "dropcap:", "/etc/dropcap/desk.url")
    m.good("chmod", "0600", "/etc/dropcap/desk.url")
    configure(m, notify={"after": "300ms", "digest": "300ms", "to": {"desk": {"url_file": "/etc/dropcap/desk.url"}}})
    (drop_in / "failed.conf").write_text("[Unit]\nOnFailure=dropcap-failed.service\n")
    m.good("systemctl", "daemon-reload")
    m.good("systemctl", "reload", "dropcap")
    drop(m, "no_rule.pdf", "over Samba")
    desk.wait_for("1 file waits for somebody.")
    sound = (m.root / "etc/dropcap/config.yaml").read_text()
    configure(m, uploads_at_once="many")
    assert m.run("systemctl", "reload", "dropcap").returncode != 0
    shown = m.show("ActiveState", "StatusText")
    assert shown["ActiveState"] == "active"
    assert "uploads_at_once" in shown["StatusText"]
    assert "uploads_at_once" in m.journal("-p", "err", "-o", "cat")
    m.good("systemctl", "stop", "dropcap")
    assert m.run("systemctl", "start", "dropcap").returncode != 0
    eventually(lambda: m.run("systemctl", "is-failed", "dropcap").stdout.strip() == "failed")
    assert "uploads_at_once" in m.show("StatusText")["StatusText"]
    assert "dropcap" in m.good("systemctl", "--failed")
    desk.wait_for("Its configuration cannot be used. Run: dropcap check")
    (m.root / "etc/dropcap/config.yaml").write_text(sound)
    m.good("systemctl", "start", "dropcap")

    # 6. Killed, and stopped in the middle of an upload; then an upgrade over jobs that are open.
    m.good("systemctl", "kill", "-s", "KILL", "dropcap")
    eventually(lambda: m.show("ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "1"}, 40)
    box.ill(Fault("delay", seconds=300.0, times=1, match=IMPORT))
    configure(m, stop_within="1s")
    m.good("systemctl", "reload", "dropcap")
    drop(m, named("102"), "in the middle")
    eventually(lambda: '"sending"' in m.journal("-o", "cat", "-n", "5"), 40)
    m.good("systemctl", "stop", "dropcap")
    assert '"cut_off"' in m.journal("-p", "warning", "-o", "cat")
    assert not list((m.root / "var/lib/dropcap").glob("ledger.db-*")), "the ledger is one file"
    m.good("systemctl", "start", "dropcap")
    m.good("dropcap", "pause", "--project", "trial")
    drop(m, named("103"), "open at the upgrade")
    eventually(lambda: states(m).get("waiting"), 40)
    before = m.show("MainPID")["MainPID"]
    m.good("dpkg", "-i", package(m))
    assert m.show("ActiveState")["ActiveState"] == "active"
    assert m.show("MainPID")["MainPID"] != before, "the new one runs"
    m.good("dpkg", "-i", package(m))
    m.good("dropcap", "resume", "--project", "trial")
    eventually(lambda: done(m, named("103")) and done(m, named("102")), 60)
    assert not re.search("internal_error|Traceback", m.journal("-o", "cat"))

    # 7. Backup, and a purge that says what it leaves.
    m.good("dropcap", "ledger", "backup", "/root/copy.db")
    told = m.good("dpkg", "--purge", "dropcap")
    for left in ("/etc/dropcap", "/var/lib/dropcap", "/srv/dropcap"):
        assert left in told
        assert (m.root / left[1:]).is_dir()
    assert m.run("systemctl", "is-active", "dropcap").stdout.strip() == "inactive"
    assert not (m.root / "usr/lib/dropcap").exists()
    assert m.run("systemctl", "is-enabled", "dropcap").stdout.strip() in ("", "not-found")
