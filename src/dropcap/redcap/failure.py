"""Why an exchange ended without a whole reply: from what libraries raise to what it means."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import urllib3

from dropcap.reasons import Reason
from dropcap.redcap.deadline import BrokenOff, Exchange
from dropcap.redcap.reply import CLIENT_CERTIFICATE
from dropcap.redcap.way import NoWay

_AUTHORITY = (
    "name the hospital's certificate authority in `ca_file`, or install it in the system's trust store; "
    "check the host name in `url` and this machine's clock"
)
#: Of OpenSSL's names for what a server says (alerts): it wants a certificate of the client, or another one.
_OF_THE_CLIENT = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")


class ExchangeFailed(Exception):  # noqa: N818
    """No whole reply. `began`: some byte of the request may have reached the server.

    `again`: the server had closed an idle connection, and the request can be made anew. `remedy` is empty if waiting is all
    there is to do.
    """

    def __init__(
        self, reason: Reason, message: str, *, began: bool, again: bool = False, stopped: bool = False, remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.began = began
        self.again = again
        self.stopped = stopped
        self.remedy = remedy


def failed(error: Exception | None, exchange: Exchange) -> ExchangeFailed:
    """What `error` (None: the exchange was broken off) means for the exchange."""
    began = exchange.began
    if exchange.broken_off is BrokenOff.STOPPED:
        return ExchangeFailed(Reason.UNREACHABLE, "stopped", began=began, stopped=True)
    if exchange.broken_off is BrokenOff.DEADLINE:
        return ExchangeFailed(Reason.UNREACHABLE, "the request took longer than `deadline` allows", began=began)
    if isinstance(error, NoWay):
        return ExchangeFailed(error.reason, error.message, began=False, remedy=error.remedy)
    causes = list(_causes(error))
    fault = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if fault is not None and (of_tls := _of_tls(fault, began)) is not None:
        return of_tls
    timed_out = any(
        isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError)
        and not isinstance(cause, urllib3.exceptions.NewConnectionError)  # a time-out by inheritance only
        for cause in causes
    )
    last = causes[-1] if causes else None
    innermost = (isinstance(last, OSError) and last.strerror) or str(last or "connection lost")
    where = "while the request was under way" if began else "before anything was sent"
    message = f"the server was silent for too long {where}" if timed_out else f"no connection {where}: {innermost}"
    if began and not timed_out:
        message = f"the connection was lost {where}: {innermost}"
    return ExchangeFailed(Reason.UNREACHABLE, message, began=began, again=not exchange.fresh and not timed_out)


def _of_tls(fault: ssl.SSLError, began: bool) -> ExchangeFailed | None:
    if isinstance(fault, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # it hung up
        return None
    name = fault.reason or ""
    said = getattr(fault, "verify_message", "") or name or str(fault)
    if "ALERT" in name and any(word in name for word in _OF_THE_CLIENT):
        # TLS 1.3 tells it only once the request may be on its way.
        message = f"the server does not take this machine's certificate, or wants one: {said}"
        return ExchangeFailed(Reason.CERTIFICATE, message, began=began, remedy=CLIENT_CERTIFICATE)
    if began:
        return None
    if "ALERT" in name:
        message = f"the server breaks the TLS handshake off: {said}"
        remedy = "ask its administrator whether it wants to see a certificate (`client_cert_file`), and which TLS it speaks"
        return ExchangeFailed(Reason.CERTIFICATE, message, began=False, remedy=remedy)
    return ExchangeFailed(Reason.CERTIFICATE, f"no trusted TLS connection: {said}", began=False, remedy=_AUTHORITY)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and what it wraps: requests and urllib3 keep the cause in their arguments or in `reason`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        error = inner or error.__cause__ or error.__context__
