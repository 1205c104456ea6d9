"""The operator's page: its routes and its server thread."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar, TypeVarTuple

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from dropcap.config.model import SHORTEST_SECRET, Dashboard
from dropcap.config.secrets import SecretError
from dropcap.dashboard import texts
from dropcap.dashboard.gate import LASTS, Gate, Session, Sessions, TooManyTries, cookie_in, cookie_of
from dropcap.dashboard.pages import Daemon, Pages, form_of, html, static, templates
from dropcap.display import shown
from dropcap.ledger.chain import AuditActor
from dropcap.ledger.database import DatabaseError
from dropcap.threads import begin

log = structlog.get_logger()

T = TypeVar("T")
Given = TypeVarTuple("Given")

#: Requests that are worked at, each in a thread; more wait.
_AT_ONCE = 4
#: Acts that are under way: each may wait for a share that hangs.
_MOST_ACTS = 8
#: Seconds that somebody waits for one.
_ACT_LASTS = 20.0


def application(page: Dashboard, daemon: Daemon, sessions: Sessions) -> ASGIApp:
    """The whole page as an ASGI application."""
    app = _App(page, daemon, sessions)
    return Gate(app.starlette(), page, sessions)


class _App:
    def __init__(self, page: Dashboard, daemon: Daemon, sessions: Sessions) -> None:
        self._page = page
        self._daemon = daemon
        self._sessions = sessions
        self._pages = Pages(daemon)
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._acts = 0

    def starlette(self) -> Starlette:
        """Its routes. What shows names is for those who are signed in."""
        inside: list[tuple[str, Callable[[Request, Session], Awaitable[Response]], str]] = [
            ("/", self._now, "GET"),
            ("/now", self._now_part, "GET"),
            ("/files", self._files, "GET"),
            ("/files/{job:int}", self._file, "GET"),
            ("/rules", self._rules, "GET"),
            ("/rules", self._rules_tested, "POST"),
            ("/retry", self._retry, "POST"),
            ("/pause", self._pause, "POST"),
            ("/resume", self._resume, "POST"),
            ("/sign-out", self._sign_out, "POST"),
        ]
        routes = [Route(path, self._for_those_inside(handler), methods=[method]) for path, handler, method in inside]
        routes += [
            Route("/sign-in", self._sign_in_page, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/link", self._link, methods=["GET"]),
            Route("/static/{name}", self._static, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/healthz", self._healthz, methods=["GET"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: self._http_error, Exception: self._error})

    # Who ----------------------------------------------------------------------------------------------------------

    def _for_those_inside(
        self, handler: Callable[[Request, Session], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            session = self._sessions.of(cookie_in(request, self._page))
            if session is None:
                if request.url.path == "/now" or request.method == "POST":
                    return PlainTextResponse("sign in first\n", 401)
                return RedirectResponse("/sign-in", 303)
            return await handler(request, session)

        return checked

    def _inside(self, request: Request, cookie: str) -> Response:
        response = RedirectResponse("/", 303)
        name, safe = cookie_of(request, self._page)
        response.set_cookie(name, cookie, max_age=int(LASTS), path="/", secure=safe, httponly=True, samesite="lax")
        return response

    async def _sign_in_page(self, request: Request) -> Response:
        return html("sign_in.html", wrong="", who="")

    async def _sign_in(self, request: Request) -> Response:
        form = await form_of(request)
        try:
            cookie = self._sessions.sign_in(self._page.secret.read(), form.get("secret", ""), form.get("who", ""))
        except TooManyTries:
            log.warning("dashboard_refused", message="too many wrong secrets", remedy="find out who guesses; links go on working")
            wrong = "Too many wrong secrets came. Wait a minute, or use a link: dropcap dashboard --link"
            return html("sign_in.html", 429, wrong=wrong, who=form.get("who", ""))
        except SecretError as error:
            return html("sign_in.html", 503, wrong=f"{error.message}. {error.remedy}.", who=form.get("who", ""))
        if cookie is None:
            log.warning("dashboard_refused", message="a wrong secret", remedy="find out who guesses, if it was nobody of yours")
            return html("sign_in.html", 403, wrong="This is not the secret.", who=form.get("who", ""))
        return self._inside(request, cookie)

    async def _link(self, request: Request) -> Response:
        cookie = self._sessions.trade(request.query_params.get("code", ""))
        if cookie is None:
            wrong = "This link is used up or too old. Make another: dropcap dashboard --link"
            return html("sign_in.html", 403, wrong=wrong, who="")
        return self._inside(request, cookie)

    async def _sign_out(self, request: Request, session: Session) -> Response:
        name, _ = cookie_of(request, self._page)
        self._sessions.sign_out(request.cookies.get(name))
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(name, path="/")
        return response

    # What is shown ------------------------------------------------------------------------------------------------

    async def _now(self, request: Request, session: Session) -> Response:
        told, session.told = session.told, []
        return html("now.html", told=told, **await self._working(self._pages.now))

    async def _now_part(self, request: Request, session: Session) -> Response:
        """The changing part, with a tag that changes with it."""
        values = await self._working(self._pages.now)
        body = templates().get_template("now_part.html").render(values)
        tag = f'"{hashlib.sha256(body.encode("utf-8", "replace")).hexdigest()[:32]}"'
        headers = {
            "ETag": tag,
            "Cache-Control": "private, no-cache",
            "As-Of": values["as_of"],
            "Title": values["title"].encode("ascii", "replace").decode(),
        }
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(body, headers=headers)

    async def _files(self, request: Request, session: Session) -> Response:
        return html("files.html", **await self._working(self._pages.files, dict(request.query_params)))

    async def _file(self, request: Request, session: Session) -> Response:
        told, session.told = session.told, []
        values = await self._working(self._pages.file, request.path_params["job"])
        if values is None:
            raise HTTPException(404)
        return html("file.html", told=told, **values)

    async def _rules(self, request: Request, session: Session) -> Response:
        return html("rules.html", **self._pages.rules({}))

    async def _rules_tested(self, request: Request, session: Session) -> Response:
        form = await form_of(request)
        values = await self._working(self._pages.rules, form)
        return html("rules_part.html" if form.get("part") else "rules.html", **values)

    async def _static(self, request: Request) -> Response:
        found = static().get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return Response(found[0], media_type=found[1], headers={"Cache-Control": "public, max-age=31536000, immutable"})

    async def _metrics(self, request: Request) -> Response:
        body = await self._working(self._daemon.metrics)
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _healthz(self, request: Request) -> Response:
        """By our own loops alone: a REDCap that is away makes nobody start dropcap anew."""
        well = self._daemon.alive()
        return PlainTextResponse("ok\n" if well else "a part hangs\n", 200 if well else 503)

    # What is done -------------------------------------------------------------------------------------------------

    async def _retry(self, request: Request, session: Session) -> Response:
        form = await form_of(request)
        chosen = await self._working(self._pages.chosen, form)
        if chosen is None:
            raise HTTPException(400)
        if chosen.ask_first and form.get("sure") != "yes":
            return html("sure.html", chosen=chosen)
        asked = {"do": "retry", "jobs": chosen.jobs, "failed": False, "held": False, "folder": None}
        answer = await self._answer(asked, session)
        if answer is not None:
            tried, cannot = len(answer.get("tried", ())), list(answer.get("cannot", ()))
            session.told.append(f"{texts.count(tried, 'file is', 'files are')} tried again.")
            session.told += [shown(why) for why in cannot[:5]]
            if len(cannot) > 5:
                session.told.append(f"And {len(cannot) - 5} more could not be tried again.")
        return RedirectResponse(chosen.back, 303)

    async def _pause(self, request: Request, session: Session) -> Response:
        return await self._pause_or_resume(request, session, "pause", "is paused")

    async def _resume(self, request: Request, session: Session) -> Response:
        return await self._pause_or_resume(request, session, "resume", "goes on")

    async def _pause_or_resume(self, request: Request, session: Session, do: str, said: str) -> Response:
        form = await form_of(request)
        scope, name = form.get("scope", ""), form.get("name", "")
        if not self._pages.can_be_paused(scope, name):
            raise HTTPException(400)
        answer = await self._answer({"do": do, "scope": scope, "name": name}, session)
        if answer is not None:
            was = bool(answer.get("done"))
            session.told.append(f"The {scope} {name} {said}." if was else f"The {scope} {name} was not paused.")
        return RedirectResponse("/", 303)

    async def _answer(self, asked: dict[str, Any], session: Session) -> dict[str, Any] | None:
        """Have it done, by who is signed in; None, told on the next page, if that takes too long."""
        if self._acts >= _MOST_ACTS:
            session.told.append("Nothing was done: too much is under way that does not end. Look whether a share hangs.")
            return None

        self._acts += 1
        act = asyncio.ensure_future(self._apart(self._daemon.answer, asked, session.actor))
        act.add_done_callback(self._acted)
        try:
            answer = await asyncio.wait_for(asyncio.shield(act), _ACT_LASTS)
        except TimeoutError:
            session.told.append("It takes longer, and goes on.")
            return None
        with contextlib.suppress(DatabaseError):
            await self._working(self._daemon.snapshot, 0.0)
        return answer

    def _acted(self, act: asyncio.Future[dict[str, Any]]) -> None:
        self._acts -= 1
        if not act.cancelled():
            act.exception()  # seen, should nobody wait for it any more

    # How ----------------------------------------------------------------------------------------------------------

    async def _working(self, what: Callable[[*Given], T], *given: *Given) -> T:
        async with self._room:
            return await self._apart(what, *given)

    async def _apart(self, what: Callable[[*Given], T], *given: *Given) -> T:
        """Do it in a thread of its own: the loop waits for no disk."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            done: Future[T] = Future()
            try:
                done.set_result(what(*given))
            except BaseException as error:
                done.set_exception(error)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, future, done)

        begin(run, "dashboard request")
        return await future

    async def _http_error(self, request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else 500
        words = {404: "There is no such page or file.", 400: "There is nothing like that.", 405: "That is not possible here."}
        return html("error.html", code, text=words.get(code, "That did not work."))

    async def _error(self, request: Request, error: Exception) -> Response:
        if isinstance(error, DatabaseError):
            return html("error.html", 503, text="dropcap is busy or its ledger cannot be read: try again in a moment.")
        log.error("internal_error", where="dashboard", error=f"{type(error).__name__}: {error}", exc_info=error)
        return html("error.html", 500, text="An error inside dropcap. Its log tells more.")


def _settle(future: asyncio.Future[T], done: Future[T]) -> None:
    if future.done():  # nobody waits for it any more
        return
    if (error := done.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())


#: Connections at once; more are closed at once, so that the descriptors of those who work are left alone.
MOST = 100
#: Seconds until a connection has asked something, and that it may last in all: a browser opens another.
_FIRST_WORD, _LASTS = 20.0, 120.0


class _Listening(socket.socket):
    """Lets in no more than `MOST` at once, those too who have not said a word of TLS yet."""

    def __init__(self, family: int) -> None:
        super().__init__(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._inside: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises ConnectionAbortedError, which the event loop takes for a visitor who has gone."""
        connection, address = super().accept()
        if sum(one.fileno() >= 0 for one in self._inside) >= MOST:
            connection.close()
            raise ConnectionAbortedError
        self._inside.add(connection)
        return connection, address


class _Bounded(H11Protocol):
    """A connection that does not stay for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._ends = (self.loop.call_later(_FIRST_WORD, self._silent), self.loop.call_later(_LASTS, transport.abort))

    def _silent(self) -> None:
        if self.cycle is None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        for end in self._ends:
            end.cancel()
        super().connection_lost(exc)


class DashboardServer:
    """One page at one address. A crash in it is told, and it is begun anew by the next `start`."""

    def __init__(self, page: Dashboard, daemon: Daemon) -> None:
        self.page = page
        self.sessions = Sessions()
        self._app = application(page, daemon, self.sessions)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._told = ""
        quiet = logging.getLogger("uvicorn")
        quiet.handlers, quiet.propagate = [logging.NullHandler()], False

    def start(self) -> None:
        """Listen, if that is not done yet; what keeps it from that is told once, and the next call tries again."""
        if self._thread is not None and self._thread.is_alive():
            return
        try:
            if len(self.page.secret.read().reveal()) < SHORTEST_SECRET:
                raise SecretError(
                    f"{self.page.secret} has fewer than {SHORTEST_SECRET} characters",
                    "write a longer one: openssl rand -base64 24",
                )
            self._server = uvicorn.Server(self._settings())
            listening = self._listening()
            self._thread = begin(self._run, "dashboard", self._server, listening)
        except SecretError as error:
            self._trouble(error.message, error.remedy)
        except OSError as error:
            where = f"{self.page.host}:{self.page.port}"
            self._trouble(
                f"the operator's page cannot be served at {where} ({error.strerror or error})",
                "choose another port in dashboard.listen, end what listens there, or mend the certificate",
            )
        else:
            self._told = ""
            log.info("dashboard", message=f"the operator's page is at {self.page.address}")

    def _settings(self) -> uvicorn.Config:
        """Raises OSError for a certificate that cannot be used."""
        certificate: dict[str, Any] = {}
        if self.page.cert_file is not None:
            certificate = {"ssl_certfile": self.page.cert_file, "ssl_keyfile": self.page.key_file or self.page.cert_file}
        settings = uvicorn.Config(
            self._app,
            http=_Bounded,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=1,
            **certificate,
        )
        settings.load()
        return settings

    def _listening(self) -> socket.socket:
        """Raises OSError."""
        found = _Listening(socket.AF_INET6 if ":" in self.page.host else socket.AF_INET)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((self.page.host, self.page.port))
            found.listen(64)
        except OSError:
            found.close()
            raise
        return found

    def _run(self, server: uvicorn.Server, listening: socket.socket) -> None:
        try:
            with listening:
                server.run([listening])
        except Exception as error:
            log.error("internal_error", where="dashboard", error=f"{type(error).__name__}: {error}", exc_info=True)

    def _trouble(self, message: str, remedy: str) -> None:
        if message != self._told:
            log.error("check_problem", message=message, remedy=remedy)
        self._told = message

    def link(self, actor: AuditActor) -> str:
        """The address of the page with a code that signs `actor` in once."""
        return f"{self.page.address}/link?code={self.sessions.link(actor)}"

    def stop(self) -> None:
        """End it, waiting for nobody."""
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
