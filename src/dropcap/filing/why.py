"""The why.txt beside a failed file: what happened, what is wrong with its name, and what to do."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import textwrap
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count, islice

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.files import names
from dropcap.files.tree import Tree, sha256_of
from dropcap.language import Language, Speaker, marked, offset, speaker
from dropcap.ledger.job import Job, Refused
from dropcap.ledger.query import Query
from dropcap.naming.doctor import diagnose
from dropcap.naming.finding import Diagnosis, Kind, Slip, kind_of
from dropcap.reasons import Reason, explained
from dropcap.routing.route import Route, route, settings_for
from dropcap.routing.rule import NEXT, ExistingFile, Target

#: Sentences that need no more than what is found and what is wanted.
_PLAIN: dict[Kind, str] = {
    Kind.COPY: marked("A computer put “{found}” there: it made a second copy."),
    Kind.ENDING_TWICE: marked("The ending “{found}” is there twice."),
    Kind.SPACE_AT_START: marked("There is a space at the beginning of the name."),
    Kind.SPACE_AT_END: marked("There is a space at the end of the name."),
    Kind.SPACE_BEFORE_ENDING: marked("There is a space before the ending."),
    Kind.ODD_SPACE: marked(
        "There is a special space here. It looks like any other space. It often comes along when a name is copied from Word "
        "or from an e-mail."
    ),
    Kind.HIDDEN: marked(
        "There is a character here that nobody can see. It often comes along when a name is copied from Word or from an e-mail."
    ),
    Kind.NOT_TEXT: marked("Characters of this name are damaged. They cannot be read."),
    Kind.CASE: marked("Capital and small letters count here. It has to be “{wanted}”."),
    Kind.LETTER_FOR_DIGIT: marked("This is the letter {found}. A digit belongs here."),
    Kind.DIGIT_FOR_LETTER: marked("This is the digit {found}. A letter belongs here."),
    Kind.LOOK_ALIKE: marked("This looks like “{wanted}”, but it is a character of another alphabet."),
    Kind.SEPARATOR: marked("Here is “{found}”. It has to be “{wanted}”."),
    Kind.TYPO: marked("A typing error: this should be “{wanted}”."),
    Kind.MISSING: marked("“{wanted}” is missing here."),
    Kind.EXTRA: marked("“{found}” does not belong here."),
    Kind.ORDER: marked("Two parts of the name have changed places."),
    Kind.DATE_ORDER: marked("This date is in another order. It has to be year-month-day."),
    Kind.DATE_FORM: marked("This date is written in another way. It has to be {wanted}."),
    Kind.TWO_DAYS: marked("This date can mean two days: {words}. It has to be year-month-day."),
    Kind.NO_SUCH_DAY: marked("There is no such day."),
    Kind.NO_DATE: marked("A date belongs here, as year-month-day. 24 December 2026 is 2026-12-24."),
    Kind.NO_ENDING: marked("The ending “.{wanted}” is missing."),
    Kind.NOT_LIKE: marked("This name does not say where the file belongs."),
}
_OF_WHAT = {
    "digits": marked("A number belongs here."),
    "letters": marked("Only the letters a to z belong here."),
    "alnum": marked("Only letters and digits belong here."),
    "word": marked("Only letters, digits, “_”, “-” and “.” belong here."),
}
_KINDS = {
    "Word": marked("This is a Word file."),
    "Excel": marked("This is an Excel file."),
    "PowerPoint": marked("This is a PowerPoint file."),
    "image": marked("This is an image."),
    "archive": marked("This is an archive (a packed file)."),
    "text": marked("This is a text file."),
    "sound": marked("This is a sound recording."),
    "film": marked("This is a film."),
    "mail": marked("This is an e-mail."),
    "PDF": marked("This is a PDF file."),
}
_MOST_WORDS = 8


def said_of(finding: Slip, say: Speaker) -> str:
    """One or two sentences."""
    match finding.kind:
        case Kind.SPACE:
            if finding.wanted:
                return say("There is a space here. It has to be “{wanted}”.", wanted=finding.wanted)
            return say("There is a space that does not belong here.")
        case Kind.ZEROS | Kind.TOO_MANY | Kind.TOO_FEW:
            return _of_count(finding, say)
        case Kind.CHARACTERS:
            return say(_OF_WHAT.get(finding.of, _PLAIN[Kind.NOT_LIKE]))
        case Kind.NO_SUCH_WORD | Kind.TWO_WORDS:
            found = say("There is no “{found}” here.", found=shown(finding.found))
            if not 0 < len(finding.words) <= _MOST_WORDS:
                return found
            return found + " " + say("There are: {words}.", words=", ".join(map(shown, finding.words)))
        case Kind.OTHER_KIND:
            return say(_KINDS.get(kind_of(finding.found), marked("This is another kind of file.")))
    return say(
        _PLAIN[finding.kind],
        found=shown(finding.found.strip() or finding.found),
        wanted=shown(finding.wanted),
        words=say.listed([shown(word) for word in finding.words]),
    )


def _of_count(finding: Slip, say: Speaker) -> str:
    low, high = finding.low, finding.high
    if high is not None and low != high:
        if finding.of == "digits":
            return say("The number must have {low} to {high} digits.", low=low, high=high)
        return say("This part must have {low} to {high} characters.", low=low, high=high)
    if finding.of == "digits":
        return say.many("The number must have {count} digit.", "The number must have {count} digits.", low)
    return say.many("This part must have {count} character.", "This part must have {count} characters.", low)


def acts(finding: Slip, names: bool, say: Speaker, values: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to do where no single name can be suggested: before the names that it may be, if there are any, and after them."""
    if names:
        return (say("See on the paper which of these is right. Rename the file, here in this folder, to that one:"),), ()
    if finding.kind is Kind.OTHER_KIND and finding.wanted:
        kind = finding.wanted.upper()
        return (), (
            say("Open it, save it as {kind}, and drop the new file into the folder “{folder}”.", kind=kind, **values),
            say("Then delete this file."),
            say("Changing the ending is not enough: the file would stay what it is."),
        )
    if finding.kind is Kind.NO_ENDING:
        text = marked("Open the file. If it is {kind}, add “.{ending}” to its name in the folder “failed”.")
        return (), (say(text, kind=finding.wanted.upper(), ending=finding.wanted),)
    if finding.kind in (Kind.NO_SUCH_WORD, Kind.TWO_WORDS):
        return (), (
            say("See on the paper which it is. Then rename the file in the folder “failed”."),
            say("If the paper says “{found}”, ask: {contact}. Their list lacks it.", found=shown(finding.found), **values),
        )
    return (), (say("Open the file and look. Then rename it in the folder “failed”."),)


