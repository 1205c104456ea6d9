"""From a request to its reply: the API, the control pages, and everything else."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from datetime import UTC, datetime

from redcap_sandbox.api import answer, error_format, refusal
from redcap_sandbox.call import Call, Reply, return_format
from redcap_sandbox.control import control
from redcap_sandbox.exchange import ConnectionGoneError, Exchange
from redcap_sandbox.fault import Fault
from redcap_sandbox.multipart import Limits, Post, parse_body
from redcap_sandbox.request import Request
from redcap_sandbox.stand_in import StandIn
from redcap_sandbox.store import Upload
from redcap_sandbox.symptoms import after_body, before_body, page
from redcap_sandbox.wording import WORDING, ApiError

_API = re.compile(r"(?:/redcap)?/api/?")
_CONTROL = "/_sandbox/"
#: So much of a body is looked at to tell whether a fault concerns it before it is read.
AHEAD = 16 * 1024


def serve(stand_in: StandIn, exchange: Exchange) -> None:
    """Answer one request."""
    with contextlib.suppress(ConnectionGoneError):
        if exchange.path.startswith(_CONTROL):
            exchange.send(control(stand_in, exchange))
        elif _API.fullmatch(exchange.path) is None:
            exchange.body.drain()
            exchange.send(page(404, "elsewhere"))
        else:
            _Visit(stand_in, exchange).serve()


class _Visit:
    """One API request, from its first byte to its entry in the list of requests."""

    def __init__(self, stand_in: StandIn, exchange: Exchange) -> None:
        self._stand_in = stand_in
        self._exchange = exchange
        self._post = Post()
        self._fault: Fault | None = None
        self._request: Request | None = None
        self._filename = ""
        self._came, self._clock = time.time(), time.monotonic()

    def serve(self) -> None:
        try:
            if not self._struck_early() and self._read():
                self._reply()
        except ConnectionGoneError:
            if self._request is not None:
                self._request.status = 0
        finally:
            self._post.discard()
            if self._request is None:
                self._remember(0)

    def _struck_early(self) -> bool:
        """Whether a fault before the body ended the request."""
        stand_in, exchange = self._stand_in, self._exchange
        if not stand_in.illness.looks_ahead():
            return False
        ahead = [exchange.body.peek(AHEAD)]
        self._post = parse_body(
            exchange.content_type, None, lambda _: ahead.pop() if ahead else b"", Limits(), lambda: Upload(None)
        )
        self._fault = stand_in.illness.strike(self._parameters(), before_body=True)
        if self._fault is None:
            return False
        return before_body(exchange, self._fault, self._remember)

    def _read(self) -> bool:
        """Read the body; False if the client went away meanwhile."""
        exchange = self._exchange
        if exchange.method != "POST":
            exchange.body.drain()
            reply = _to_nothing(0, self._stand_in.limits)
            reply.headers += _own_headers()
            self._send(reply)
            return False
        self._post.discard()
        self._post = parse_body(
            exchange.content_type, exchange.length, exchange.body.read, self._stand_in.limits, self._stand_in.new_upload
        )
        if posted := self._post.files.get("file"):
            self._filename = posted.name
        if exchange.body.cut_off:
            exchange.close()
            return False
        return True

    def _reply(self) -> None:
        stand_in, exchange = self._stand_in, self._exchange
        if not stand_in.admits(exchange.address):
            self._send(page(stand_in.ban_status, "banned", address=exchange.address))
            return
        if stand_in.maintenance:
            self._send(page(stand_in.maintenance, "maintenance"))
            return
        fault = stand_in.illness.strike(self._parameters(), before_body=False)
        if fault is None:
            self._send(self._run())
            return
        self._fault = fault
        token, kind = self._post.text("token"), return_format(self._post)
        after_body(exchange, fault, self._run, token, kind, self._remember)

    def _send(self, reply: Reply) -> None:
        self._remember(reply.status)
        self._exchange.send(reply)

    def _run(self) -> Reply:
        reply = self._answer()
        reply.headers += _own_headers()
        return reply

    def _answer(self) -> Reply:
        stand_in = self._stand_in
        if not self._post.fields and not self._post.files:
            return _to_nothing(self._post.emptied, stand_in.limits)
        rights = stand_in.tokens.get(self._post.text("token"))
        if rights is None or stand_in.project.deleted:
            return refusal(ApiError(403, "no_permission"), error_format(stand_in.project, self._post))

        def note(action: str, record: str, details: str) -> None:
            stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
            stand_in.project.log.append(
                {
                    "timestamp": stamp,
                    "username": rights.username,
                    "action": f"{action} {record}",
                    "details": details,
                    "record": record,
                }
            )

        return answer(Call(stand_in.project, rights, self._post, note, stand_in.success))

    def _parameters(self) -> dict[str, str]:
        post = self._post
        found = {name: post.text(name) for name in ("content", "action", "record", "field", "event")}
        if not found["action"] and found["content"] == "record":
            found["action"] = "import" if "data" in post.fields else "export"
        return found

    def _remember(self, status: int) -> None:
        """Enter the request in the list, before its reply goes out: whoever has the reply finds it there."""
        self._request = Request(
            time=self._came,
            seconds=time.monotonic() - self._clock,
            **self._parameters(),
            instance=self._post.text("repeat_instance"),
            status=status,
            size=self._exchange.body.size,
            fault=self._fault.kind if self._fault else "",
            filename=self._filename,
        )
        self._stand_in.remember(self._request)


def _to_nothing(emptied: int, limits: Limits) -> Reply:
    """The answer to a request without parameters, or to one of which PHP has left none: nobody asked for JSON in it."""
    status = limits.emptied_status if emptied else 501
    key = {400: "bad_content", 403: "no_permission"}.get(status, "not_implemented")
    reply = refusal(ApiError(status, key), "xml")
    if emptied and limits.display_errors:
        warning = WORDING["post_too_large"].text.format(length=emptied, limit=limits.post_max_size)
        reply = Reply(status, warning.encode() + reply.body)
    return reply


def _own_headers() -> list[tuple[str, str]]:
    """What every answer of REDCap's own has, and no page of a proxy."""
    return [
        ("Expires", "0"),
        ("cache-control", "no-store, no-cache, must-revalidate"),
        ("Pragma", "no-cache"),
        ("Access-Control-Allow-Origin", "*"),
        ("X-XSS-Protection", "1; mode=block"),
        ("X-Content-Type-Options", "nosniff"),
        ("REDCap-Random-Text", secrets.token_urlsafe(secrets.randbelow(48) + 1)[:64]),
    ]
