"""Plots of a report as SVG: no script, readable in black and white, with their figures as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from html import escape

#: Upper ends of the times from the claim to done/ (seconds), and what they are called.
TIMES = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
TIME_WORDS = ("to 5 s", "15 s", "1 min", "5 min", "15 min", "1 h", "4 h", "1 day", "more")

_WIDTH, _LEFT = 660, 4
#: More columns than this are drawn by the week, and then by four weeks.
_MOST = 62


def days(done: Mapping[date, int], failed: Mapping[date, int], first: date, last: date) -> str:
    """Files by the day that they were dropped: what is in REDCap above the line, what is not below."""
    step = 1
    while ((last - first).days + 1) / step > _MOST and step < 28:
        step = 7 if step == 1 else 28
    columns = max(1, -(-((last - first).days + 1) // step))
    above, below = [0] * columns, [0] * columns
    for of, into in ((done, above), (failed, below)):
        for day, number in of.items():
            if first <= day <= last:
                into[(day - first).days // step] += number
    most, least = max(1, *above), max(above and below)
    height = 110
    unit = height / (most + least)
    base, width = 16 + most * unit, (_WIDTH - _LEFT) / columns
    parts = []
    for index, (good, bad) in enumerate(zip(above, below, strict=True)):
        x, w = _LEFT + index * width + width * 0.12, width * 0.76
        if good:
            parts.append(_bar(x, base - good * unit, w, good * unit, "good"))
        if bad:
            parts.append(_bar(x, base, w, bad * unit, "bad"))
        if columns <= 31:
            parts += [_text(x + w / 2, base - good * unit - 3, f"{good:,}")] if good else []
            parts += [_text(x + w / 2, base + bad * unit + 9, f"{bad:,}", "bad")] if bad else []
    parts.append(f'<path class="axis" d="M{_LEFT} {base:.1f}H{_WIDTH}"/>')
    bottom = 16 + height + 22
    every = max(1, -(-columns // 8))
    for index in range(0, columns, every):
        day = first + timedelta(days=index * step)
        parts.append(_text(_LEFT + (index + 0.5) * width, bottom, f"{day.day} {day:%b}", "q"))
    per = {1: "day", 7: "week", 28: "four weeks"}[step]
    said = f"{sum(above):,} in REDCap, {sum(below):,} not; at most {most:,} in a {per}"
    title = f"Files by the {per} on which they were dropped: above the line those that are in REDCap, below it those that are not"
    return _svg(bottom + 6, title, said, parts)


def times(seconds: Sequence[int]) -> str:
    """How many files took how long from the claim to done/: one number for each of `TIME_WORDS`."""
    most, height = max(1, *seconds), 80
    width = (_WIDTH - _LEFT) / len(seconds)
    parts = []
    for index, (number, word) in enumerate(zip(seconds, TIME_WORDS, strict=True)):
        x, tall = _LEFT + index * width, height * number / most
        if number:
            parts.append(_bar(x + width * 0.12, 16 + height - tall, width * 0.76, tall, "good"))
        parts.append(_text(x + width / 2, 16 + height - tall - 3, f"{number:,}" if number else "0", "" if number else "q"))
        parts.append(_text(x + width / 2, 16 + height + 14, word, "q"))
    parts.append(f'<path class="axis" d="M{_LEFT} {16 + height}H{_WIDTH}"/>')
    return _svg(16 + height + 20, "Time from the claim to done/", f"{sum(seconds):,} files", parts)


def reasons(failed: Mapping[str, int]) -> str:
    """Files that are not in REDCap, by reason, the most frequent first."""
    rows = sorted(failed.items(), key=lambda one: (-one[1], one[0]))[:12]
    most = max(number for _, number in rows)
    parts = []
    for index, (reason, number) in enumerate(rows):
        y = 4 + index * 20
        parts.append(f'<text class="left" x="{_LEFT}" y="{y + 12}">{escape(reason)}</text>')
        parts.append(_bar(170, y + 2, 430 * number / most, 12, "bad"))
        parts.append(f'<text class="left" x="{176 + 430 * number / most:.1f}" y="{y + 12}">{number:,}</text>')
    said = ", ".join(f"{reason} {number:,}" for reason, number in rows)
    return _svg(8 + len(rows) * 20, "Files that are not in REDCap, by reason", said, parts)


def _svg(height: float, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" viewBox="0 0 {_WIDTH} {height:.0f}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(parts)}</svg></figure>"
    )


def _bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{max(height, 0.5):.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text{f""" class="{kind}" """.rstrip() if kind else ""} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
