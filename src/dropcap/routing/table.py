"""Tables: words in file names -> words in REDCap."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from functools import cached_property

#: The key that stands for every word that the table does not have.
DEFAULT = "*"

_SHOWN_WORDS = 8


class Table(Mapping[str, str]):
    """A mapping of words. A word is found exactly as it is written, else whatever its case."""

    def __init__(self, name: str, words: Mapping[str, str]) -> None:
        self.name = name
        self._words = {normal(word): value for word, value in words.items()}

    @classmethod
    def of(cls, name: str, words: Mapping[str, str]) -> Table:
        """`words` as a table; a table is returned as it is."""
        return words if isinstance(words, Table) else cls(name, words)

    def __getitem__(self, word: str) -> str:
        return self._words[word]

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words that can stand in a file's name, the longest first, so that `V10` is not read as `V1`."""
        return tuple(sorted((word for word in self._words if word not in ("", DEFAULT)), key=lambda word: (-len(word), word)))

    @cached_property
    def _folded(self) -> dict[str, set[str]]:
        folded: dict[str, set[str]] = {}
        for word, value in self._words.items():
            folded.setdefault(word.casefold(), set()).add(value)
        return folded

    def translate(self, word: str, case_sensitive: bool = False) -> str:
        """What stands for `word`; LookupError, with words for people, if the table does not say."""
        word = normal(word)
        if word in self._words and word != DEFAULT:
            return self._words[word]
        values = self._folded.get(word.casefold(), set()) if word != DEFAULT and not case_sensitive else set()
        if len(values) == 1:
            return next(iter(values))
        if values:
            raise LookupError(f"the table `{self.name}` has `{word}` in several spellings that mean different things")
        if DEFAULT in self._words:
            return self._words[DEFAULT]
        raise LookupError(f"the table `{self.name}` has no `{word}`; it has {listed(sorted(self.words))}")


def listed(words: list[str]) -> str:
    """The first words of a list, and how many more there are."""
    if not words:
        return "nothing"
    more = len(words) - _SHOWN_WORDS
    return ", ".join(words[:_SHOWN_WORDS]) + (f" and {more} more" if more > 0 else "")


def normal(text: str) -> str:
    """`text` in Unicode's composed form (NFC), in which names are compared: macOS writes them decomposed."""
    return unicodedata.normalize("NFC", text)
