"""A secret that cannot print itself."""

from __future__ import annotations


class Secret:
    """Only `reveal()` gives it out; printing, logging, comparing by repr or pickling do not."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for a request and nothing else."""
        return self._value

    def scrub(self, text: str) -> str:
        """`text` without the secret, should a server have echoed it."""
        return text.replace(self._value, "[token]") if self._value else text

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hidden)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be pickled")


class Token(Secret):
    """A REDCap API token, for the body of a request alone."""