# The last line. A person who changes the text, or keeps a note under that name, makes the file their own.
_SEAL = re.compile(rb"dropcap why 1 job=([0-9]+) sha256=([0-9a-f]{64})\r\n")
_ENDING = re.compile(r"\.why(?: \(([1-9][0-9]{0,8})\))?\.txt$")


def sealed(text: str, job: int) -> bytes:
    """`text` about `job`, UTF-8 with a last line by which it is known as ours."""
    body = text.encode()
    return body + f"dropcap why 1 job={job} sha256={hashlib.sha256(body).hexdigest()}\r\n".encode()


def job_of(content: bytes) -> int | None:
    """The job that a why.txt tells of, or None if dropcap did not write it or a person has changed it since."""
    start = content.rfind(b"\n", 0, -1) + 1
    seal = _SEAL.fullmatch(content[start:])
    if seal is None or hashlib.sha256(content[:start]).hexdigest().encode() != seal[2]:
        return None
    return int(seal[1])


def is_ours(content: bytes) -> bool:
    """Whether dropcap wrote this, and nobody has changed it since."""
    return job_of(content) is not None


def why_names(name: str) -> Iterator[str]:
    """The names to try for the text beside `name`: `NAME.why.txt`, `NAME.why (2).txt` and so on.

    No two files share one: a name too long for the ending is cut and told apart by a hash.
    """
    directory, leaf = names.split(name)
    return (names.join(directory, _why_leaf(leaf, number)) for number in count(1))


