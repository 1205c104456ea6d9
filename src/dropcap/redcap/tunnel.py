"""Through a proxy: it is asked to connect to the server (CONNECT), and passes on what it cannot read."""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
import threading
import time
from http import HTTPStatus

from urllib3.util import connection as tcp

from dropcap.reasons import Reason
from dropcap.redcap.head import fields
from dropcap.redcap.way import NoWay, Proxy, authority
from dropcap.secret import Secret

#: Seconds for which a user and password that the proxy has refused are not shown to it again: it may lock the account.
HELD_BACK = 900.0
#: 407; tinyproxy says 401 to a wrong password.
_WHO_ARE_YOU = frozenset({HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, HTTPStatus.UNAUTHORIZED})
_LONGEST_HEAD = 16 * 1024
_SCHEMES = ("Basic", "Digest", "Negotiate", "NTLM", "Kerberos", "Bearer")


class Tunnel:
    """Opens connections to servers through one proxy. Thread-safe."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._showing = threading.Lock()  # held while the proxy says for the first time what it makes of the credentials
        self._accepted: Secret | None = None
        self._refused: tuple[Secret, float] | None = None

    def reach(self, timeout: float, options: object) -> socket.socket:
        """A connection to the proxy itself. Raises `NoWay`."""
        proxy = self._proxy
        try:
            return tcp.create_connection((proxy.host, proxy.port), timeout, socket_options=options)  # type: ignore[arg-type]
        except TimeoutError:
            said = f"it did not answer within {timeout:g} s"
        except (OSError, UnicodeError) as error:  # gaierror among them
            said = getattr(error, "strerror", None) or str(error)
        remedy = "see that the proxy runs and that `proxy` names it; dropcap asks again by itself"
        raise NoWay(Reason.UNREACHABLE, f"no connection to the proxy {proxy}: {said}", remedy)

    def open(self, sock: socket.socket, host: str, port: int, timeout: float) -> None:
        """Have the proxy connect to a server, within `timeout` seconds. Raises `NoWay`."""
        server = authority(host, port)
        if self._proxy.credentials is None:
            self._judge(server, *self._ask(sock, server, None, timeout), shown=False)
            return
        credentials = self._proxy.credentials()
        with contextlib.nullcontext() if credentials == self._accepted else self._showing:
            if self._was_refused(credentials):
                raise self._refuses_credentials()
            status, headers = self._ask(sock, server, credentials, timeout)
            if status in _WHO_ARE_YOU:
                self._refused, self._accepted = (credentials, time.monotonic()), None
            else:
                self._accepted = credentials
        self._judge(server, status, headers, shown=True)

    def _was_refused(self, credentials: Secret) -> bool:
        if self._refused is None:
            return False
        shown, when = self._refused
        return shown == credentials and time.monotonic() - when < HELD_BACK

    def _ask(
        self, sock: socket.socket, server: str, credentials: Secret | None, timeout: float
    ) -> tuple[int, http.client.HTTPMessage]:
        lines = [f"CONNECT {server} HTTP/1.1", f"Host: {server}"]
        if credentials is not None:
            lines.append("Proxy-Authorization: Basic " + base64.b64encode(credentials.reveal().encode()).decode())
        try:
            sock.settimeout(timeout)
            sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            head = self._head(sock, time.monotonic() + timeout)
        except TimeoutError:
            message = f"the proxy {self._proxy} did not open the way to {server} within {timeout:g} s"
            raise NoWay(Reason.UNREACHABLE, message) from None
        except OSError as error:
            message = f"the connection to the proxy {self._proxy} was lost: {error.strerror or error}"
            raise NoWay(Reason.UNREACHABLE, message) from None
        lines = head.splitlines()
        found = re.match(r"HTTP/1\.[0-9] +([1-5][0-9][0-9])(?: |$)", lines[0]) if lines else None
        if found is None:
            raise NoWay(
                Reason.PROXY, f"what answers at {self._proxy} is not an HTTP proxy", "correct `proxy`: its host and its port"
            )
        return int(found[1]), fields([line for line in lines[1:] if line])

    def _head(self, sock: socket.socket, end: float) -> str:
        """The head of the answer and not a byte more: what follows is the server's. Empty if it is none."""
        head = bytearray()
        while not head.endswith((b"\r\n\r\n", b"\n\n")):
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            byte = sock.recv(1)
            if not byte:
                raise OSError("it closed the connection without an answer")
            head += byte
            if len(head) > _LONGEST_HEAD or (len(head) == 5 and head != b"HTTP/"):
                return ""
        return head.decode("iso-8859-1")

    def _judge(self, server: str, status: int, headers: http.client.HTTPMessage, *, shown: bool) -> None:
        """The proxy's own answer. Nothing of what it says is passed on to people, since it may repeat what it was shown."""
        if 200 <= status < 300:
            return
        proxy, said = self._proxy, f"{status}{_phrase(status)}"
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED or (status in _WHO_ARE_YOU and shown):
            offered = _schemes(headers)
            if offered and "Basic" not in offered:
                message = f"the proxy {proxy} accepts no user and password, only {', '.join(offered)} ({status})"
                raise NoWay(Reason.PROXY, message, "ask the proxy's administrator to let this machine through without a log-in")
            if shown:
                raise self._refuses_credentials()
            remedy = "write user:password into a file of mode 0600 and name it in `proxy_credentials_file`"
            raise NoWay(Reason.PROXY, f"the proxy {proxy} asks for a user and a password ({status})", remedy)
        if status >= 500 and status not in (HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED):
            remedy = "check `url`; if it is right, ask the proxy's administrator; dropcap asks again by itself"
            raise NoWay(Reason.UNREACHABLE, f"the proxy {proxy} does not reach {server} ({said})", remedy)
        remedy = f"ask the proxy's administrator to allow CONNECT to {server} from this machine, or correct `proxy`"
        raise NoWay(Reason.PROXY, f"the proxy {proxy} does not let dropcap through to {server} ({said})", remedy)

    def _refuses_credentials(self) -> NoWay:
        message = f"the proxy {self._proxy} refuses the user and password of `proxy_credentials_file`"
        remedy = (
            "correct the file, which is read again within a minute; what was refused is tried again after 15 minutes only, "
            "so that the account is not locked"
        )
        return NoWay(Reason.PROXY, message, remedy)


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return f" {HTTPStatus(status).phrase}"
    return ""


def _schemes(headers: http.client.HTTPMessage) -> list[str]:
    asked = ", ".join(headers.get_all("proxy-authenticate") or []).lower()
    return [scheme for scheme in _SCHEMES if re.search(rf"(?:^|, *){scheme.lower()}\b", asked)]
