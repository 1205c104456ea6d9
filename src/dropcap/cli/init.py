"""`dropcap init`: read a project, propose a configuration for it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dropcap.cli import screen
from dropcap.cli.configured import DEFAULT, stop
from dropcap.cli.init_written import (
    Account,
    Existing,
    Proposal,
    all_or_nothing,
    config_text,
    keep_token,
    left_to_do,
    make_folder,
    obstacle,
    proposed_rules,
    token_beside,
    write,
)
from dropcap.config.load import STATE_DIR
from dropcap.config.secrets import ProxyCredentials, SecretError, TokenSource, proxy_address
from dropcap.config.values import BadValueError, api_url
from dropcap.config.values import name as name_of
from dropcap.delivery.project_client import credentials_from
from dropcap.display import shown
from dropcap.preflight.project import LATER, Answer, ask
from dropcap.reasons import Reason
from dropcap.redcap.client import Redcap, RedcapError
from dropcap.redcap.connect import ConnectionSettings, Proxy
from dropcap.redcap.reply import remedy_now
from dropcap.redcap.window import RequestWindow
from dropcap.secret import Token

#: What a slip in the address leads to.
_OF_THE_URL = frozenset({Reason.NOT_THE_API, Reason.UNREACHABLE, Reason.CERTIFICATE})


@dataclass(frozen=True)
class Given:
    """The options."""

    url: str | None
    token_file: Path | None
    folder: Path | None
    project_name: str | None
    state_dir: Path | None
    ca_file: Path | None
    client_cert_file: Path | None
    client_key_file: Path | None
    proxy: str | None
    proxy_credentials_file: Path | None
    output: str | None
    add: bool
    config_path: Path | None
    yes: bool

    def without_contradiction(self) -> None:
        """Raises click.UsageError if two of them do not go together."""
        named = click.get_current_context().get_parameter_source("config_path")
        if not self.add and named is ParameterSource.COMMANDLINE:
            raise click.UsageError("-c goes with --add; --output names a new configuration")
        if self.add and (self.output is not None or self.state_dir is not None):
            raise click.UsageError("--add takes neither --output nor --state-dir: the configuration that is there says both")
        if self.client_key_file is not None and self.client_cert_file is None:
            raise click.UsageError("--client-key-file goes with --client-cert-file")
        if self.proxy is None and self.proxy_credentials_file is not None:
            raise click.UsageError("--proxy-credentials-file goes with --proxy")

    @cached_property
    def connection(self) -> ConnectionSettings:
        """How the server is reached. Raises click.UsageError."""
        ca, certificate, key = (
            path.absolute() if path else None for path in (self.ca_file, self.client_cert_file, self.client_key_file)
        )
        if self.proxy is None:
            return ConnectionSettings(ca, certificate, key)
        try:
            address = proxy_address(self.proxy)
        except BadValueError as error:
            raise click.UsageError(f"--proxy: {error.message}; {error.remedy}") from None
        source = ProxyCredentials(str(self.proxy_credentials_file.absolute())) if self.proxy_credentials_file else None
        return ConnectionSettings(ca, certificate, key, Proxy(address.host, address.port, credentials_from(source)))

    def connection_lines(self) -> dict[str, str]:
        """The keys of a project for that."""
        named = {
            "ca_file": self.connection.ca_file,
            "client_cert_file": self.connection.client_cert_file,
            "client_key_file": self.connection.client_key_file,
            "proxy": f"http://{self.connection.proxy}" if self.connection.proxy else None,
            "proxy_credentials_file": self.proxy_credentials_file.absolute() if self.proxy_credentials_file else None,
        }
        return {key: str(value) for key, value in named.items() if value is not None}


class Asked:
    """Answers, one method for each question. With `--yes`, a question that no option answers is the end (exit code 2)."""

    def __init__(self, given: Given, existing: Existing | None) -> None:
        """`existing` is the configuration that the project is added to, if it is."""
        self._given = given
        self._existing = existing

    def project(self) -> tuple[str, Token, Path | None, Answer, list[str]]:
        """Address, token, the file that holds it already, what the project says of itself, and the names of its records."""
        given, address = self._given, ""
        token: Token | None = None
        kept: Path | None = None
        while True:
            address = address or self._answer("URL of REDCap's API", given.url, "--url", api_url(allow_http=False))
            if given.connection.proxy is not None and address.startswith("http://"):
                raise click.UsageError("--proxy: the token would cross the proxy in clear text; use an https:// url")
            if token is None:
                token, kept = self._token()
            try:
                return (address, token, kept, *self._read(address, token))
            except RedcapError as error:
                meaning = error.meaning
                message = f"{meaning.message}; {remedy_now(meaning)}"
                of_token, of_url = meaning.reason == Reason.TOKEN, meaning.reason in _OF_THE_URL
                if given.yes or not ((of_token and given.token_file is None) or (of_url and given.url is None)):
                    stop(message, 3 if meaning.reason in LATER else 1)
                screen.line(message, err=True)
                token, address = (None, address) if of_token else (token, "")

    def _read(self, url: str, token: Token) -> tuple[Answer, list[str]]:
        # A handful of requests before there is a state directory: no window counts them.
        client = Redcap(url, partial(_same, token), RequestWindow(Path(os.devnull), 0), connection=self._given.connection)
        try:
            answer = ask(client)
            key = answer.structure.record_id_field
            rows = client.records(fields=[key])
        finally:
            client.close()
        return answer, list(dict.fromkeys(row[key] for row in rows if row.get(key)))

    def _token(self) -> tuple[Token, Path | None]:
        """The token, and the file that holds it already."""
        given = self._given
        if given.token_file is not None:
            path = given.token_file.absolute()
            try:
                return TokenSource("file", str(path)).read(), path
            except SecretError as error:
                stop(f"{error.message}: {error.remedy}", 2)
        if given.yes:
            raise click.UsageError("--token-file is needed with --yes")
        if given.output == "-":
            raise click.UsageError("--token-file is needed with --output -, as nothing is written then")
        while True:
            text = click.prompt("the project's API token (not shown)", hide_input=True, err=True).strip()
            if re.fullmatch(r"[0-9A-Fa-f]{32}", text, re.ASCII):
                return Token(text), None
            screen.line("that is not a project's API token, which has 32 characters 0-9 A-F; copy it from the API page", err=True)

    def name(self, answer: Answer) -> str:
        """What the project is called here."""
        existing = self._existing

        def free(text: str) -> str:
            name = name_of(text)
            if existing is not None and name in existing.projects:
                raise BadValueError(f"the configuration has a project `{name}` already", "give this one another name")
            return name

        return self._answer("name for the project", self._given.project_name, "--project-name", free, _short(answer))

    def output(self) -> Path | None:
        """The file to write, None to print."""
        given = self._given

        def free(text: str) -> str:
            path = Path(text).absolute()
            if text != "-" and os.path.lexists(path):
                raise BadValueError(f"{shown(str(path))} exists already and is not written over", "name another, or move it away")
            if text != "-" and not path.parent.is_dir():
                raise BadValueError(f"there is no directory {shown(str(path.parent))}", "make it, or name another place")
            if text != "-" and (why := obstacle(path)):
                raise BadValueError(f"{shown(str(path))} cannot be written ({why})", "name another place")
            return text

        text = self._answer("write the configuration to", given.output, "--output", free, DEFAULT)
        return None if text == "-" else Path(text).absolute()

    def folder(self, others: Mapping[str, Path]) -> Path:
        """The drop folder, which is there or can be made. It lies in none of `others`, and none of them in it."""

        def free(text: str) -> str:
            path = Path(os.path.normpath(Path(text).absolute()))
            for what, other in others.items():
                if path.is_relative_to(other) or other.is_relative_to(path):
                    message = f"the drop folder {shown(str(path))} and {what} {shown(str(other))} overlap"
                    raise BadValueError(message, "keep them apart")
            if not path.is_dir() and (why := obstacle(path)):
                raise BadValueError(f"the folder {shown(str(path))} cannot be made ({why})", "make it, or name another")
            return str(path)

        given = self._given.folder
        return Path(self._answer("the drop folder", str(given) if given is not None else None, "--folder", free))

    def _answer(self, what: str, given: str | None, option: str, parse: Callable[[str], str], default: str | None = None) -> str:
        """An answer that `parse` accepts: the option's, the default's, or a person's."""
        yes = self._given.yes
        while True:
            text = given if given is not None else default if yes else click.prompt(what, default=default, err=True)
            if text is None:
                raise click.UsageError(f"{option} is needed with --yes")
            try:
                return parse(str(text))
            except BadValueError as error:
                if given is not None or yes:
                    raise click.UsageError(f"{option}: {error.message}: {error.remedy}") from None
                screen.line(f"{error.message}: {error.remedy}", err=True)


