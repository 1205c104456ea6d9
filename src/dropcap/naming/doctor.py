"""What is wrong with a name that no rule of a folder matches, which name was probably meant, and what right names look like."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations
from operator import attrgetter

from dropcap.files import names
from dropcap.naming.finding import (
    SEPARATORS,
    Cleaned,
    Diagnosis,
    Kind,
    Meter,
    Slip,
    TooDear,
    as_digit,
    clean,
    ending_of,
    kind_of,
    latin,
    plain,
    same_kind,
    wanted_ending,
    without_signs_before,
)
from dropcap.naming.pieces import SURE, Alignment, Piece, Subject, alignments, in_order, keeps_digits
from dropcap.routing.pattern import Capture, Element, Group, Literal, is_text, normal
from dropcap.routing.route import Route, matches, route
from dropcap.routing.rule import Rule, Template

#: A word of a pattern at such a cost is another word, not a slip of the keys.
_ANOTHER = 1.8
_OF_DIGITS = frozenset({None, Kind.LETTER_FOR_DIGIT, Kind.ZEROS, Kind.TOO_MANY, Kind.TOO_FEW})


def told_by(pieces: list[Piece], cleaned: Cleaned, before: int = 0) -> Iterator[Slip]:
    """What is wrong in each piece; `before` characters of a folder stand before the cleaned last part."""
    text = cleaned.text

    def finding(kind: Kind, start: int, end: int, wanted: str = "", piece: Piece | None = None) -> Slip:
        element = piece.element if piece is not None else None
        words = piece.words if piece is not None else ()
        first, last = cleaned.span(start, end)
        if isinstance(element, Capture) and not element.words:
            return Slip(kind, first, last, text[start:end], wanted, words, element.kind, element.low, element.high)
        return Slip(kind, first, last, text[start:end], wanted, words)

    for piece in pieces:
        start, end = piece.start - before, piece.end - before
        found = text[max(start, 0) : end]
        if start < 0 or (found == piece.wanted and not piece.doubt):
            continue
        looks = [
            at for at in range(start, end) if isinstance(piece.element, Capture) and piece.kind in _OF_DIGITS
            and piece.element.kind in ("digits", "date")
            and not "0" <= text[at] <= "9" and as_digit(text[at]) and text[at] not in SEPARATORS
        ]  # fmt: skip
        if looks:
            for at in looks:
                kind = Kind.LOOK_ALIKE if latin(text[at]) else Kind.LETTER_FOR_DIGIT
                yield finding(kind, at, at + 1, as_digit(text[at]), piece)
            if piece.kind in (None, Kind.LETTER_FOR_DIGIT):
                continue  # nothing else is wrong
        if piece.kind is not None:
            yield finding(piece.kind, start, end, piece.wanted, piece)
        elif piece.element is None and piece.wanted and piece.cost >= _ANOTHER:
            first, last = _word(text, *_core(text, start, end))
            yield finding(Kind.NOT_LIKE, first, last) if first < last else finding(Kind.MISSING, start, end, piece.wanted)
        else:
            yield from (finding(*one, piece) for one in _differences(text, start, end, piece.wanted))


def _differences(text: str, start: int, end: int, wanted: str) -> Iterator[tuple[Kind, int, int, str]]:
    """Kind, place and what is wanted there, for each difference of a part that has certain characters."""
    found = text[start:end]
    if found.casefold() == wanted.casefold():
        yield Kind.CASE, start, end, wanted
        return
    words: set[tuple[int, int]] = set()
    for tag, a, b, c, d in SequenceMatcher(None, found.casefold(), wanted.casefold(), autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        if tag == "replace" and b - a == d - c and all(map(_is_sign_or_like, found[a:b], wanted[c:d])):
            for at in range(b - a):
                yield _exchanged(found[a + at], wanted[c + at]), start + a + at, start + a + at + 1, wanted[c + at]
        elif tag == "insert" and set(wanted[c:d]) <= SEPARATORS:
            yield Kind.MISSING, start + a, start + a, wanted[c:d]
        elif tag == "delete" and set(found[a:b]) <= SEPARATORS:
            yield (Kind.SPACE if set(found[a:b]) == {" "} else Kind.EXTRA), start + a, start + b, ""
        else:
            first, last = _word(found, a, b)
            if (first, last) not in words:
                words.add((first, last))
                begin, over = _word(wanted, c, d)
                kind = Kind.TYPO if first < last and begin < over else Kind.MISSING if begin < over else Kind.EXTRA
                yield kind, start + first, start + last, wanted[begin:over]


def _core(text: str, start: int, end: int) -> tuple[int, int]:
    """A part without the separators at its ends."""
    while start < end and text[start] in SEPARATORS:
        start += 1
    while end > start and text[end - 1] in SEPARATORS:
        end -= 1
    return start, end


def _is_sign_or_like(found: str, wanted: str) -> bool:
    return (found in SEPARATORS and wanted in SEPARATORS) or _likeness(found, wanted) is not None


def _exchanged(found: str, wanted: str) -> Kind:
    return _likeness(found, wanted) or (Kind.SPACE if found == " " else Kind.SEPARATOR)


def _likeness(found: str, wanted: str) -> Kind | None:
    if latin(found) and latin(found).casefold() == wanted.casefold():
        return Kind.LOOK_ALIKE
    digit = as_digit(found)
    if not digit or digit != as_digit(wanted):
        return None
    return Kind.DIGIT_FOR_LETTER if found.isdigit() else Kind.LETTER_FOR_DIGIT if wanted.isdigit() else None


def _word(text: str, start: int, end: int) -> tuple[int, int]:
    """The word around a place: letters and digits to both sides."""
    while start and text[start - 1].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum():
        end += 1
    return start, end


#: How far ahead of the next name a suggestion has to be.
AHEAD = 0.5
#: Steps that one name may take: about 15 ms.
_STEPS = 8_000
#: Rules that are looked at, and names of one rule that the router is asked about.
_MOST_RULES, _ASKED = 40, 8
_MOST_CANDIDATES = 3
_PART = re.compile(r"[^\W_]+")
#: Parts of one name that are exchanged: of more, somebody has to look.
_MOST_PARTS = 6
#: Steps that asking the router counts for; what another kind of file adds to the cost of a name.
_ROUTING, _OTHER_KIND = 300, 1.0


@dataclass(frozen=True, slots=True)
class _Meant:
    """One name that may have been meant."""

    name: str
    cost: float
    rule: Rule
    findings: tuple[Slip, ...]
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Doubtful:
    """How a name comes nearest to a rule's, without a name that could be suggested."""

    cost: float
    rule: Rule
    pieces: list[Piece]
    cleaned: Cleaned
    before: int
    wrong: Slip | None

    @property
    def findings(self) -> tuple[Slip, ...]:
        """What is wrong, in the order of their places."""
        told = (*self.cleaned.findings, *told_by(self.pieces, self.cleaned, self.before))
        return _in_order(told if self.wrong is None else (self.wrong, *told))


