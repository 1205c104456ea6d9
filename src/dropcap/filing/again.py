"""What is left to tidy when a failed file is tried again, and where one lay that has been moved since."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from itertools import islice

from dropcap.files import names
from dropcap.files.tree import Tree
from dropcap.filing.why import file_beside, is_ours, job_of, lone_texts, why_names

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
