"""What templates can render to, as far as it can be told without a file's name."""

from __future__ import annotations

from dropcap.preflight.rules import outcomes
from dropcap.routing.pattern import compile_pattern, compile_regex
from dropcap.routing.rule import compile_template

TABLES = {"docs": {"CF": "consent_pdf", "MR": "scan"}}


def test_a_regular_expression_is_judged_by_its_tables_alone() -> None:
    compiled = compile_regex("(?P<w>[a-z]+)")
    assert outcomes(compiled, {"t": compile_template("{w}", TABLES, ["w"])}) is None
    assert outcomes(compiled, {"t": compile_template("{w|docs}", TABLES, ["w"])}) == [{"t": "consent_pdf"}, {"t": "scan"}]


def test_too_many_combinations_are_not_tried() -> None:
    words = "|".join(f"w{n}" for n in range(50))
    compiled = compile_pattern(f"{{a:{words}}}_{{b:{words}}}", TABLES)
    assert outcomes(compiled, {"t": compile_template("{a}{b}", TABLES, compiled.captures)}) is None
