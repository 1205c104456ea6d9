"""The languages of the texts in the share: one gettext catalogue each, and dates, times and sizes as their readers write them."""

from __future__ import annotations

import gettext
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

_DOMAIN = "dropcap"
LOCALE = Path(__file__).parent / "locale"


class Language(StrEnum):
    """What `language` can be."""

    EN = "en"
    DE = "de"
    FR = "fr"
    ES = "es"


def marked(text: str) -> str:
    """`text` itself: the catalogues have it, and it is said later."""
    return text


_MONTHS = (
    *(marked("January"), marked("February"), marked("March"), marked("April"), marked("May"), marked("June"), marked("July")),
    *(marked("August"), marked("September"), marked("October"), marked("November"), marked("December")),
)
_WEEKDAYS = (
    *(marked("Monday"), marked("Tuesday"), marked("Wednesday"), marked("Thursday")),
    *(marked("Friday"), marked("Saturday"), marked("Sunday")),
)
_SIZES = ((1024**3, marked("{number} GB")), (1024**2, marked("{number} MB")), (1024, marked("{number} KB")))


class Speaker:
    """One language. The source text, in English, is the key; texts have named placeholders in braces."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._catalogue: gettext.NullTranslations = gettext.NullTranslations()
        if language is not Language.EN:
            self._catalogue = gettext.translation(_DOMAIN, str(LOCALE), [language.value])

    def __call__(self, text: str, /, **values: Any) -> str:
        """`text` in this language, `values` put in. What stands in a value is never read as a placeholder."""
        return self._catalogue.gettext(text).format_map(values)

    def many(self, one: str, more: str, count: int, /, **values: Any) -> str:
        """The form for `count`, which is put in as well, digits grouped."""
        return self._catalogue.ngettext(one, more, count).format_map({"count": self.number(count), **values})

    def number(self, number: int) -> str:
        """A whole number, in groups of three digits from 10,000 on."""
        return f"{number:,}".replace(",", self("thousands:,").partition(":")[2]) if number >= 10_000 else str(number)

    def listed(self, parts: list[str]) -> str:
        """`a`, `b` and `c`."""
        if len(parts) < 2:
            return "".join(parts)
        return self("{first} and {last}", first=", ".join(parts[:-1]), last=parts[-1])

    def size(self, count: int) -> str:
        """Bytes as file managers count them: 1024 to a KB."""
        for unit, text in _SIZES:
            if count >= unit:
                tenths = count < 10 * unit
                number = f"{count / unit:.1f}" if tenths else str(count // unit)
                sign = self("decimal:.")
                return self(text, number=number.replace(".", sign.partition(":")[2]))
        return self.many("{count} byte", "{count} bytes", count)

    def day(self, moment: datetime, *, weekday: bool = False) -> str:
        """25 November 2026."""
        text = self("{day} {month} {year}", day=moment.day, month=self(_MONTHS[moment.month - 1]), year=moment.year)
        return self("{weekday}, {day}", weekday=self(_WEEKDAYS[moment.weekday()]), day=text) if weekday else text

    def clock(self, moment: datetime, *, seconds: bool = False) -> str:
        """14:12."""
        return f"{moment:%H:%M:%S}" if seconds else f"{moment:%H:%M}"

    def when(self, moment: datetime, now: datetime) -> str:
        """The time of day, with the day before it if that is not today."""
        if moment.date() == now.date():
            return self.clock(moment)
        return self("{day}, {time}", day=self.day(moment), time=self.clock(moment))


@cache
def speaker(language: Language) -> Speaker:
    """The speaker of `language`."""
    return Speaker(language)


def offset(moment: datetime) -> str:
    """UTC+1, UTC-3:30."""
    seconds = int((moment.utcoffset() or moment.astimezone().utcoffset() or moment - moment).total_seconds())
    hours, minutes = divmod(abs(seconds) // 60, 60)
    sign = "-" if seconds < 0 else "+"
    return "UTC" + (f"{sign}{hours}" + (f":{minutes:02}" if minutes else "") if seconds else "")
