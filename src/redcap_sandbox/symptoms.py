"""What each kind of fault does to an exchange."""

from __future__ import annotations

import gzip
from collections.abc import Callable

from redcap_sandbox.call import Reply
from redcap_sandbox.exchange import Exchange
from redcap_sandbox.fault import Fault
from redcap_sandbox.formats import CONTENT_TYPES, error_body
from redcap_sandbox.wording import WORDING


def page(status: int, key: str, **values: object) -> Reply:
    """An HTML page, as proxies, log-in walls and maintenance show it."""
    text = WORDING[key].text.format(**values)
    return Reply(status, f"<!DOCTYPE html><html><head><title>REDCap</title></head><body><h1>{text}</h1></body></html>".encode())


#: Faults after which the client has no whole reply.
_BREAKING = frozenset({"reset_after_body", "truncated_head", "truncated_body", "cut_chunk"})
#: Faults that only change how the honest reply is sent.
_HONEST = frozenset({"stored_then_500", "drip", "delay", "wrong_content", "chunked", "gzip"})
_TEXT = "text/html; charset=utf-8"


def before_body(exchange: Exchange, fault: Fault, remember: Callable[[int], None]) -> bool:
    """A fault that strikes before the body is read. True if it ended the request.

    `remember` is told the status of a reply before it goes out. Raises ConnectionGoneError where the connection was reset.
    """
    params = fault.params
    match fault.kind:
        case "reset_before_body":
            exchange.reset()
        case "reset_during_body":
            exchange.body.read(max(1, int(params["after"])))
            exchange.reset()
        case "slow_read":
            exchange.body.slow_down(int(params["bytes_per_second"]), exchange.wait)
        case "delay":
            exchange.wait(float(params["seconds"]))
        case "early_413_and_close":
            exchange.close()
            remember(413)
            exchange.send(page(413, "too_large"))
            exchange.close_lingering(float(params["linger"]))
            return True
    return False


def after_body(
    exchange: Exchange, fault: Fault, run: Callable[[], Reply], token: str, kind: str, remember: Callable[[int], None]
) -> None:
    """A fault that strikes once the body is there: carry the call out or not, spoil and send the reply.

    `run` carries the call out; `kind` is the format of messages; `remember` is told the status before the reply goes
    out, 0 if none will be whole. Raises ConnectionGoneError where the connection was reset.
    """
    params = fault.params
    honest = run() if _carries_out(fault) else Reply()
    reply = _spoilt(fault, honest, token, kind, exchange.address)
    if fault.kind == "delay":
        exchange.wait(float(params["seconds"]))
    remember(0 if fault.kind in _BREAKING else reply.status)
    match fault.kind:
        case "reset_after_body":
            exchange.reset()
        case "truncated_head":
            head = exchange.head(reply)
            exchange.close()
            exchange.send_bytes(head[: len(head) // 2])
        case "truncated_body":
            _truncated_body(exchange, reply)
        case "chunked":
            exchange.send_chunked(reply, _whole(reply))
        case "cut_chunk":
            exchange.send_chunked(reply, _whole(reply) or b"\0", whole=False)
        case "drip":
            data = exchange.head(reply) + _whole(reply)
            exchange.send_slowly(data, int(params["bytes_per_second"]))
        case _:
            exchange.send(reply)


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


def _truncated_body(exchange: Exchange, reply: Reply) -> None:
    """Announce the whole body, or one where there is none, and send half of it."""
    body = _whole(reply)
    head = exchange.head(reply, length=len(body) or 64)
    exchange.close()
    exchange.send_bytes(head + body[: len(body) // 2])
