"""The token stays where it is: every byte that dropcap writes, prints or answers is searched for it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.config.load import load
from dropcap.delivery.project_client import client_for
from dropcap.secret import Token
from redcap_sandbox import Fault
from tests.site import TOKEN, Site, eventually

#: As a server might echo it, or a careless program write it.
FORMS = [TOKEN.encode(), TOKEN.lower().encode(), TOKEN.encode().hex().encode(), TOKEN[:16].encode(), TOKEN[16:].encode()]


def written(place: Site) -> Iterator[tuple[str, bytes]]:
    """Every file beneath the site, but for the token's own, and what the kernel shows of them."""
    for path in place.root.rglob("*"):
        if path.is_file() and path != place.token_file:
            yield str(path), path.read_bytes()
        yield "a name", str(path).encode()


def search(found: Iterator[tuple[str, bytes]]) -> None:
    count = 0
    for what, content in found:
        count += 1
        for form in FORMS:
            assert form not in content, f"the token is in {what}"
    assert count


def test_no_byte_of_it_is_written_anywhere(place: Site) -> None:
    place.config["log"] = {"format": "json", "level": "debug"}
    place.project["requests_per_minute"] = 6000
    place.write_config()
    said: list[tuple[str, bytes]] = []

    daemon = place.start()
    for part in ("cmdline", "environ", "comm", "status"):
        said.append((f"/proc/PID/{part}", Path(f"/proc/{daemon.process.pid}/{part}").read_bytes()))
    place.put("101_V1_consent.pdf", b"stored")
    place.put("holiday.jpg", b"nowhere")
    daemon.wait_for("done")
    # Errors that echo the token: for one file, for a look-up, for what may have been stored.
    place.box.ill(Fault("token_echo", times=1, match={"content": "file", "action": "import"}))
    place.put("102_V1_consent.pdf", b"refused")
    daemon.wait_for("failed", 2)
    assert "[token]" in (place.jobs()[-1].message or ""), "the echo came as far as the message"
    for number, code in enumerate((400, 403, 500)):
        # Twice: a look-up that is refused is tried once more at once, with what is known of the project fetched anew.
        place.box.ill(Fault("token_echo", times=2, match={"content": "record"}, code=code))
        told = len(daemon.events("paused") + daemon.events("retrying"))
        place.put(f"{103 + number}_V1_consent.pdf", b"waits")
        eventually(lambda: len(daemon.events("paused") + daemon.events("retrying")) > told)  # noqa: B023
        for scope in (["--project", "trial"], ["--server", "trial"]):
            place.dropcap("resume", *scope)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place.state / "control.sock"))
        client.sendall(json.dumps({"do": "status"}).encode() + b"\n")
        said.append(("the control socket", client.recv(1 << 20)))
    for words in (["status"], ["status", "--json"], ["history"], ["history", "--json"], ["retry", "--failed"]):
        told = place.dropcap(*words)
        said.append((" ".join(words), (told.stdout + told.stderr).encode()))
    # A token that the server does not know.
    place.box.revoke(TOKEN)
    place.put("107_V1_consent.pdf", b"waits")
    daemon.wait_for("paused", reason="token")
    daemon.stop()
    said.append(("the log", "".join(daemon.raw).encode()))

    output = place.root / "proposed.yaml"
    for again in (False, True):
        if again:
            place.box.grant(TOKEN, place.box.tokens.get(TOKEN) or _rights())
            place.box.ill(Fault("token_echo", times=2))
        for words in (
            ["check"],
            ["init", "--url", place.box.url, "--token-file", str(place.token_file), "--folder", str(place.root / "new"),
             "--output", str(output), "--yes"],
            ["dry-run"],
            ["verify"],
        ):  # fmt: skip
            told = place.dropcap(*words)
            assert "Traceback" not in told.stderr, told.stderr
            said.append((" ".join(words), (told.stdout + told.stderr).encode()))
    search(iter(said))
    search(written(place))


def _rights():  # type: ignore[no-untyped-def]
    from redcap_sandbox import Rights

    return Rights()


@pytest.mark.parametrize("content", [TOKEN * 2, "token=" + TOKEN])
def test_a_token_file_that_is_wrong_is_not_quoted(place: Site, content: str) -> None:
    place.token_file.write_text(content)
    place.put("101_V1_consent.pdf")
    for words in (["check"], ["run", "--once", "--wait", "0s"]):
        told = place.dropcap(*words)
        assert told.returncode != 0
        for form in (TOKEN[:16], TOKEN[-17:-1]):
            assert form not in told.stdout + told.stderr


def test_a_token_in_the_configuration_itself_is_not_quoted(place: Site) -> None:
    """Somebody writes the token where its file's name belongs: the refusal must not repeat it."""
    for key in ("token", "token_file"):
        place.config["projects"]["trial"] = {"url": place.box.url, key: TOKEN}
        place.write_config()
        for words in (["check"], ["run", "--once", "--wait", "0s"]):
            told = place.dropcap(*words)
            assert told.returncode != 0
            assert TOKEN not in told.stdout + told.stderr, f"{key}: {words}"


def test_no_object_shows_it(place: Site) -> None:
    config = load(place.config_file)
    client = client_for(config, config.projects["trial"])
    token = config.projects["trial"].token_source.read()
    assert token.reveal() == TOKEN
    shown = [
        repr(config),
        str(config),
        repr(client),
        repr(client.redcap),
        repr(vars(client.redcap)),
        repr(token),
        f"{token}",
        str(token),
    ]
    shown += [f"{token!r:>80}", repr(config.projects["trial"]), repr([token]), repr(Token(TOKEN))]
    for text in shown:
        assert TOKEN not in text
