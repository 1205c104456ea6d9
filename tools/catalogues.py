"""The catalogues of the texts in the share: `update` takes up what the source says now, `compile` makes what is read at run time.

    make catalogues

Texts are found by `say(...)`, `marked(...)` and `many(...)`. A translator works on the .po files; what is new there stands at the
end with an empty translation, and tests/language fails until it has one.
"""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "dropcap"
LOCALE = SOURCE / "language" / "locale"
#: Babel's own rules for fr and es have a third form from a million on, which nobody here needs.
PLURALS = {"de": "nplurals=2; plural=(n != 1);", "fr": "nplurals=2; plural=(n > 1);", "es": "nplurals=2; plural=(n != 1);"}
_NO_DATE = datetime(2026, 1, 1, tzinfo=UTC)
#: What is called with a text, and how many forms of it.
CALLED = {"say": 1, "_say": 1, "marked": 1, "self": 1, "many": 2}


def template() -> Catalog:
    """All texts of the source, in the order of files and lines."""
    catalog = Catalog(charset="utf-8")
    for path in sorted(SOURCE.rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
            texts = _texts(call)
            if texts:
                catalog.add(texts[0] if len(texts) == 1 else texts, locations=[(str(path.relative_to(SOURCE)), 1)])
    return catalog


def _texts(call: ast.Call) -> tuple[str, ...]:
    name = call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""
    forms = CALLED.get(name, 0)
    given = [one.value for one in call.args[:forms] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return tuple(given) if len(given) == forms else ()


def po(language: str) -> Path:
    """The file that translators work on."""
    return LOCALE / language / "LC_MESSAGES" / "dropcap.po"


def read(language: str) -> Catalog:
    """The catalogue of `language` as it stands in its file."""
    with po(language).open("rb") as file:
        return read_po(file, locale=language)


def compiled(language: str) -> bytes:
    """What is read at run time."""
    to = io.BytesIO()
    catalog = read(language)
    catalog.creation_date = catalog.revision_date = _NO_DATE  # the same texts make the same file
    write_mo(to, catalog)
    return to.getvalue()


def update() -> Iterator[str]:
    """Take up new texts, and forget those that are gone; which lack a translation."""
    for language, plurals in PLURALS.items():
        known = read(language) if po(language).exists() else Catalog()
        fresh = Catalog(project="dropcap", charset="utf-8")  # of no locale: two forms of a plural
        for message in template():
            if message.id:
                old = known.get(message.id)
                string = old.string if old is not None else None
                fresh.add(message.id, string, locations=message.locations)
                if not (all(string) if isinstance(string, tuple) else string):
                    yield f"{language}: {message.id}"
        po(language).parent.mkdir(parents=True, exist_ok=True)
        to = io.BytesIO()
        write_po(to, fresh, width=130, omit_header=True, include_lineno=False, sort_output=False)
        header = (
            'msgid ""\nmsgstr ""\n"Project-Id-Version: dropcap\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
            f'"Content-Transfer-Encoding: 8bit\\n"\n"Language: {language}\\n"\n"Plural-Forms: {plurals}\\n"\n\n'
        )
        po(language).write_bytes(header.encode() + to.getvalue())


def main() -> int:
    """Update, then compile."""
    missing = list(update())
    for line in missing:
        print(f"lacks a translation: {line}", file=sys.stderr)
    for language in PLURALS:
        po(language).with_suffix(".mo").write_bytes(compiled(language))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
