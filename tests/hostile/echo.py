"""A proxy before the sandbox that says the caller's token again, wherever and however a careless server might.

And how to search for it: by means of its own, so that nothing of dropcap's is believed.
"""

from __future__ import annotations

import base64
import contextlib
import html
import http.client
import re
import threading
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fields = Mapping[str, str]
_PART = re.compile(rb'name="([^"]+)"\r\n\r\n([^\r]*)\r\n')


@dataclass
class Said:
    """A reply. `first` stands in place of the status line, if it is given."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    first: str = ""


Spoil = Callable[[Fields, Said], Said]


def ways(token: str) -> dict[str, str]:
    """How a token can be written so that a person, a browser or a decoder reads it."""
    mixed = "".join(c.lower() if i % 2 else c for i, c in enumerate(token))
    return {
        "upper": token,
        "lower": token.lower(),
        "mixed": mixed,
        "twice": token * 2,
        "decimal references": "".join(f"&#{ord(c)};" for c in token),
        "hex references": "".join(f"&#x{ord(c):x};" for c in mixed),
        "references of references": "".join(f"&amp;#{ord(c)};" for c in token),
        "percent": "".join(f"%{ord(c):02X}" for c in token),
        "backslash u": "".join(f"\\u{ord(c):04x}" for c in token),
        "backslash U": "".join(f"\\U{ord(c):08x}" for c in token),
        "backslash u in braces": "".join(f"\\u{{{ord(c):x}}}" for c in token),
        "percent u": "".join(f"%u{ord(c):04X}" for c in token),
        "tags": "<b></b>".join(token),
        "written tags": "&lt;i&gt;".join(token),
        "in a tag": f'<a href="/?token={token}">',
        "zero width": "\u200b".join(token),
        "soft hyphens": "\u00ad".join(token),
        "soft hyphens as references": "&shy;".join(token),
        "bidi": "\u202e".join(token),
        "marks on it": "\u0335".join(token),
        "line breaks": "\r\n".join(token[at : at + 4] for at in range(0, 32, 4)),
        "blanks": " ".join(token),
        "dashes": "-".join(token[at : at + 8] for at in range(0, 32, 8)),
        "full width": "".join(chr(ord(c) + 0xFEE0) for c in token),
        "hex": token.encode().hex(),
        "base64": base64.b64encode(token.encode()).decode(),
        "base64 within": base64.b64encode(f"user:{token.lower()}!".encode()).decode(),
        "half": token[:16],
    }


def holds(content: bytes, token: str) -> bool:
    """Whether half of `token` can be read out of `content`."""
    text = content.decode("utf-8", "replace")
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    views = {text, html.unescape(text), html.unescape(html.unescape(html.unescape(text))), urllib.parse.unquote(text)}
    views |= {re.sub(r"\\u[0-9a-f]{4}|\\x[0-9a-f]{2}", "", view) for view in views}
    views.add(re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text))
    for escape in (r"\\U0*([0-9a-f]{2})", r"\\u\{([0-9a-f]+)\}", r"%u([0-9a-fA-F]{4})"):
        views.add(re.sub(escape, lambda found: chr(int(found[1], 16)), text))
    views |= {re.sub(r"<[^<>]*>", "", view) for view in views}
    wanted = [token.lower()[at : at + 16] for at in range(17)]
    plain = {re.sub(r"[\W_]+", "", view).lower() for view in views}
    encoded = [token.encode().hex(), token.lower().encode().hex()]
    encoded += [
        base64.b64encode(before + cased.encode()).decode()[4:36]
        for before in (b"", b"x", b"xx")
        for cased in (token, token.lower())
    ]
    return any(part in view for part in wanted for view in plain) or any(one in text for one in encoded)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy: EchoProxy = self.server.proxy  # type: ignore[attr-defined]
        upstream = http.client.HTTPConnection("127.0.0.1", proxy.upstream)
        upstream.request("POST", self.path, data, {"Content-Type": self.headers.get("Content-Type", "")})
        reply = upstream.getresponse()
        kept = [(k, v) for k, v in reply.getheaders() if k.lower() in ("content-type",)]
        said = Said(reply.status, kept, reply.read())
        upstream.close()
        spoilt = proxy.spoil(_fields(data, self.headers.get("Content-Type", "")), said)
        proxy.spoiled += spoilt is not said
        lines = [spoilt.first or f"HTTP/1.1 {spoilt.status} {http.client.responses.get(spoilt.status, 'Odd')}"]
        lines += [f"{k}: {v}" for k, v in (*spoilt.headers, ("Content-Length", str(len(spoilt.body))), ("Connection", "close"))]
        self.close_connection = True
        self.wfile.write("\r\n".join(lines).encode() + b"\r\n\r\n" + spoilt.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _fields(data: bytes, content_type: str) -> Fields:
    if content_type.startswith("multipart"):
        return {name.decode(): value.decode("utf-8", "replace") for name, value in _PART.findall(data)}
    return dict(urllib.parse.parse_qsl(data.decode(), keep_blank_values=True))


@dataclass
class EchoProxy:
    """Passes every request on; `spoil` makes of each reply what is sent back."""

    upstream: int
    spoil: Spoil = lambda fields, said: said
    spoiled: int = 0
    port: int = field(default=0, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"


@contextlib.contextmanager
def echoing(upstream: int) -> Iterator[EchoProxy]:
    """A proxy before the server on `upstream`."""
    proxy = EchoProxy(upstream)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.proxy = proxy  # type: ignore[attr-defined]
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
