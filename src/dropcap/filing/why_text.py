"""The text beside a failed file: what is wrong and what to do. Plain text that Windows Notepad shows well, in one screen."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence

from dropcap.display import shown
from dropcap.filing.advice import Advice, advice
from dropcap.filing.failure import Failure
from dropcap.filing.why import sealed
from dropcap.language.speaker import Language, Speaker, offset, speaker

_WIDTH = 78
_INDENT = "   "
_MOST_EXAMPLES = 3


def why_text(
    failure: Failure, folder_name: str, contact: str, language: Language = Language.EN, examples: Sequence[str] = ()
) -> bytes:
    """The whole text, UTF-8 with CR LF, sealed in its last line. `examples` are right names."""
    say = speaker(language)
    told = advice(failure, folder_name, contact, say)
    who = shown(contact) or say("the people who look after this folder")
    leaf = failure.name.rpartition("/")[2]
    lines = [
        *_wrapped([told.because]),
        "",
        say("WHAT IS WRONG"),
        *pointed_at(leaf, told.marks),
        *_wrapped(told.wrong),
        "",
        say("WHAT TO DO"),
        *_wrapped(told.first),
        *(["", *(_INDENT + name for name in told.names), ""] if told.names else []),
        *_wrapped([*told.then[:1], told.goes_on, *told.then[1:]]),
        "",
        *_examples(told, examples, say),
        *_wrapped([_unharmed(failure, say)]),
        "",
        say("HELP"),
        *_wrapped([say("{contact}. Tell them the job number: {job}.", contact=who, job=failure.job)]),
        "",
        "--",
        *_details(failure, folder_name, say),
    ]
    return sealed("".join(f"{line}\r\n" for line in lines), failure.job)


def pointed_at(leaf: str, marks: Iterable[tuple[int, int]]) -> list[str]:
    """A name with carets under its wrong parts, on two lines; what nobody sees is written as an escape."""
    name, below = _INDENT, _INDENT
    wrong = {at for start, end in marks for at in range(start, max(end, start + 1))}
    for at, character in enumerate(leaf):
        text = " " if unicodedata.category(character) == "Zs" else shown(character)
        name += text
        below += ("^" if at in wrong else " ") * sum(map(_columns, text))
    if len(leaf) in wrong:
        below += "^"
    return [name.rstrip(), *([below.rstrip()] if wrong else [])]


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _unharmed(failure: Failure, say: Speaker) -> str:
    if failure.attempts:
        return say("The file is unharmed.")
    return say("The file is unharmed. Nothing of it was sent.")


def _examples(told: Advice, examples: Sequence[str], say: Speaker) -> list[str]:
    if not told.of_name or not examples or told.delete:
        return []
    lead = say("Not what you meant? Names here look like this:") if told.names else say("Names here look like this:")
    return [*_wrapped([lead]), *(_INDENT + shown(name) for name in examples[:_MOST_EXAMPLES]), ""]


def _details(failure: Failure, folder_name: str, say: Speaker) -> list[str]:
    when = f"{say.day(failure.when)}, {say.clock(failure.when, seconds=True)} ({offset(failure.when)})"
    text = say(
        "Job {job}, folder {folder}, {reason}, {when}",
        job=failure.job,
        folder=shown(folder_name),
        reason=failure.reason,
        when=when,
    )
    return _wrapped([text, shown(failure.similar)])


def _wrapped(texts: Iterable[str]) -> list[str]:
    """Each on lines of its own, none of them wider than a screen; a long word stays whole."""
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False) or ([""] if text else [])
    ]
