"""The way to a server: proxies, real and odd, and certificates on both sides."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dropcap.reasons import Reason
from dropcap.redcap.client import FileTarget, Redcap, RedcapError
from dropcap.redcap.connect import ConnectError, ConnectionSettings, Proxy
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.transport import Timeouts, Transport
from dropcap.redcap.window import RequestWindow, Stopped
from dropcap.secret import Secret, Token
from tests.redcap.raw_server import Peer, RawServer, forever, reply, serving
from tests.tinyproxy import dead_port, tinyproxy
from tests.tls import make_authority, server_context

TOKEN = "0123456789ABCDEF0123456789ABCDEF"
PASSWORD = "hospital:Tr0ub4dor"
UNLIMITED = RequestWindow(Path("/nonexistent"), 0)
VERSION = reply("14.5.2")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(authority: Path) -> Iterator[RawServer]:
    with serving(forever(VERSION), tls=server_context(authority)) as running:
        yield running


def client(url: str, connection: ConnectionSettings, connect_timeout: float = 2.0) -> Redcap:
    return Redcap(url, lambda: Token(TOKEN), UNLIMITED, connection=connection, timeouts=Timeouts(connect_timeout, 2.0, 10.0))


def through(authority: Path, port: int, credentials: Callable[[], Secret] | None = None) -> ConnectionSettings:
    return ConnectionSettings(ca_file=authority / "ca.pem", proxy=Proxy("127.0.0.1", port, credentials))


def meaning_of(ask: Callable[[], object]) -> Meaning:
    with pytest.raises(RedcapError) as caught:
        ask()
    return caught.value.meaning


# -- a real proxy -----------------------------------------------------------------------------------------------------


def test_through_a_real_proxy_and_nothing_but_the_address_is_shown_to_it(
    authority: Path, server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tinyproxy(tmp_path) as proxy, dead_port() as nobody:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody}")
        redcap = client(server.url, through(authority, proxy.port))
        assert redcap.version() == "14.5.2"
        assert redcap.version() == "14.5.2"
        assert proxy.asked() == [f"CONNECT localhost:{server.port} HTTP/1.1"]  # one connection for both
        assert TOKEN not in proxy.log.read_text()
        direct = client(server.url, ConnectionSettings(ca_file=authority / "ca.pem"))
        assert direct.version() == "14.5.2"
        assert len(proxy.asked()) == 1


def test_a_real_proxy_that_asks_for_a_password_or_lets_nobody_through(authority: Path, server: RawServer, tmp_path: Path) -> None:
    given = [Secret("hospital:wrong")]
    with tinyproxy(tmp_path, "BasicAuth hospital Tr0ub4dor") as proxy:
        meaning = meaning_of(client(server.url, through(authority, proxy.port)).version)
        assert (meaning.verdict, meaning.reason) == (Verdict.SERVER, Reason.PROXY)
        assert "proxy_credentials_file" in meaning.remedy
        redcap = client(server.url, through(authority, proxy.port, lambda: given[0]))
        for _ in range(3):
            meaning = meaning_of(redcap.version)
            assert (meaning.reason, "refuses the user and password" in meaning.message) == (Reason.PROXY, True)
            assert "wrong" not in meaning.message + meaning.remedy
        assert len(proxy.asked()) == 2  # the wrong ones were shown once: accounts are locked for less
        given[0] = Secret(PASSWORD)
        assert redcap.version() == "14.5.2"
    assert meaning_of(redcap.version).reason == Reason.UNREACHABLE  # it is gone
    with tinyproxy(tmp_path, "ConnectPort 443") as proxy:
        meaning = meaning_of(client(server.url, through(authority, proxy.port)).version)
        assert meaning.reason == Reason.PROXY
        assert f"does not let dropcap through to localhost:{server.port} (403 Forbidden)" in meaning.message


def test_a_server_that_a_real_proxy_does_not_reach_and_a_proxy_that_is_not_there(authority: Path, tmp_path: Path) -> None:
    with dead_port() as nobody:
        url = f"https://localhost:{nobody}/api/"
        with tinyproxy(tmp_path) as proxy:
            meaning = meaning_of(client(url, through(authority, proxy.port)).version)
        assert (meaning.verdict, meaning.reason) == (Verdict.SERVER, Reason.UNREACHABLE)
        assert f"does not reach localhost:{nobody}" in meaning.message
        meaning = meaning_of(client(url, through(authority, nobody)).version)
    assert meaning.message == f"no connection to the proxy 127.0.0.1:{nobody}: Connection refused"
    assert "`proxy`" in meaning.remedy
    connection = ConnectionSettings(proxy=Proxy("proxy.invalid", 3128))
    assert "no connection to the proxy proxy.invalid:3128" in meaning_of(client(url, connection).version).message


# -- proxies that are odd ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: https://login.example.org/\r\n\r\n", Reason.PROXY, "302 Found"),
        (b"HTTP/1.1 405 Method Not Allowed\r\n\r\n", Reason.PROXY, "405 Method Not Allowed"),
        (b"HTTP/1.1 501 What\r\n\r\n", Reason.PROXY, "501 Not Implemented"),
        (b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n", Reason.PROXY, "Negotiate, NTLM"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<h1>no</h1>", Reason.UNREACHABLE, "502 Bad Gateway"),
        (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", Reason.UNREACHABLE, "504 Gateway Timeout"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Reason.PROXY, "is not an HTTP proxy"),
        (b"HTTP/1.1 banana\r\n\r\n", Reason.PROXY, "is not an HTTP proxy"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000, Reason.PROXY, "is not an HTTP proxy"),
        (b"", Reason.UNREACHABLE, "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nVia", Reason.UNREACHABLE, "closed the connection without an answer"),
    ],
)
def test_what_a_proxy_says_is_never_an_answer_of_the_server(answer: bytes, reason: Reason, words: str, authority: Path) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(answer)

    with serving(script) as proxy:
        redcap = client("https://redcap.example.org/api/", through(authority, proxy.port))
        meaning = meaning_of(lambda: redcap.import_file(FileTarget("1", "f"), 0, 0, "a.pdf"))
    assert (meaning.verdict, meaning.reason, meaning.outcome_unknown) == (Verdict.SERVER, reason, False)
    assert words in meaning.message
    assert meaning.remedy


def test_a_proxy_that_speaks_before_the_server_or_opens_the_tls(authority: Path) -> None:
    """What follows the head of its answer is the server's, and a certificate of its own is not trusted."""

    def babbles(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + VERSION)
        peer.stop.wait(5)

    with serving(babbles) as proxy:
        meaning = meaning_of(client("https://redcap.example.org/api/", through(authority, proxy.port)).version)
        assert (meaning.verdict, meaning.reason) == (Verdict.SERVER, Reason.CERTIFICATE)

    def opens(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority / "stranger.pem")
        context.wrap_socket(peer.sock, server_side=True)

    with serving(opens) as proxy:
        meaning = meaning_of(client("https://redcap.example.org/api/", through(authority, proxy.port)).version)
        assert (meaning.reason, "ca_file" in meaning.remedy) == (Reason.CERTIFICATE, True)


