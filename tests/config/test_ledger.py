"""`ledger`, its password and `lease`: what they mean, what is said of their mistakes, and that no password is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropcap.config.load import load
from dropcap.config.model import LEASE, Config, PostgresLedger, SqliteLedger
from dropcap.config.secrets import SecretError
from dropcap.secret import TOKEN_WAS_HERE, Password, without_tokens

BASE = """
projects: {trial: {url: https://redcap.example.org/api/, token_file: t}}
folders:
  labs: {path: labs, project: trial, rules: [{pattern: "{record}.pdf", field: f}], %s}
"""
LOCAL = "postgresql://dropcap@localhost/dropcap"
#: Stands in every URL that holds a password: nothing that is told may show it.
PASSWORD = "gheim-P4ss"


def read(tmp_path: Path, text: str, folder: str = "preserve_in: copies") -> Config:
    (tmp_path / "config.yaml").write_text(text + BASE % folder)
    return load(tmp_path / "config.yaml")


def postgres(tmp_path: Path, url: str, more: str = "") -> PostgresLedger:
    config = read(tmp_path, f"ledger: '{url}'\n{more}")
    assert config.problems == ()
    assert isinstance(config.ledger, PostgresLedger)
    return config.ledger


@pytest.mark.parametrize("text", ["", "ledger:\n", "ledger: sqlite\n"])
def test_without_more_it_is_sqlite(tmp_path: Path, text: str) -> None:
    config = read(tmp_path, text, "subfolders: true")
    assert (config.ledger, config.problems, config.doubts) == (SqliteLedger(), (), ())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (LOCAL, {"host": "localhost", "port": "5432", "user": "dropcap", "dbname": "dropcap"}),
        ("postgres://u@Db.Example.org:6432/d", {"host": "db.example.org", "port": "6432", "user": "u", "dbname": "d"}),
        ("postgresql://u%40x@[::1]:1/d%2Fb", {"host": "::1", "port": "1", "user": "u@x", "dbname": "d/b"}),
        ("postgresql://u@%2Frun%2FPg/d", {"host": "/run/Pg", "port": "5432", "user": "u", "dbname": "d"}),
        ("postgresql://u@:5433/d?host=/run/pg", {"host": "/run/pg", "port": "5433", "user": "u", "dbname": "d"}),
        (
            "postgresql://u@a:1,b/d",
            {"host": "a,b", "port": "1,5432", "user": "u", "dbname": "d", "target_session_attrs": "read-write"},
        ),
        (
            "postgresql://u@a,b/d?target_session_attrs=primary&application_name=drop%20cap",
            {
                "host": "a,b",
                "port": "5432,5432",
                "user": "u",
                "dbname": "d",
                "target_session_attrs": "primary",
                "application_name": "drop cap",
            },
        ),
    ],
)
def test_a_url_is_what_libpq_is_told(tmp_path: Path, url: str, told: dict[str, str]) -> None:
    found = postgres(tmp_path, url)
    assert found.conninfo() == told
    assert (found.password(), found.lease) == (None, LEASE)


def test_what_is_read_twice_is_the_same(tmp_path: Path) -> None:
    """So that a reload takes no unchanged ledger for another."""
    url = "postgresql://u@a,b/d?sslrootcert=ca.pem&sslmode=verify-full"
    assert postgres(tmp_path, url) == postgres(tmp_path, url)
    assert postgres(tmp_path, url) != postgres(tmp_path, url + "&sslsni=0")


def test_files_in_the_url_are_relative_to_the_configuration(tmp_path: Path) -> None:
    found = postgres(tmp_path, f"{LOCAL}?sslrootcert=ca.pem&sslcert=/etc/c.pem&sslkey=%2Fetc%2Fc.key&sslmode=verify-full")
    told = found.conninfo()
    assert (told["sslrootcert"], told["sslcert"], told["sslkey"]) == (str(tmp_path / "ca.pem"), "/etc/c.pem", "/etc/c.key")
    assert postgres(tmp_path, f"{LOCAL}?sslrootcert=system").conninfo()["sslrootcert"] == "system"
    assert str(postgres(tmp_path, "postgresql://u@[::1],h:7/d?sslmode=require")) == "postgresql://u@[::1]:5432,h:7/d"


@pytest.mark.parametrize(
    ("text", "key", "message", "remedy"),
    [
        ("ledger: mysql", "ledger", "`mysql` is neither sqlite nor", "postgresql://dropcap@"),
        ("ledger: [sqlite]", "ledger", "is a list", "write one value"),
        ("ledger: mysql://u:gheim-P4ss@h/d", "ledger", "this is neither sqlite nor", "write sqlite"),
        ("ledger: postgresql://u:gheim-P4ss@h/d", "ledger", "holds a password", "ledger_password_file"),
        ("ledger: postgresql://u:gheim-P4ss%40@@h/d", "ledger", "holds a password", "ledger_password_file"),
        ("ledger: postgresql://u:gheim-P4ss/x@h/d", "ledger", "not the URL of a database", "%XX"),
        ("ledger: postgresql://u:gheim-P4ss?x@h/d", "ledger", "says no user", "write it as"),
        ("ledger: 'postgresql://u:gheim-P4ss#x@h/d'", "ledger", "holds a password", "ledger_password_file"),
        ("ledger: postgresql://:gheim-P4ss@h/d", "ledger", "holds a password", "ledger_password_file"),
        ("ledger: postgresql://u@h/d?password=gheim-P4ss", "ledger", "holds a password", "ledger_password_file"),
        ("ledger: postgresql://u@h/d?sslpassword=gheim-P4ss", "ledger", "holds a password", "ledger_password_file"),
        ("ledger: postgresql://u@h/d?pasword=gheim-P4ss", "ledger", "unknown parameter `pasword`", "passfile"),
        ('ledger: "postgresql://u:gheim-P4ss\u00a0x@h/d"', "ledger", "holds a password", "ledger_password_file"),
        ("ledger: postgresql://u@h/d?sslmod=require", "ledger", "unknown parameter `sslmod`", "did you mean `sslmode`?"),
        ("ledger: postgresql://u@h/d?zz=1", "ledger", "unknown parameter `zz`", "what can stand there: application_name"),
        ("ledger: postgresql://u@h/d?sslmode=verify", "ledger", "sslmode=`verify` is not possible", "verify-full"),
        ("ledger: postgresql://u@h/d?sslmode", "ledger", "`sslmode` has no value", "sslmode=…"),
        ("ledger: postgresql://u@h/d?sslsni=1&sslsni=0", "ledger", "twice", "keep one"),
        ("ledger: postgresql://u@h/d?options=-cx%3D1", "ledger", "`options` is not for the URL", "sets it itself"),
        ("ledger: postgresql://u@h/d?target_session_attrs=standby", "ledger", "is not possible", "read-write"),
        ("ledger: postgresql://h/d", "ledger", "says no user", "write it as"),
        ("ledger: postgresql://u@h", "ledger", "says no database", "write it as"),
        ("ledger: postgresql://u@h/d/e", "ledger", "says no database", "write it as"),
        ("ledger: postgresql://u@/d", "ledger", "says no host", "?host=/run/postgresql"),
        ("ledger: postgresql://u@h/d?host=/run", "ledger", "names the host twice", "take it out"),
        ("ledger: postgresql://u@/d?host=h", "ledger", "not the directory of a socket", "before the database"),
        ("ledger: postgresql://u@/d?host=/run,db.example.org", "ledger", "not the directory of a socket", "before the database"),
        ("ledger: postgresql://u@a%2Cdb.example.org/d", "ledger", "is not a database's host", "write it as"),
        ("ledger: postgresql://u@h:0/d", "ledger", "0 is not a port", "write it as"),
        ("ledger: postgresql://u@h:99999999999999/d", "ledger", "is not a port", "write it as"),
        ("ledger: postgresql://u@h,,i/d", "ledger", "is not a database's host", "write it as"),
        ("ledger: postgresql://u@h:x/d", "ledger", "is not a database's host", "write it as"),
        ("ledger: postgresql://u@h/d%00", "ledger", "the database in the URL has a control character", "take it out"),
        ("ledger: postgresql://u@h/d%ff", "ledger", "the database in the URL has a control character", "take it out"),
        (f"ledger: {LOCAL}\nlease: 14s", "lease", "`14s` is out of range", "15s to 10m"),
        (f"ledger: {LOCAL}\nlease: 11m", "lease", "`11m` is out of range", "15s to 10m"),
        (
            f"ledger: {LOCAL}\nledger_password_file: a\nledger_password_credential: b",
            "ledger_password_credential",
            "second",
            "one",
        ),
        (f"ledger: {LOCAL}?passfile=x\nledger_password_file: a", "ledger_password_file", "names a passfile as well", "one of"),
        ("ledger: sqlite\nledger_password_file: a", "ledger_password_file", "asks for no password", "name a database"),
        ("ledger_password_credential: a", "ledger_password_credential", "asks for no password", "name a database"),
        (f"ledger: {LOCAL}\nledger_password: gheim-P4ss", "ledger_password", "unknown key", "ledger_password_file"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, key: str, message: str, remedy: str) -> None:
    config = read(tmp_path, text + "\n")
    (problem,) = config.problems
    assert problem.key == key
    assert message in problem.message
    assert remedy in problem.remedy
    assert config.fatal == (problem,), "without its ledger nothing can start"
    told = "\n".join([*map(str, config.problems), *map(str, config.doubts), repr(config)])
    assert PASSWORD not in told
    assert PASSWORD.lower() not in told.lower()


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("ledger: postgresql://u@db.example.org/d", "ledger", "could impersonate it"),
        ("ledger: postgresql://u@db.example.org/d?sslmode=require", "ledger", "could impersonate it"),
        ("ledger: postgresql://u@localhost,db.example.org/d", "ledger", "could impersonate it"),
        ("ledger: postgresql://u@db.example.org/d?sslmode=verify-full", "", ""),
        ("ledger: postgresql://u@db.example.org/d?sslrootcert=system", "", ""),
        ("ledger: postgresql://u@[::1]/d?sslmode=disable", "", ""),
        ("ledger: postgresql://u@/d?host=/run/pg", "", ""),
        ("lease: 30s", "lease", "no folder is leased"),
        ("ledger: sqlite\nlease: 30s", "lease", "no folder is leased"),
    ],
)
def test_what_is_doubtful_stops_nothing(tmp_path: Path, text: str, key: str, message: str) -> None:
    config = read(tmp_path, text + "\n")
    assert config.problems == ()
    assert [(doubt.key, doubt.level) for doubt in config.doubts] == ([(key, "warning")] if key else [])
    assert all(message in doubt.message for doubt in config.doubts)


@pytest.mark.parametrize(
    ("folder", "before", "sound"),
    [
        ("subfolders: true", "", False),
        ("preserve_in: copies", "", True),
        ("subfolders: true", "defaults: {preserve_in: copies}", True),
        ("preserve_in: null", "defaults: {preserve_in: copies}", False),
        ("existing_file: replace", "", True),
        ("existing_file: preserve", "defaults: {existing_file: refuse}", False),
        ("subfolders: true", "defaults: {existing_file: refuse}", True),
    ],
)
def test_hosts_of_one_ledger_share_their_copies(tmp_path: Path, folder: str, before: str, sound: bool) -> None:
    config = read(tmp_path, f"ledger: {LOCAL}\n{before}\n", folder)
    assert config.fatal == ()
    assert ("labs" in config.folders) is sound
    if not sound:
        (problem,) = config.problems
        assert problem.key == "folders.labs"
        assert "preserve_in" in problem.remedy
        assert [one.name for one in config.broken] == ["labs"]


def test_the_password_is_read_anew_and_shows_itself_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = postgres(tmp_path, LOCAL, "ledger_password_file: pw\nlease: 2m\n")
    assert found.lease == 120
    file = tmp_path / "pw"
    with pytest.raises(SecretError, match="does not exist"):
        found.password()
    for content, mode, message in (
        ("", 0o600, "is empty"),
        ("two\nlines", 0o600, "in one line"),
        (PASSWORD, 0o644, "everybody on this machine"),
    ):
        file.write_text(content)
        os.chmod(file, mode)
        with pytest.raises(SecretError, match=message) as raised:
            found.password()
        assert PASSWORD not in str(raised.value)
    os.chmod(file, 0o600)
    file.write_text("a renewed-P4ssword!\n")
    got = found.password()
    assert got.reveal() == "a renewed-P4ssword!"
    assert "P4ss" not in f"{got} {got!r} {found!r} {found.conninfo()}"
    for said in ("FATAL: a renewed-P4ssword! is wrong", "a%20renewed-P4ssword%21"):
        assert "newed-P4" not in without_tokens(said)
        assert TOKEN_WAS_HERE in without_tokens(said)
    Password("dropcap")
    assert without_tokens("dropcap goes on") == "dropcap goes on", "a short one strikes out no words"

    credential = postgres(tmp_path, LOCAL, "ledger_password_credential: db\n")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SecretError, match="CREDENTIALS_DIRECTORY is not set"):
        credential.password()
    (tmp_path / "db").write_text(PASSWORD + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert credential.password() == Password(PASSWORD)
