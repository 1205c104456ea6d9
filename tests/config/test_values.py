"""Single values."""

from __future__ import annotations

import pytest

from dropcap.config import values
from dropcap.config.values import BadValueError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("2", 2), ("1.5m", 90), ("1h", 3600), ("7d", 604800), (" 2 s ", 2), ("0", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.duration(0, 1e9)(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1:30", "s", "-1", "1e3", "1 hour", "inf", "nan", "1S", "١s", "1,5s", "9" * 400])
def test_no_durations(text: str) -> None:
    with pytest.raises(BadValueError, match="500ms, 2s"):
        values.duration(0, 1e9)(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("10 KiB", 10240), ("64MiB", 64 * 1024**2), ("1GB", 10**9), ("1.5kb", 1500), ("7", 7), ("7B", 7), ("1TiB", 1024**4)],
)
def test_sizes(text: str, number: int) -> None:
    assert values.size(0, 2**60)(text) == number


@pytest.mark.parametrize("text", ["", "1K", "1 PiB", "-1", "x", "1MiBB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(BadValueError, match="10 KiB"):
        values.size(0, 2**60)(text)


def test_ranges() -> None:
    assert values.whole(1, 64)("064") == 64
    for text in ("0", "65", "1.0", "-1", "x", "", "0\x1f"):
        with pytest.raises(BadValueError, match="1 to 64"):
            values.whole(1, 64)(text)
    with pytest.raises(BadValueError, match="1s to 10s"):
        values.duration(1, 10)("11s")
    with pytest.raises(BadValueError, match="1 to 10 bytes"):
        values.size(1, 10)("0")


@pytest.mark.parametrize(("text", "bits"), [("0660", 0o660), ("660", 0o660), ("0o640", 0o640), ("0600", 0o600)])
def test_modes(text: str, bits: int) -> None:
    assert values.mode(text) == bits


@pytest.mark.parametrize("text", ["0440", "0000", "432x", "999", "07777", "rw-", ""])
def test_no_modes(text: str) -> None:
    with pytest.raises(BadValueError):
        values.mode(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://redcap.example.org/api/", "https://redcap.example.org/api/"),
        ("https://redcap.example.org/redcap/api", "https://redcap.example.org/redcap/api/"),
        ("https://h:8443/api/", "https://h:8443/api/"),
        ("http://127.0.0.1:80/api", "http://127.0.0.1:80/api/"),
        ("http://127.9.9.9/api/", "http://127.9.9.9/api/"),
        ("http://[::1]:8080/api/", "http://[::1]:8080/api/"),
        ("http://localhost/api/", "http://localhost/api/"),
    ],
)
def test_urls(text: str, url: str) -> None:
    assert values.api_url(False)(text) == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://redcap.example.org/api/", "clear text"),
        ("http://127.0.0.1.example.org/api/", "clear text"),
        ("http://localhost.example.org/api/", "clear text"),
        ("https://redcap.example.org/", "ends with /api/"),
        ("https://redcap.example.org/myapi/", "ends with /api/"),
        ("https://h/api/?x=1", "`?`"),
        ("https://h/api/#x", "`?`"),
        ("https://u:hunter2@h/api/", "user or a password"),
        ("https://u:hunter2@h:99999/api/", "user or a password"),
        ("https://h:99999/api/", "not a web address"),
        ("https://[::1/api/", "not a web address"),
        ("https:///api/", "not a web address"),
        ("ftp://h/api/", "not a web address"),
        ("h/api/", "not a web address"),
        ("https://h\\x/api/", "not a web address"),
        ("https://h/a b/api/", "not a web address"),
        ("", "not a web address"),
    ],
)
def test_no_urls(text: str, message: str) -> None:
    with pytest.raises(BadValueError) as caught:
        values.api_url(False)(text)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_http_is_possible_if_asked_for() -> None:
    assert values.api_url(True)("http://redcap.example.org/api/") == "http://redcap.example.org/api/"


def test_what_looks_like_a_token_is_not_quoted() -> None:
    assert "ABCDEF" not in values.quote("x" + "0123456789ABCDEF" * 2)
    assert "ABCDEF" not in values.masked("x" + "0123456789ABCDEF" * 2)
