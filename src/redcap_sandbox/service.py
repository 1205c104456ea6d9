"""Serving a request: the API's answer, or what a fault makes of it."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import secrets
import time

from redcap_sandbox.api import answer, error_format, refusal
from redcap_sandbox.call import CONTENT_TYPES, WORDING, ApiError, Call, Reply, error_body, return_format
from redcap_sandbox.control import control
from redcap_sandbox.exchange import ConnectionGoneError, Exchange
from redcap_sandbox.fault import Fault
from redcap_sandbox.multipart import Limits, Post, parse_body
from redcap_sandbox.stand_in import Request, StandIn


def page(status: int, key: str, **values: object) -> Reply:
    """An HTML page, as proxies, log-in walls and maintenance show it."""
    text = WORDING[key].text.format(**values)
    return Reply(status, f"<!DOCTYPE html><html><head><title>REDCap</title></head><body><h1>{text}</h1></body></html>".encode())


#: Faults after which the client has no whole reply.
_BREAKING = frozenset({"reset_after_body", "truncated_head", "truncated_body", "cut_chunk"})
#: Faults that only change how the honest reply is sent.
_HONEST = frozenset({"stored_then_500", "drip", "delay", "wrong_content", "chunked", "gzip"})
_TEXT = "text/html; charset=utf-8"


def _carries_out(fault: Fault) -> bool:
    if "stored" in fault.params:
        return bool(fault.params["stored"])
    return fault.kind in _HONEST


def _spoilt(fault: Fault, honest: Reply, token: str, kind: str, address: str) -> Reply:
    """The reply that is to be sent instead of the honest one."""
    params = fault.params
    match fault.kind:
        case "status":
            return Reply(int(params["code"]), str(params["body"]).encode(), str(params["content_type"]))
        case "stored_then_500":
            return Reply(500, str(params["body"]).encode())
        case "html_200":
            return page(200, "log_in")
        case "unknown_error_page":
            return page(int(params["code"]), "several_tabs")
        case "database_down" | "crashed":
            return Reply(int(params["code"]), WORDING[fault.kind].text.encode(), _TEXT)
        case "php_warning":
            return Reply(honest.status, WORDING["php_warning"].text.encode() + _whole(honest), _TEXT, honest.headers)
        case "gzip":
            headers = [*honest.headers, ("Content-Encoding", "gzip")]
            return Reply(honest.status, gzip.compress(_whole(honest)), honest.content_type, headers)
        case "maintenance":
            return page(int(params["code"]), "maintenance")
        case "ban":
            return page(int(params["code"]), "banned", address=address)
        case "token_echo":
            message = f"{WORDING['internal'].text}: token={token}"
            if params["shape"] == "page":
                return Reply(int(params["code"]), f"<!DOCTYPE html><html><body><p>{message}</p></body></html>".encode())
            return Reply(int(params["code"]), error_body(message, kind), CONTENT_TYPES[kind])
        case "redirect":
            return Reply(int(params["code"]), headers=[("Location", str(params["location"]))])
        case "rate_429":
            reply = page(429, "too_many")
            reply.headers.append(("Retry-After", str(params["retry_after"])))
            return reply
        case "wrong_content" if honest.status == 200:
            content = _whole(honest)
            return Reply(200, bytes(byte ^ 0xFF for byte in content[:1]) + content[1:], honest.content_type)
    return honest


def _whole(reply: Reply) -> bytes:
    if reply.stream is None:
        return reply.body
    with reply.stream as stream:
        return stream.read()


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
        ahead = io.BytesIO(exchange.body.peek(AHEAD))
        self._post = parse_body(exchange.content_type, None, ahead.read, Limits(), stand_in.new_upload)
        self._fault = stand_in.illness.strike(self._parameters(), before_body=True)
        if self._fault is None:
            return False
        params = self._fault.params
        match self._fault.kind:
            case "reset_before_body":
                exchange.reset()
            case "reset_during_body":
                exchange.body.read(max(1, int(params["after"])))
                exchange.reset()
            case "slow_read":
                exchange.body.bytes_per_second = int(params["bytes_per_second"])
            case "delay":
                exchange.wait(float(params["seconds"]))
            case "early_413_and_close":
                exchange.close()
                self._send(page(413, "too_large"))
                exchange.close_lingering(float(params["linger"]))
                return True
        return False

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
        self._reply_spoilt(fault)

    def _reply_spoilt(self, fault: Fault) -> None:
        """A fault that strikes once the body is there: carry the call out or not, spoil and send the reply."""
        exchange, params = self._exchange, fault.params
        honest = self._run() if _carries_out(fault) else Reply()
        reply = _spoilt(fault, honest, self._post.text("token"), return_format(self._post), exchange.address)
        if fault.kind == "delay":
            exchange.wait(float(params["seconds"]))
        self._remember(0 if fault.kind in _BREAKING else reply.status)
        match fault.kind:
            case "reset_after_body":
                exchange.reset()
            case "truncated_head":
                head = exchange.head(reply)
                exchange.close()
                exchange.send_bytes(head[: len(head) // 2])
            case "truncated_body":  # the whole one is announced, or one where there is none
                body = _whole(reply)
                head = exchange.head(reply, length=len(body) or 64)
                exchange.close()
                exchange.send_bytes(head + body[: len(body) // 2])
            case "chunked":
                exchange.send_chunked(reply, _whole(reply))
            case "cut_chunk":
                exchange.send_chunked(reply, _whole(reply) or b"\0", whole=False)
            case "drip":
                exchange.send_slowly(exchange.head(reply) + _whole(reply), int(params["bytes_per_second"]))
            case _:
                exchange.send(reply)

    def _send(self, reply: Reply) -> None:
        self._remember(reply.status)
        self._exchange.send(reply)

    def _run(self) -> Reply:
        stand_in = self._stand_in
        rights = stand_in.tokens.get(self._post.text("token"))
        if not self._post.fields and not self._post.files:
            reply = _to_nothing(self._post.emptied, stand_in.limits)
        elif rights is None or stand_in.project.deleted:
            reply = refusal(ApiError(403, "no_permission"), error_format(stand_in.project, self._post))
        else:
            reply = answer(Call(stand_in.project, rights, self._post, stand_in.success))
        reply.headers += _own_headers()
        return reply

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