def file_beside(text: str, leaves: Iterable[str]) -> str | None:
    """The one of `leaves` that the text of the name `text` is about, all of them in one directory."""
    match = _ENDING.search(text)
    return None if match is None else next((leaf for leaf in leaves if _why_leaf(leaf, int(match[1] or 1)) == text), None)


def is_text(leaf: str) -> bool:
    """Whether it is the name of a text about a file, by dropcap or not."""
    return _ENDING.search(leaf) is not None


def lone_texts(leaves: Set[str]) -> set[str]:
    """Those of the names in one directory that a text about a file would have, and that file is not among them."""
    long = [leaf for leaf in leaves if len(os.fsencode(leaf)) + len(".why.txt") > names.LONGEST]
    ends = {leaf: match.start() for leaf in leaves if (match := _ENDING.search(leaf)) is not None}
    return {leaf for leaf, end in ends.items() if leaf[:end] not in leaves and file_beside(leaf, long) is None}


def _why_leaf(leaf: str, number: int) -> str:
    ending = ".why.txt" if number == 1 else f".why ({number}).txt"
    if len(os.fsencode(leaf)) + len(ending) > names.LONGEST:
        ending = f"~{hashlib.sha256(os.fsencode(leaf)).hexdigest()[:12]}{ending}"
    return names.fitted(leaf, ending)


FAILED = "failed"
#: A text is far shorter (bytes).
_LONGEST_TEXT = 1024 * 1024
#: Names that a filed file whose own is too long for its text to show it is looked for under.
_NAMESAKES = 100


def forget_why(tree: Tree, failed_name: str, job: int) -> bool:
    """Remove the text about `job` beside its failed file `failed_name` (relative to the drop folder, as `failed/x.pdf`).

    Only a text that dropcap wrote and nobody changed is removed. Returns whether there was one. Raises OSError if it
    cannot be removed.
    """

    def about_it(content: bytes) -> bool:
        return is_ours(content) and job_of(content) == job

    for name in why_names(failed_name):
        if tree.remove_if(name, about_it):
            return True
        if not tree.exists(name):
            return False
    return False


def forget_lone_why(tree: Tree, text: str, about_others: Collection[int]) -> bool:
    """Remove the text `text` (relative to the drop folder), if no file lies beside it and it is about none of these jobs.

    Only a text that dropcap wrote and nobody changed is removed. Returns whether it was. Raises OSError.
    """
    directory, leaf = names.split(text)
    if leaf not in lone_texts({entry.leaf for entry in tree.scan(directory, recursive=False)}):
        return False
    return tree.remove_if(text, lambda content: is_ours(content) and job_of(content) not in about_others)


def arrived_as(tree: Tree, name: str, job: int) -> str | None:
    """The name under which the file `name` of `job` arrived in failed/, though it lies there no more: the text about it tells.

    None without such a text. Raises OSError.
    """
    directory, leaf = names.split(names.join(FAILED, name))
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in tree.scan(directory, recursive=False):
            if entry.kind == "file" and ".why" in entry.leaf and _job_told_of(tree, entry.name) == job:
                stem = entry.leaf.rpartition(".why")[0]
                known = [stem] if names.is_candidate(stem, leaf) else islice(names.candidates(leaf), _NAMESAKES)
                filed = file_beside(entry.leaf, known)
                if filed is not None:
                    return names.join(directory, filed)
    return None


def free_name(tree: Tree, name: str) -> str:
    """The first of the names that `name` can get under which there is nothing. Raises OSError."""
    directory, leaf = names.split(name)
    return next(free for one in names.candidates(leaf) if not tree.exists(free := names.join(directory, one)))


