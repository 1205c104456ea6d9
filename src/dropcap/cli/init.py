"""`dropcap init`: read a project, propose a configuration for it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from dropcap.cli.configured import DEFAULT, stop
from dropcap.config.load import STATE_DIR
from dropcap.config.proxy import ProxyCredentials, proxy_address
from dropcap.config.token_source import TokenError, TokenSource
from dropcap.config.values import BadValueError, api_url
from dropcap.config.values import name as name_of
from dropcap.delivery.clients import credentials_from
from dropcap.display import shown
from dropcap.preflight.project import LATER, Answer, ask, remedy_now
from dropcap.preflight.proposal import Proposal, config_text, proposed_rules
from dropcap.redcap.client import Redcap, RedcapError
from dropcap.redcap.way import Proxy, Way
from dropcap.redcap.window import RequestWindow
from dropcap.secret import Token

T = TypeVar("T")
_THERE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("init")
@click.option("--url", metavar="URL", help="The address of REDCap's API; it ends with /api/.")
@click.option(
    "--token-file", metavar="FILE", type=click.Path(path_type=Path), help="The file that holds the project's API token."
)
@click.option("--folder", metavar="PATH", type=click.Path(path_type=Path), help="The drop folder; it is made if need be.")
@click.option("--project-name", metavar="NAME", help="What the project is called here.")
@click.option("--state-dir", metavar="PATH", type=click.Path(path_type=Path), help=f"On a local disk. Default: {STATE_DIR}.")
@click.option("--ca-file", metavar="FILE", type=_THERE, help="The hospital's own authority (PEM).")
@click.option("--client-cert-file", metavar="FILE", type=_THERE, help="The certificate (PEM) that the server asks for.")
@click.option("--client-key-file", metavar="FILE", type=_THERE, help="Its key (PEM), if the certificate's file does not hold it.")
@click.option("--proxy", metavar="URL", help="The proxy that leads to REDCap, such as http://proxy.example.org:3128.")
@click.option("--proxy-credentials-file", metavar="FILE", type=_THERE, help="The file that holds user:password for the proxy.")
@click.option("--output", metavar="FILE", help=f"The configuration to write; `-` prints it. Default: {DEFAULT}.")
@click.option("--yes", is_flag=True, help="Ask nothing; take the proposed answers.")
def init_command(
    url: str | None,
    token_file: Path | None,
    folder: Path | None,
    project_name: str | None,
    state_dir: Path | None,
    ca_file: Path | None,
    client_cert_file: Path | None,
    client_key_file: Path | None,
    proxy: str | None,
    proxy_credentials_file: Path | None,
    output: str | None,
    yes: bool,
) -> None:
    """Ask a project for its file fields and events, and write a commented configuration for it.

    What the options do not tell is asked for. The token is never shown, and no file is ever written over.

    Exit codes: 0 written; 1 the project has no file field, or refuses the token; 2 usage; 3 REDCap cannot be reached.
    """
    target = _output(output, yes)
    address = _asked("URL of REDCap's API", url, "--url", api_url(allow_http=False), yes)
    way = _way(address, (ca_file, client_cert_file, client_key_file), proxy, proxy_credentials_file)
    token, kept = _token(token_file, target, yes)
    answer, records = _read(address, token, way)
    if not proposed_rules(answer.structure):
        stop(f"the project {_title(answer)} has no file upload field (at an event): add one in REDCap first", 1)
    click.echo(f"read: REDCap {answer.version}, project {_title(answer)}", err=True)
    name = _asked("name for the project", project_name, "--project-name", name_of, yes, _short(answer))
    place = _folder(folder, yes)
    state = Path(os.path.normpath(state_dir.absolute() if state_dir else _state_dir(target)))
    if place.is_relative_to(state) or state.is_relative_to(place):
        stop(f"the drop folder {shown(str(place))} and state_dir {shown(str(state))} overlap: keep them apart", 2)
    token_path = kept or _keep(token, target, name)
    proposal = Proposal(
        project_name=name,
        url=address,
        token_file=str(token_path),
        folder_name=re.sub(r"[^\w.-]+", "-", place.name).strip("-.")[:60] or "drop",
        folder=str(place),
        state_dir=str(state),
        way=_way_lines(way, proxy_credentials_file),
    )
    _write(target, config_text(proposal, answer.structure, records, answer.version))
    sys.exit(0)


def _asked(what: str, given: str | None, option: str, parse: Callable[[str], str], yes: bool, default: str | None = None) -> str:
    """An answer that `parse` accepts: the option's, the default's, or a person's."""
    while True:
        text = given if given is not None else default if yes else click.prompt(what, default=default, err=True)
        if text is None:
            raise click.UsageError(f"{option} is needed with --yes")
        try:
            return parse(str(text))
        except BadValueError as error:
            if given is not None or yes:
                raise click.UsageError(f"{option}: {error.message}; {error.remedy}") from None
            click.echo(f"{error.message}; {error.remedy}", err=True)


def _output(given: str | None, yes: bool) -> Path | None:
    """The file to write, None to print. That it is free is seen before anything is asked."""
    text = given or (DEFAULT if yes else click.prompt("write the configuration to", default=DEFAULT, err=True))
    if text == "-":
        return None
    path = Path(text).absolute()
    if os.path.lexists(path):
        stop(f"{shown(str(path))} exists already and is not written over: name another --output, or move it away", 2)
    if not path.parent.is_dir():
        stop(f"there is no directory {shown(str(path.parent))}: make it, or name another --output", 2)
    return path