def diagnose(rules: Sequence[Rule], folder_name: str, name: str) -> Diagnosis:
    """What is wrong with the relative name `name`, which `rules` do not route. Positions are those of its last part.

    Pure, and bounded: a name takes about 20 ms at most, whatever it is. A name is suggested only if `route` takes it, if no digit
    of it was lost or changed its place, and if no other name is nearly as near; or if the one order of two parts that `route`
    takes is the other one, which is then to be compared with the paper.
    """
    directory, _, leaf = name.rpartition("/")
    if not is_text(name):
        odd = [at for at, character in enumerate(leaf) if "\ud800" <= character <= "\udfff"]
        return Diagnosis(tuple(Slip(Kind.NOT_TEXT, at, at + 1, leaf[at]) for at in odd))
    search = _Search(rules[:_MOST_RULES], folder_name, directory)
    whole = clean(leaf)
    try:
        search.look(whole)
        if not search.meant and whole.text != (bare := plain(leaf)).text:
            search.look(bare)
        if not search.meant and (shorter := without_signs_before(whole)).text != whole.text:
            search.look(shorter)
    except TooDear:
        pass  # what was found up to here counts
    return search.verdict(leaf, whole)


class _Search:
    def __init__(self, rules: Sequence[Rule], folder_name: str, directory: str) -> None:
        self._rules = rules
        self._folder_name = folder_name
        self._directory = directory
        self._meter = Meter(_STEPS)
        self.meant: list[_Meant] = []
        self._doubtful: list[_Doubtful] = []

    def look(self, cleaned: Cleaned) -> None:
        """Along each rule. Raises TooDear."""
        name = _joined(self._directory, cleaned.text)
        if cleaned.findings and cleaned.text and (found := self._accepted(name)) is not None:
            self.meant.append(_Meant(name, 0.0, found.rule, tuple(cleaned.findings), ()))
            return
        for rule in self._rules:
            if rule.pattern.units:
                self._along(rule, cleaned)

    def _along(self, rule: Rule, cleaned: Cleaned) -> None:
        elements = [unit.element for unit in rule.pattern.units]
        cleaned, wrong = _with_its_ending(cleaned, elements)
        before = len(normal(self._directory)) + 1 if rule.pattern.whole and self._directory else 0
        text = normal(_joined(self._directory, cleaned.text)) if before else cleaned.text
        asked = 0
        for alignment in alignments(
            elements, Subject(text, rule.pattern.case_sensitive, self._meter, _telling(rule), _tables(rule))
        ):
            pieces = alignment.pieces()
            if alignment.doubt or wrong or alignment.cost > SURE or not _keeps_digits(pieces, text):
                cost = alignment.cost + (_OTHER_KIND if wrong else 0.0)
                self._doubtful.append(_Doubtful(cost, rule, pieces, cleaned, before, wrong))
            elif asked < _ASKED:
                asked += 1
                self._ask(rule, alignment, text, cleaned, before)

    def _ask(self, rule: Rule, alignment: Alignment, text: str, cleaned: Cleaned, before: int) -> None:
        if not alignment.wanted.startswith(text[:before]):
            return  # it would belong into another folder
        self._meter.spend(_ROUTING)
        name = _joined(self._directory, alignment.wanted[before:])
        found = self._accepted(name)
        if found is None or found.rule is not rule:
            return
        pieces = alignment.pieces()
        findings = (*cleaned.findings, *told_by(pieces, cleaned, before))
        if findings:
            self.meant.append(_Meant(name, alignment.cost, rule, findings, tuple(_checks(rule, pieces, text))))

    def _accepted(self, name: str) -> Route | None:
        if len(os.fsencode(_leaf(name))) > names.LONGEST or not matches(self._rules, name):
            return None
        found = route(self._rules, self._folder_name, name)
        return found if isinstance(found, Route) else None

    def verdict(self, leaf: str, cleaned: Cleaned) -> Diagnosis:
        """The one name that was meant, or why there is none."""
        nearest: dict[str, _Meant] = {}
        for one in sorted(self.meant, key=attrgetter("cost")):
            nearest.setdefault(one.name, one)
        if nearest:
            first, *others = nearest.values()
            near = [one for one in others if one.cost < first.cost + AHEAD]
            if not near:
                return Diagnosis(_in_order(first.findings), _leaf(first.name), first.checks, rule=first.rule)
            candidates = tuple(_leaf(one.name) for one in (first, *near))[:_MOST_CANDIDATES]
            return Diagnosis(_in_order(first.findings), None, first.checks, candidates, first.rule)
        doubtful = min(self._doubtful, key=attrgetter("cost"), default=None)
        days = () if doubtful is None else self._days(doubtful)  # a date of two readings is no exchange of its parts
        if not days:
            found = self._behind_its_ending(cleaned) or self._exchanged(cleaned)
            if found is not None:
                return found
        if doubtful is not None:
            return Diagnosis(doubtful.findings, None, (), days, doubtful.rule)
        if any(rule.pattern.match(leaf) is not None for rule in self._rules):
            return Diagnosis(())  # it fits, and what it tells is not possible
        return self._unlike(leaf, cleaned)

    def _days(self, doubtful: _Doubtful) -> tuple[str, ...]:
        """The names with each of the days that a date may mean, if nothing else is in doubt."""
        unsure = [piece for piece in doubtful.pieces if piece.doubt]
        if doubtful.wrong or len(unsure) != 1 or unsure[0].kind is not Kind.TWO_DAYS:
            return ()
        made = [
            "".join(day if piece is unsure[0] else piece.wanted for piece in doubtful.pieces)[doubtful.before :]
            for day in unsure[0].words
        ]
        return tuple(name for name in made if self._accepted(_joined(self._directory, name)) is not None)

    def _behind_its_ending(self, cleaned: Cleaned) -> Diagnosis | None:
        """A name that is right up to something behind its ending. No suggestion: a part of a download, or a text that some
        program calls .pdf.txt, is no PDF by another name."""
        for ending in self._endings():
            at = cleaned.text.casefold().rfind(f".{ending}") if ending else -1
            end = at + 1 + len(ending)
            if at > 0 and end < len(cleaned.text):
                found = self._accepted(_joined(self._directory, cleaned.text[:end]))
                if found is not None:
                    more = Slip(Kind.EXTRA, *cleaned.span(end, len(cleaned.text)), cleaned.text[end:])
                    return Diagnosis((*cleaned.findings, more), rule=found.rule)
        return None

    def _exchanged(self, cleaned: Cleaned) -> Diagnosis | None:
        """A name that is right but for the order of two of its parts."""
        text = cleaned.text
        parts = [found.span() for found in _PART.finditer(text)]
        if len(parts) > _MOST_PARTS:
            return None
        possible: list[Diagnosis] = []
        for (a, b), (c, d) in combinations(parts, 2):
            name = text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:]
            if (found := self._accepted(_joined(self._directory, name))) is not None:
                swapped = Slip(Kind.ORDER, *cleaned.span(a, d), text[a:d])
                possible.append(Diagnosis((*cleaned.findings, swapped), name, (name[a:d],), rule=found.rule))
        return possible[0] if len(possible) == 1 else None

    def _endings(self) -> set[str]:
        return {wanted_ending([unit.element for unit in rule.pattern.units]).casefold() for rule in self._rules}

    def _unlike(self, leaf: str, cleaned: Cleaned) -> Diagnosis:
        endings = self._endings()
        own = ending_of(cleaned.text)
        stem = len(cleaned.text) - (len(own) + 1 if own else 0)
        start, end = cleaned.span(0, stem) if stem else (0, len(leaf))
        findings = [Slip(Kind.NOT_LIKE, start, end, leaf[start:end])]
        if own and "" not in endings and not any(same_kind(own, one) for one in endings) and kind_of(own):
            first, last = cleaned.span(stem + 1, len(cleaned.text))
            wanted = sorted(endings)[0] if len(endings) == 1 else ""
            findings.append(Slip(Kind.OTHER_KIND, first, last, own, wanted))
        return Diagnosis(_in_order(findings))


