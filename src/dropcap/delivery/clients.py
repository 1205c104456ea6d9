"""Clients of the configured projects, for the daemon and for commands that ask REDCap themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeAlias

from dropcap.config.model import Config, Project
from dropcap.config.proxy import ProxyCredentials
from dropcap.config.secret_file import SecretError
from dropcap.config.token_source import TokenError
from dropcap.delivery.line import ProjectLine
from dropcap.reasons import Reason
from dropcap.redcap.client import Redcap, RedcapError
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.way import NoWay, Proxy, Way
from dropcap.redcap.window import Allowance, RequestWindow
from dropcap.secret import Secret, Token


def token_of(project: Project) -> Callable[[], Token]:
    """Reads the project's token whenever it is needed; one that cannot be had pauses the project, not the daemon."""

    def read() -> Token:
        try:
            return project.token_source.read()
        except TokenError as error:
            raise RedcapError(Meaning(Verdict.PROJECT, Reason.TOKEN, error.message, error.remedy)) from None

    return read


def way_of(project: Project) -> Way:
    """How the project's server is reached."""
    proxy = None
    if project.proxy is not None:
        proxy = Proxy(project.proxy.host, project.proxy.port, credentials_from(project.proxy_credentials))
    return Way(project.ca_file, project.client_cert_file, project.client_key_file, proxy)


def credentials_from(source: ProxyCredentials | None) -> Callable[[], Secret] | None:
    """Reads user and password for a proxy whenever they are needed; what cannot be had pauses the way, not the daemon."""
    if source is None:
        return None

    def read() -> Secret:
        try:
            return source.read()
        except SecretError as error:
            raise NoWay(Reason.PROXY, error.message, error.remedy) from None

    return read


def window_of(config: Config, project: Project) -> RequestWindow:
    """The request window of the project's host, shared with every other dropcap process."""
    place = config.state_dir / "windows" / project.host.replace(":", "_").replace("/", "_")
    return RequestWindow(place, config.limit_of(project.host))


#: Makes the request limit of a project's server.
MakeWindow: TypeAlias = Callable[[Config, Project], Allowance]


def client_to(config: Config, project: Project, window: MakeWindow = window_of) -> Redcap:
    """A client of a project, with the limits that the configuration sets."""
    with contextlib.suppress(TokenError):  # told with the first request
        project.token_source.read()  # from now on the gate knows it, whichever server says it
    return Redcap(
        project.url,
        token_of(project),
        window(config, project),
        connect_timeout=project.connect_timeout,
        timeout=project.timeout,
        deadline=project.deadline,
        way=way_of(project),
        pool=config.uploads_at_once + 4,
    )


def line_to(config: Config, project: Project, window: MakeWindow = window_of) -> ProjectLine:
    """A line to a project, with the limits that the configuration sets."""
    return ProjectLine(project, client_to(config, project, window))
