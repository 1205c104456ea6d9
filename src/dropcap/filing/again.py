"""What is left to tidy when a failed file is tried again."""

from __future__ import annotations

from dropcap.files.tree import Tree
from dropcap.filing.why import is_ours, job_of, why_names


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