def _joined(directory: str, leaf: str) -> str:
    return f"{directory}/{leaf}" if directory else leaf


def _leaf(name: str) -> str:
    return name.rpartition("/")[2]


def _with_its_ending(cleaned: Cleaned, elements: Sequence[Element]) -> tuple[Cleaned, Slip | None]:
    """The name as if it ended as the rule's do, so that the rest can be looked at, and what is wrong with its own ending."""
    wanted, own = wanted_ending(elements), ending_of(cleaned.text)
    if not wanted or same_kind(own, wanted):
        if own.casefold() == wanted.casefold() or not wanted:
            return cleaned, None
        wrong = None  # jpeg for jpg
    elif kind_of(own):
        first, last = cleaned.span(len(cleaned.text) - len(own), len(cleaned.text))
        wrong = Slip(Kind.OTHER_KIND, first, last, own, wanted)
    elif not own:
        if cleaned.text.casefold().endswith(wanted.casefold()):  # only the dot is missing
            return cleaned, None
        at = cleaned.span(len(cleaned.text), len(cleaned.text))[0]
        wrong = Slip(Kind.NO_ENDING, at, at, "", wanted)
    else:
        return cleaned, None
    start = len(cleaned.text) - len(own)
    put = wanted if own else f".{wanted}"
    span = cleaned.span(start, len(cleaned.text))
    text = cleaned.text[:start] + put
    changed = Cleaned(text, [*cleaned.spans[:start], *[span] * len(put)], list(cleaned.findings))
    if wrong is None:
        changed.findings.append(Slip(Kind.TYPO, *span, own, wanted))
    return changed, wrong


