"""The texts beside failed files: how they are called, which of them are ours, and forgetting them. What they say: `why_text`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Set
from itertools import count, islice

from dropcap.files import names
from dropcap.files.tree import Tree

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
    """Whether it is the name of a text about a file, whoever wrote it."""
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