def _job_told_of(tree: Tree, text: str) -> int | None:
    try:
        with os.fdopen(tree.open(text), "rb") as file:
            return job_of(file.read(_LONGEST_TEXT))
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class StoredTwin:
    """A file of the suggested name that was stored `at` already. `same`: it has the same bytes."""

    at: datetime
    same: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed, for people.

    It has only what the file's name tells, and no words of REDCap's: those who drop may not learn from it which record has a
    hospital number. `name` is the file's name as it was dropped, relative to the drop folder; `when` is when it failed, with a
    time zone. `record` is the record as the name tells it, empty if it does not. `diagnosis` says what is wrong with the name, if
    that is what is wrong; `replaces`: what goes by the suggested name takes the place of what REDCap holds. `similar` names
    records that are written almost like this one, where `suggest_records` has them told.
    """

    name: str
    job: int
    reason: str
    when: datetime
    record: str = ""
    field: str = ""
    size: int = 0
    attempts: int = 0
    diagnosis: Diagnosis | None = None
    twin: StoredTwin | None = None
    replaces: bool = True
    similar: str = ""


GOES_ON = marked("dropcap then takes it by itself, and this text goes away.")
#: Wrong parts of one name that are told: nobody reads more.
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Advice:
    """`because` is the state with its cause in one sentence, `wrong` says more of the cause.

    What to do: `first`, then rename to one of `names`, `then`; `goes_on` says what comes of it. `marks` are the wrong parts of
    the name's last part, as start and end. `of_name`: it is the name that is wrong, so that examples help. `delete`: the file
    is not needed.
    """

    because: str
    wrong: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    goes_on: str = ""
    marks: tuple[tuple[int, int], ...] = ()
    of_name: bool = False
    delete: bool = False


def advice(failure: Failure, folder_name: str, contact: str, say: Speaker) -> Advice:
    """What people are told of `failure` of a file in the folder `folder_name`."""
    who = shown(contact) or say("the people who look after this folder")
    values = {
        "contact": who,
        "folder": shown(folder_name),
        "record": shown(failure.record),
        "size": say.size(failure.size),
    }
    if failure.diagnosis is None:
        of = explained(failure.reason)
        if "{record}" in of.wrong[0] and not failure.record:  # it is found by its values
            unknown = (say("REDCap has no record that fits this name."),)
            return Advice(say("This file is not in REDCap."), unknown, then=_said(explained(Reason.NO_RECORD).do, say, values))
        return Advice(say("This file is not in REDCap."), _said(of.wrong, say, values), then=_said(of.do, say, values))
    return _of_the_name(failure, say, values)


def _said(texts: tuple[str, ...], say: Speaker, values: dict[str, str]) -> tuple[str, ...]:
    return tuple(say(text, **values) for text in texts)


def _of_the_name(failure: Failure, say: Speaker, values: dict[str, str]) -> Advice:
    diagnosis = failure.diagnosis
    assert diagnosis is not None
    because = say("This file is not in REDCap, because its name does not fit.")
    marks = tuple((one.start, one.end) for one in diagnosis.findings)
    if not diagnosis.findings:
        of = explained(Reason.BAD_VALUE)
        return Advice(because, _said(of.wrong, say, values), then=_said(of.do, say, values), goes_on=say(GOES_ON), of_name=True)
    wrong = tuple(dict.fromkeys(said_of(one, say) for one in diagnosis.findings))[:_MOST_TOLD]
    other = next((one for one in diagnosis.findings if one.kind is Kind.OTHER_KIND), None)
    if other is not None and other.wanted:
        because = say("This file is not in REDCap, because only {kind} files are taken here.", kind=other.wanted.upper())
    if diagnosis.suggestion is not None:
        return _to_rename(failure, because, wrong, marks, say, values)
    names = tuple(map(shown, diagnosis.candidates))
    worst = _worst(diagnosis.findings)
    first, then = acts(worst, bool(names), say, values)
    goes_on = "" if worst.kind is Kind.OTHER_KIND and worst.wanted else say(GOES_ON)
    return Advice(because, wrong, first, names, then, goes_on, marks, of_name=True)


def _worst(findings: tuple[Slip, ...]) -> Slip:
    """The one that decides what is to be done."""
    order = (Kind.OTHER_KIND, Kind.NOT_TEXT, Kind.NO_ENDING, Kind.NOT_LIKE, Kind.NO_SUCH_WORD)
    return min(findings, key=lambda one: order.index(one.kind) if one.kind in order else len(order))


def _to_rename(
    failure: Failure,
    because: str,
    wrong: tuple[str, ...],
    marks: tuple[tuple[int, int], ...],
    say: Speaker,
    values: dict[str, str],
) -> Advice:
    diagnosis, twin = failure.diagnosis, failure.twin
    assert diagnosis is not None
    assert diagnosis.suggestion is not None
    names = (shown(diagnosis.suggestion),)
    first = tuple(say("First check on the paper that “{part}” is right.", part=shown(part)) for part in diagnosis.checks)
    then: tuple[str, ...] = ()
    goes_on = say(GOES_ON)
    if twin is None:
        first += (say("Rename the file, here in this folder, to:"),)
        return Advice(because, wrong, first, names, then, goes_on, marks, of_name=True)
    if twin.same:
        wrong += (say("The very same file is in REDCap already. It was stored: {when}.", when=say.when(twin.at, failure.when)),)
        return Advice(because, wrong, (say("Delete this file. It is a copy."),), marks=marks, of_name=True, delete=True)
    wrong += (
        say(
            "A file of the right name was stored already: {when}. Its content is another one.",
            when=say.when(twin.at, failure.when),
        ),
    )
    first += (
        say("Find out which of the two is right. If it is the stored one, delete this file."),
        say("If it is this one, rename it, here in this folder, to:"),
    )
    if failure.replaces:
        then = (say("It then takes the place of the other one in REDCap."),)
    return Advice(because, wrong, first, names, then, goes_on, marks, of_name=True)


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


_OF_NAMES = frozenset({Reason.NO_RULE, Reason.BAD_VALUE})


def told_by_name(folder: Folder, name: str) -> Target | None:
    """Where a file goes as far as its name tells those who drop it; None if no rule takes it.

    A record that a table has for a word of the name is left out: the name does not say it, as it does not say one that is found
    by its values.
    """
    found = route(folder.rules, folder.name, name)
    if not isinstance(found, Route):
        return None
    translated = found.rule.record is not None and bool(found.rule.record.tables)
    return replace(found.target, record="") if translated else found.target


def failure_of(job: Job, refused: Refused, when: datetime, folder: Folder, query: Query, tree: Tree, lies_in: str) -> Failure:
    """What people are told of `job`, which failed, and whose file lies at `lies_in` in `tree`."""
    reason, message = refused.reason, refused.message
    told = told_by_name(folder, job.name)
    diagnosis = diagnose(folder.rules, folder.name, job.name) if reason in _OF_NAMES and told is None else None
    twin, replaces = None, False
    if diagnosis is not None and diagnosis.suggestion is not None:
        meant = names.join(names.split(job.name)[0], diagnosis.suggestion)
        found = route(folder.rules, folder.name, meant)
        if isinstance(found, Route) and found.target.instance != NEXT:
            twin = _twin(job, meant, when, query, tree, lies_in)
            replaces = found.settings.existing_file is not ExistingFile.REFUSE
    return Failure(
        name=job.name,
        job=job.id,
        reason=reason,
        when=when,
        record=told.record if told is not None else "",
        field=told.field if told is not None else "",
        size=job.size,
        attempts=job.attempts,
        diagnosis=diagnosis if diagnosis is not None or reason not in _OF_NAMES else Diagnosis(()),
        twin=twin,
        replaces=replaces,
        similar=message if reason == Reason.RECORD_DIFFERS and told and told.record and _suggests(folder, job.name) else "",
    )


def _suggests(folder: Folder, name: str) -> bool:
    settings = settings_for(folder.rules, name)
    return settings is not None and settings.suggest_records


def _twin(job: Job, meant: str, when: datetime, query: Query, tree: Tree, lies_in: str) -> StoredTwin | None:
    stored = query.stored_as(job.folder, meant)
    if stored is None or stored.ended_at is None:
        return None
    at = datetime.fromtimestamp(stored.ended_at, when.tzinfo)
    same = False
    if stored.size == job.size and stored.sha256:
        with contextlib.suppress(OSError):
            same = sha256_of(tree, lies_in) == stored.sha256
    return StoredTwin(at, same)
