"""Where tokens come from: real files with real modes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropcap.config.secrets import ProxyCredentials, SecretError, TokenSource
from dropcap.secret import Token

TOKEN = "0123456789ABCDEF0123456789abcdef"


def written(path: Path, content: bytes, mode: int = 0o600) -> TokenSource:
    path.write_bytes(content)
    path.chmod(mode)
    return TokenSource("file", str(path))


@pytest.mark.parametrize("content", [TOKEN, TOKEN + "\n", f"  {TOKEN}\r\n", "\ufeff" + TOKEN])
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_token_file(tmp_path: Path, content: str, mode: int) -> None:
    assert written(tmp_path / "token", content.encode(), mode).read() == Token(TOKEN)


def test_a_renewed_file_is_taken_up(tmp_path: Path) -> None:
    source = written(tmp_path / "token", TOKEN.encode())
    assert source.read().reveal() == TOKEN
    (tmp_path / "token").write_text("F" * 32)
    assert source.read().reveal() == "F" * 32


def test_a_link_to_the_file_is_followed(tmp_path: Path) -> None:
    written(tmp_path / "token", TOKEN.encode())
    (tmp_path / "link").symlink_to("token")
    assert TokenSource("file", str(tmp_path / "link")).read() == Token(TOKEN)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o666])
def test_a_file_that_everybody_can_get_at(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SecretError, match=f"mode {mode:04o}") as caught:
        written(tmp_path / "token", TOKEN.encode(), mode).read()
    assert "chmod 0600" in caught.value.remedy
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"A" * 64, "super token"),
        (b"A" * 31, "this has 31"),
        (b"G" * 32, "not hold"),
        (TOKEN.encode() + b"\n" + TOKEN.encode(), "not hold"),
        (b"\xff\xfe" * 20, "not hold"),
        (b"A" * 100_000, "not hold"),
    ],
    ids=range(8),
)
def test_no_token(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(SecretError, match=message) as caught:
        written(tmp_path / "token", content).read()
    assert caught.value.remedy
    assert len(content) < 30 or content.decode(errors="replace").strip() not in caught.value.message
    assert TOKEN not in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="does not exist"):
        TokenSource("file", str(tmp_path / "none")).read()
    with pytest.raises(SecretError, match="is not a file"):
        TokenSource("file", str(tmp_path)).read()
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(SecretError, match="is not a file"):  # at once: nobody writes into it
        TokenSource("file", str(tmp_path / "fifo")).read()
    with pytest.raises(SecretError, match="cannot be read"):
        TokenSource("file", "a\0b").read()


def test_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    source = TokenSource("credential", "trial")
    with pytest.raises(SecretError, match="CREDENTIALS_DIRECTORY is not set"):
        source.read()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(SecretError, match="does not exist"):
        source.read()
    written(tmp_path / "trial", TOKEN.encode(), 0o444)
    assert source.read() == Token(TOKEN)


def test_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DROPCAP_TEST_TOKEN", raising=False)
    source = TokenSource("env", "DROPCAP_TEST_TOKEN")
    with pytest.raises(SecretError, match="DROPCAP_TEST_TOKEN is not set"):
        source.read()
    monkeypatch.setenv("DROPCAP_TEST_TOKEN", f" {TOKEN}\n")
    assert source.read() == Token(TOKEN)
    assert TOKEN not in repr(source)


def test_user_and_password_for_a_proxy(tmp_path: Path) -> None:
    file = tmp_path / "proxy.credentials"
    source = ProxyCredentials(str(file))
    with pytest.raises(SecretError, match="does not exist; write user:password"):
        source.read()
    file.write_text("clinic\\svc:geheim: und mehr\n")
    file.chmod(0o600)
    assert source.read().reveal() == "clinic\\svc:geheim: und mehr"
    assert "geheim" not in repr(source.read())
    for text in ("", "geheim", ":geheim", "user:", "user:geheim\nX-Header: y"):
        file.write_text(text)
        with pytest.raises(SecretError, match="does not hold user:password") as caught:
            source.read()
        assert "geheim" not in str(caught.value)
    file.chmod(0o644)
    with pytest.raises(SecretError, match="everybody on this machine"):
        source.read()
