"""Every text in the share is there in every language: translated, with the same placeholders, and compiled."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta, timezone

import pytest
from tools import catalogues

from dropcap.language import Language, offset, speaker

OTHERS = [language for language in Language if language is not Language.EN]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", OTHERS)
def test_complete(language: Language) -> None:
    source = {message.id for message in catalogues.template() if message.id}
    catalog = catalogues.read(language)
    assert {message.id for message in catalog if message.id} == source, "make catalogues"
    assert not catalog.obsolete
    for message in catalog:
        if not message.id:
            continue
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        assert not message.fuzzy, message.id
        assert len(strings) == len(ids), message.id
        for one, translated in zip(ids, strings, strict=True):
            assert translated.strip(), message.id
            assert placeholders(translated) == placeholders(one), message.id


@pytest.mark.parametrize("language", OTHERS)
def test_compiled_as_it_stands(language: Language) -> None:
    assert catalogues.po(language).with_suffix(".mo").read_bytes() == catalogues.compiled(language), "make catalogues"


def test_what_is_said() -> None:
    de, fr, es, en = (speaker(language) for language in (Language.DE, Language.FR, Language.ES, Language.EN))
    moment = datetime(2026, 11, 25, 14, 12, 40, tzinfo=timezone(timedelta(hours=1)))
    assert [one.day(moment, weekday=True) for one in (en, de, fr, es)] == [
        *("Wednesday, 25 November 2026", "Mittwoch, 25. November 2026"),
        *("mercredi 25 novembre 2026", "miércoles, 25 de noviembre de 2026"),
    ]
    assert [one.size(3 * 1024**2 + 512 * 1024) for one in (en, de, fr, es)] == ["3.5 MB", "3,5 MB", "3,5 Mo", "3,5 MB"]
    assert [en.size(size) for size in (0, 1, 1023, 1024, 450 * 1024**2, 5 * 1024**3)] == [
        *("0 bytes", "1 byte", "1023 bytes", "1.0 KB", "450 MB", "5.0 GB")
    ]
    assert [one.number(12345) for one in (en, de, fr, es)] == ["12,345", "12.345", "12\u202f345", "12\u00a0345"]
    assert (fr.many("{count} byte", "{count} bytes", 0), es.many("{count} byte", "{count} bytes", 0)) == ("0 octet", "0 bytes")
    assert de.listed(["1", "2", "3"]) == "1, 2 und 3"
    assert de("REDCap has no record “{record}”.", record="{x}") == "REDCap hat keinen Datensatz „{x}“."
    assert de.when(moment, moment) == "14:12"
    assert de.when(moment, moment + timedelta(days=1)) == "25. November 2026, 14:12"
    assert [offset(datetime(2026, 1, 1, tzinfo=timezone(timedelta(minutes=m)))) for m in (0, 60, -210)] == [
        *("UTC", "UTC+1", "UTC-3:30")
    ]
    assert offset(datetime(2026, 1, 1, tzinfo=UTC)) == "UTC"