def _token(token_file: Path | None, target: Path | None, yes: bool) -> tuple[Token, Path | None]:
    """The token, and the file that holds it already."""
    if token_file is not None:
        path = token_file.absolute()
        try:
            return TokenSource("file", str(path)).read(), path
        except TokenError as error:
            stop(f"{error.message}: {error.remedy}", 2)
    if yes:
        raise click.UsageError("--token-file is needed with --yes")
    if target is None:
        raise click.UsageError("--token-file is needed with --output -, as nothing is written then")
    while True:
        text = click.prompt("the project's API token (not shown)", hide_input=True, err=True).strip()
        if re.fullmatch(r"[0-9A-Fa-f]{32}", text, re.ASCII):
            return Token(text), None
        click.echo("that is not a project's API token, which has 32 characters 0-9 A-F; copy it from the API page", err=True)


def _way(url: str, files: tuple[Path | None, Path | None, Path | None], proxy: str | None, credentials: Path | None) -> Way:
    """How to reach REDCap, as the options say."""
    ca, certificate, key = (path.absolute() if path else None for path in files)
    if key is not None and certificate is None:
        raise click.UsageError("--client-key-file goes with --client-cert-file")
    if proxy is None:
        if credentials is not None:
            raise click.UsageError("--proxy-credentials-file goes with --proxy")
        return Way(ca, certificate, key)
    if url.startswith("http://"):
        raise click.UsageError("--proxy: the token would cross the proxy in clear text; use an https:// url")
    try:
        address = proxy_address(proxy)
    except BadValueError as error:
        raise click.UsageError(f"--proxy: {error.message}; {error.remedy}") from None
    source = ProxyCredentials(str(credentials.absolute())) if credentials else None
    return Way(ca, certificate, key, Proxy(address.host, address.port, credentials_from(source)))


def _way_lines(way: Way, credentials: Path | None) -> dict[str, str]:
    """The keys of the configuration for that way."""
    named = {
        "ca_file": way.ca_file,
        "client_cert_file": way.client_cert_file,
        "client_key_file": way.client_key_file,
        "proxy": f"http://{way.proxy}" if way.proxy else None,
        "proxy_credentials_file": credentials.absolute() if credentials else None,
    }
    return {key: str(value) for key, value in named.items() if value is not None}


def _read(url: str, token: Token, way: Way) -> tuple[Answer, list[str]]:
    """What the project says of itself, and the names of its records."""
    # A handful of requests before there is a state directory: no window counts them.
    client = Redcap(url, lambda: token, RequestWindow(Path(os.devnull), 0), way=way)
    try:
        answer = ask(client)
        key = answer.structure.record_id_field
        rows = client.records(fields=[key])
    except RedcapError as error:
        meaning = error.meaning
        stop(f"{meaning.message}; {remedy_now(meaning)}", 3 if meaning.reason in LATER else 1)
    finally:
        client.close()
    return answer, list(dict.fromkeys(row[key] for row in rows if row.get(key)))


def _folder(given: Path | None, yes: bool) -> Path:
    if given is None and yes:
        raise click.UsageError("--folder is needed with --yes")
    path = Path(os.path.normpath((given or Path(click.prompt("the drop folder", err=True))).absolute()))
    if not path.is_dir():
        try:
            path.mkdir(mode=0o770)
        except OSError as error:
            stop(f"the folder {shown(str(path))} cannot be made ({error.strerror}): make it, or name another", 2)
        click.echo(f"made the folder {shown(str(path))}", err=True)
    return path


def _state_dir(target: Path | None) -> Path:
    """The usual place, or one beside the configuration for somebody who may not write there."""
    usual = Path(STATE_DIR)
    there = next(place for place in (usual, *usual.parents) if place.exists())
    return usual if target is None or os.access(there, os.W_OK) else target.with_name("dropcap-state")


def _keep(token: Token, target: Path | None, name: str) -> Path:
    assert target is not None
    path = target.with_name(f"{name.replace(' ', '-')}.token")
    _write_new(path, token.reveal() + "\n", 0o600)
    click.echo(f"wrote the token to {shown(str(path))}, for this user alone: give it to dropcap's user", err=True)
    return path


def _write(target: Path | None, text: str) -> None:
    if target is None:
        click.echo(text, nl=False)
        return
    _write_new(target, text, 0o644)
    path = shown(str(target))
    click.echo(f"wrote {path}; look through it, then: dropcap check -c {path}", err=True)


def _write_new(path: Path, text: str, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    except FileExistsError:
        stop(f"{shown(str(path))} exists already and is not written over: move it away, or name another", 2)
    except OSError as error:
        stop(f"{shown(str(path))} cannot be written ({error.strerror}): name another place", 2)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)


def _title(answer: Answer) -> str:
    info = answer.structure.project
    return f"{info.project_id} ({shown(info.title)})"


def _short(answer: Answer) -> str:
    """A name from the project's title: its first words."""
    words = re.findall(r"[a-z0-9]+", answer.structure.project.title.lower())
    return "-".join(words[:3])[:40].strip("-") or f"project-{answer.structure.project.project_id}"