def test_a_proxy_that_says_nothing_or_a_byte_now_and_then(authority: Path) -> None:
    def drips(peer: Peer) -> None:
        peer.head()
        for byte in b"HTTP/1.1 200 OK\r\n" * 40:
            peer.send(bytes([byte]))
            time.sleep(0.02)

    stop = threading.Event()

    def silent(peer: Peer) -> None:
        peer.head()
        stop.set()
        peer.stop.wait(5)

    url = "https://redcap.example.org/api/"
    with serving(drips, silent) as proxy:
        began = time.monotonic()
        meaning = meaning_of(client(url, through(authority, proxy.port), connect_timeout=0.3).version)
        assert meaning.message == f"the proxy 127.0.0.1:{proxy.port} did not open the way to redcap.example.org:443 within 0.3 s"
        redcap = client(url, through(authority, proxy.port), connect_timeout=20.0)
        with pytest.raises(Stopped):
            redcap.version(stop)
        assert time.monotonic() - began < 3.0


def test_many_at_once_show_a_wrong_password_once(authority: Path) -> None:
    def refuses(peer: Peer) -> None:
        heads.append(peer.head())
        peer.send(b"HTTP/1.1 407 no\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")

    heads: list[bytes] = []
    found: list[Reason] = []
    with serving(refuses) as proxy:
        redcap = client("https://redcap.example.org/api/", through(authority, proxy.port, lambda: Secret(PASSWORD)))
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(lambda _: found.append(meaning_of(redcap.version).reason), range(6)))
    assert found == [Reason.PROXY] * 6
    assert [base64.b64encode(PASSWORD.encode()) in head for head in heads] == [True]