def _same(token: Token) -> Token:
    return token


def _short(answer: Answer) -> str:
    """A name from the project's title: its first words."""
    words = re.findall(r"[a-z0-9]+", answer.structure.project.title.lower())
    return "-".join(words[:3])[:40].strip("-") or f"project-{answer.structure.project.project_id}"


_PATH = click.Path(path_type=Path)
_THERE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("init")
@click.option("--url", metavar="URL", help="The address of REDCap's API; it ends with /api/.")
@click.option("--token-file", metavar="FILE", type=_PATH, help="The file that holds the project's API token.")
@click.option("--folder", metavar="PATH", type=_PATH, help="The drop folder; it is made if need be.")
@click.option("--project-name", metavar="NAME", help="What the project is called here.")
@click.option("--state-dir", metavar="PATH", type=_PATH, help=f"On a local disk. Default: {STATE_DIR}.")
@click.option("--ca-file", metavar="FILE", type=_THERE, help="The hospital's own authority (PEM).")
@click.option("--client-cert-file", metavar="FILE", type=_THERE, help="The certificate (PEM) that the server asks for.")
@click.option("--client-key-file", metavar="FILE", type=_THERE, help="Its key (PEM), if the certificate's file does not hold it.")
@click.option("--proxy", metavar="URL", help="The proxy that leads to REDCap, such as http://proxy.example.org:3128.")
@click.option("--proxy-credentials-file", metavar="FILE", type=_THERE, help="The file that holds user:password for the proxy.")
@click.option("--output", metavar="FILE", help=f"The configuration to write; `-` prints it. Default: {DEFAULT}.")
@click.option("--add", is_flag=True, help="Add the project to a configuration that is there.")
@click.option(
    "-c",
    "--config",
    "config_path",
    metavar="FILE",
    envvar="DROPCAP_CONFIG",
    type=_PATH,
    help=f"The configuration to --add to. Default: {DEFAULT}.",
)
@click.option("--yes", is_flag=True, help="Ask nothing; take the proposed answers.")
def init_command(**options: Any) -> None:
    """Ask a project for its file fields and events, and write a commented configuration for it.

    What the options do not tell is asked for, and asked again after a slip. The token is never shown, and no file is ever
    written over. With --add, the project goes into a file of its own that the configuration includes.

    Exit codes: 0 written; 1 the project has no file field, or refuses the token; 2 usage; 3 REDCap cannot be reached.
    """
    given = Given(**options)
    given.without_contradiction()
    existing = Existing.read(given.config_path or Path(DEFAULT)) if given.add else None
    asked = Asked(given, existing)
    target = asked.output() if given.output is not None else None
    address, token, kept, answer, records = asked.project()
    info = answer.structure.project
    title = f"{info.project_id} ({shown(info.title)})"
    if not proposed_rules(answer.structure):
        stop(f"the project {title} has no file upload field (at an event): add one in REDCap first", 1)
    screen.line(f"read: REDCap {answer.version}, project {title}", err=True)
    if existing is not None:
        existing.lacks(address, info.project_id)
    name = asked.name(answer)
    if existing is not None:
        target, state, overlapping = existing.file_for(name), None, existing.places
    else:
        target = target if given.output is not None else asked.output()
        state = Path(os.path.normpath(given.state_dir.absolute() if given.state_dir else _state_dir(target)))
        overlapping = {"state_dir": state}
    token_path = kept or token_beside(existing.path if existing else target, name)
    place = asked.folder(overlapping)
    folder_name = _folder_name(place)
    proposal = Proposal(
        project_name=name,
        url=address,
        token_file=str(token_path),
        folder_name=existing.free_folder_name(folder_name) if existing else folder_name,
        folder=str(place),
        state_dir=str(state) if state else None,
        connection=given.connection_lines(),
        tables_taken=existing.tables if existing else frozenset(),
    )
    text = config_text(proposal, answer.structure, records, answer.version)
    account = Account.here()
    with all_or_nothing() as undo:
        told = [] if kept else [keep_token(token, token_path, account, undo)]
        if not place.is_dir():
            told.append(make_folder(place, account, undo))
        if target is None:
            click.echo(text, nl=False)
        else:
            told += existing.add(target, text, name, account, undo) if existing else [write(target, text, account, undo)]
    for line in told:
        screen.line(line, err=True)
    if target is not None:
        _tell(left_to_do(account, place, existing.path if existing else target, token_path))
    sys.exit(0)


def _folder_name(place: Path) -> str:
    """What the drop folder is called in the configuration."""
    return re.sub(r"[^\w.-]+", "-", place.name).strip("-.")[:60] or "drop"


def _tell(left: Iterable[str]) -> None:
    """What is left to do."""
    screen.line("left to do:", err=True)
    for line in left:
        screen.line(f"* {line}", 2, hang=4, err=True)


def _state_dir(target: Path | None) -> Path:
    """The usual place, or one beside the configuration for somebody who may not write there."""
    usual = Path(STATE_DIR)
    there = next(place for place in (usual, *usual.parents) if place.exists())
    return usual if target is None or os.access(there, os.W_OK) else target.with_name("dropcap-state")