def _templates(rule: Rule) -> list[Template]:
    templates = (rule.record, rule.event, rule.field, rule.instance, *rule.record_where.values(), *rule.must_match.values())
    return [one for one in templates if one is not None]


def _telling(rule: Rule) -> frozenset[str]:
    """The captures that say where a file goes."""
    return frozenset(capture for template in _templates(rule) for capture in template.names)


def _tables(rule: Rule) -> dict[str, tuple[str, ...]]:
    """The words that captures without a type must be, since a template looks them up."""
    every = [*_templates(rule), *([rule.upload_as] if rule.upload_as is not None else [])]
    return {capture: table.words for template in every for capture, table in template.looked_up.items() if "*" not in table}


def _keeps_digits(pieces: Sequence[Piece], text: str) -> bool:
    """Whether every digit of the name is still there, in its part and (but for dates) in its order."""
    for piece in pieces:
        if isinstance(piece.element, Capture) and piece.element.kind == "date":
            found = [one for one in text[piece.start : piece.end] if "0" <= one <= "9"]
            if any(found.count(one) > piece.wanted.count(one) for one in set(found)):
                return False
            continue
        if not keeps_digits(text[piece.start : piece.end], piece.wanted):
            return False
    return True


def _checks(rule: Rule, pieces: Sequence[Piece], text: str) -> Iterator[str]:
    """Parts of the suggested name that were changed and tell whose file it is, or where a digit was put."""
    templates = [rule.record, *rule.record_where.values(), *rule.must_match.values()]
    telling = {capture for template in templates if template is not None for capture in template.names}
    for piece in pieces:
        found, wanted = text[piece.start : piece.end], piece.wanted
        if found.casefold() == wanted.casefold() or not isinstance(piece.element, Capture):
            continue
        more_digits = sum(one.isdigit() for one in wanted) > sum("0" <= one <= "9" for one in found)
        if piece.element.name in telling or (more_digits and piece.kind is not Kind.DATE_FORM):
            yield wanted