def test_credentials_that_cannot_be_had_are_the_proxys_trouble(authority: Path, server: RawServer) -> None:
    def none() -> Secret:
        raise ConnectError(Reason.PROXY, "the proxy_credentials_file x does not exist", "write it")

    with serving(lambda peer: peer.stop.wait(5)) as proxy:
        meaning = meaning_of(client(server.url, through(authority, proxy.port, none)).version)
    assert (meaning.reason, meaning.message, meaning.remedy) == (
        Reason.PROXY,
        "the proxy_credentials_file x does not exist",
        "write it",
    )


def test_no_token_goes_to_a_proxy_in_clear_text() -> None:
    with pytest.raises(ValueError, match="clear text"):
        Transport("http://127.0.0.1/api/", Timeouts(), ConnectionSettings(proxy=Proxy("127.0.0.1", 3128)), pool=1)


# -- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest", [True, False])
def test_a_server_that_wants_to_see_a_certificate(authority: Path, newest: bool) -> None:
    tls = server_context(authority, of_client=True, newest=newest)
    with serving(forever(VERSION), tls=tls) as server:
        own = ConnectionSettings(authority / "ca.pem", authority / "client.crt", authority / "client.key")
        assert client(server.url, own).version() == "14.5.2"
        assert client(server.url, ConnectionSettings(authority / "ca.pem", authority / "client.pem")).version() == "14.5.2"
        for connection in (
            ConnectionSettings(authority / "ca.pem"),
            ConnectionSettings(authority / "ca.pem", authority / "stranger.pem"),
        ):
            meaning = meaning_of(client(server.url, connection).version)
            assert (meaning.verdict, meaning.reason) == (Verdict.SERVER, Reason.CERTIFICATE), meaning
            assert "client_cert_file" in meaning.remedy


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("absent.pem", None, "client_cert_file: there is no"),
        ("client.crt", None, "cannot be used"),
        ("client.crt", "stranger.key", "do not belong together"),
        ("client.crt", "locked.key", "is encrypted"),
        ("ca.key", "client.key", "cannot be used"),
        ("client.crt", "absent.key", "client_key_file: there is no"),
    ],
)
def test_files_that_are_no_certificate_and_key(
    certificate: str, key: str | None, words: str, authority: Path, server: RawServer
) -> None:
    if key == "locked.key":
        lock = ["openssl", "pkey", "-in", "client.key", "-aes256", "-passout", "pass:x", "-out", "locked.key"]
        subprocess.run(lock, cwd=authority, check=True, capture_output=True)
    connection = ConnectionSettings(authority / "ca.pem", authority / certificate, authority / key if key else None)
    meaning = meaning_of(client(server.url, connection).version)
    assert (meaning.reason, words in meaning.message) == (Reason.CERTIFICATE, True), meaning.message
    assert not server.requests


def test_a_renewed_certificate_is_taken_up(authority: Path, tmp_path: Path) -> None:
    shown, trusted = tmp_path / "shown.pem", tmp_path / "trusted.pem"
    shown.write_bytes((authority / "stranger.pem").read_bytes())
    trusted.write_bytes((authority / "stranger.crt").read_bytes())
    with serving(forever(VERSION), tls=server_context(authority, of_client=True)) as server:
        redcap = client(server.url, ConnectionSettings(trusted, shown))
        assert meaning_of(redcap.version).reason == Reason.CERTIFICATE
        for path, name in ((trusted, "ca.pem"), (shown, "client.pem")):
            (tmp_path / "new").write_bytes((authority / name).read_bytes())
            os.replace(tmp_path / "new", path)
        assert redcap.version() == "14.5.2"
