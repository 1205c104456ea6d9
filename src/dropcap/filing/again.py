"""What is left to tidy when a failed file is tried again."""

from __future__ import annotations

from dropcap.files.tree import Tree
from dropcap.filing.why import is_ours, why_names


def forget_why(tree: Tree, failed_name: str) -> bool:
    """Remove the text beside the failed file `failed_name` (as it was called in `failed/`, relative to the drop folder).

    Only a text that dropcap wrote and nobody changed is removed. Returns whether there was one. Raises OSError if it
    cannot be removed.
    """
    for name in why_names(failed_name):
        if tree.remove_if(name, is_ours):
            return True
        if not tree.exists(name):
            return False
    return False