def _in_order(findings: Sequence[Slip]) -> tuple[Slip, ...]:
    """By their place, each once; what is wrong with an odd space is told already."""
    odd = {(one.start, one.end) for one in findings if one.kind is Kind.ODD_SPACE}
    told = [one for one in dict.fromkeys(findings) if one.kind is Kind.ODD_SPACE or (one.start, one.end) not in odd]
    return tuple(sorted(told, key=attrgetter("start", "end")))


_DAY = "2026-11-25"
_DIGITS, _LETTERS = "101", "ABC"
#: For parts that may be anything, by the name of the capture.
_ANYTHING = {"record": "101", "mrn": "100037", "initials": "AB", "ini": "AB", "site": "north", "ext": "pdf"}


def examples(rules: Sequence[Rule], folder_name: str, most: int = 5) -> list[str]:
    """One name for each of the first rules, that the rules take; none for a rule that no name can be made up for."""
    found = (example(rule, rules, folder_name) for rule in rules)
    return list(dict.fromkeys(name for name in found if name))[:most]


def example(rule: Rule, rules: Sequence[Rule], folder_name: str) -> str:
    """A name that goes by `rule`; empty if its author gives none and none can be made up."""
    if rule.example:
        return rule.example
    if not rule.pattern.units:
        return ""
    name = _made_up([unit.element for unit in rule.pattern.units], _words(rule))
    found = route(rules, folder_name, name)
    return name if isinstance(found, Route) and found.rule is rule else ""


def _words(rule: Rule) -> dict[str, tuple[str, ...]]:
    templates = [rule.record, rule.event, rule.field, rule.instance, rule.upload_as]
    every = [*templates, *rule.record_where.values(), *rule.must_match.values()]
    return {capture: table.words for one in every if one is not None for capture, table in one.looked_up.items() if table.words}


def _made_up(elements: Iterable[Element], words: dict[str, tuple[str, ...]]) -> str:
    name = "".join(_of(element, words) for element in elements)
    return f"{name}pdf" if name.endswith(".") else name  # `scan*.*`


def _of(element: Element, words: dict[str, tuple[str, ...]]) -> str:
    match element:
        case Literal(character):
            return character
        case Group():
            return ""
        case Capture():
            return _captured(element, element.words or words.get(element.name, ()))
    return "" if element.many else "1"


def _captured(capture: Capture, words: tuple[str, ...]) -> str:
    if words:
        return in_order(words)[0]
    if capture.kind == "date":
        return _DAY
    if capture.kind == "digits" and (capture.low > 1 or capture.high is not None):
        return "1".rjust(capture.low, "0")
    if capture.kind in ("digits", ""):
        return _ANYTHING.get(capture.name, _DIGITS if capture.kind == "digits" else capture.name)
    if capture.kind == "letters":
        return (_LETTERS * capture.low)[: max(capture.low, min(capture.high or 2, 2))]
    if capture.kind in ("alnum", "word") and (capture.low, capture.high) == (1, None):
        return _ANYTHING.get(capture.name, "A1")
    if capture.kind == "alnum":
        return ("A1" * capture.low)[: max(capture.low, min(capture.high or 2, 2))]
    return _ANYTHING.get(
        capture.name, (capture.name * capture.low)[: max(capture.low, min(capture.high or 9, len(capture.name)))]
    )
