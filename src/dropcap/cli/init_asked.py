"""What `dropcap init` is told: by options, or by a person, who is asked again after a slip."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from dropcap.cli import screen
from dropcap.cli.configured import DEFAULT, stop
from dropcap.cli.init_written import Existing, obstacle
from dropcap.config.token_source import TokenError, TokenSource
from dropcap.config.values import BadValueError, api_url
from dropcap.config.values import name as name_of
from dropcap.display import shown
from dropcap.preflight.project import LATER, Answer, ask, remedy_now
from dropcap.reasons import Reason
from dropcap.redcap.client import Redcap, RedcapError
from dropcap.redcap.way import Way
from dropcap.redcap.window import RequestWindow
from dropcap.secret import Token

#: What a slip in the address leads to.
_OF_THE_URL = frozenset({Reason.NOT_THE_API, Reason.UNREACHABLE, Reason.CERTIFICATE})


@dataclass(frozen=True, slots=True)
class Given:
    """The options. `existing` is the configuration that the project is added to, if it is."""

    url: str | None
    token_file: Path | None
    folder: Path | None
    project_name: str | None
    output: str | None
    way: Way
    yes: bool
    existing: Existing | None


class Asked:
    """Answers, one method for each question. With `--yes`, a question that no option answers is the end (exit code 2)."""

    def __init__(self, given: Given) -> None:
        self._given = given

    def project(self, prints: bool) -> tuple[str, Token, Path | None, Answer, list[str]]:
        """Address, token, the file that holds it already, what the project says of itself, and the names of its records.

        `prints`: nothing is written, so that a token that is typed could not be kept.
        """
        given, address = self._given, ""
        token: Token | None = None
        kept: Path | None = None
        while True:
            address = address or self._answer("URL of REDCap's API", given.url, "--url", api_url(allow_http=False))
            if given.way.proxy is not None and address.startswith("http://"):
                raise click.UsageError("--proxy: the token would cross the proxy in clear text; use an https:// url")
            if token is None:
                token, kept = self._token(prints)
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
        client = Redcap(url, lambda: token, RequestWindow(Path(os.devnull), 0), way=self._given.way)
        try:
            answer = ask(client)
            key = answer.structure.record_id_field
            rows = client.records(fields=[key])
        finally:
            client.close()
        return answer, list(dict.fromkeys(row[key] for row in rows if row.get(key)))

    def _token(self, prints: bool) -> tuple[Token, Path | None]:
        """The token, and the file that holds it already."""
        given = self._given
        if given.token_file is not None:
            path = given.token_file.absolute()
            try:
                return TokenSource("file", str(path)).read(), path
            except TokenError as error:
                stop(f"{error.message}: {error.remedy}", 2)
        if given.yes:
            raise click.UsageError("--token-file is needed with --yes")
        if prints:
            raise click.UsageError("--token-file is needed with --output -, as nothing is written then")
        while True:
            text = click.prompt("the project's API token (not shown)", hide_input=True, err=True).strip()
            if re.fullmatch(r"[0-9A-Fa-f]{32}", text, re.ASCII):
                return Token(text), None
            screen.line("that is not a project's API token, which has 32 characters 0-9 A-F; copy it from the API page", err=True)

    def name(self, answer: Answer) -> str:
        """What the project is called here."""
        existing = self._given.existing

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


def _short(answer: Answer) -> str:
    """A name from the project's title: its first words."""
    words = re.findall(r"[a-z0-9]+", answer.structure.project.title.lower())
    return "-".join(words[:3])[:40].strip("-") or f"project-{answer.structure.project.project_id}"
