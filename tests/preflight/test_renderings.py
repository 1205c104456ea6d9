"""What templates can render to, as far as it can be told without a file's name."""

from __future__ import annotations

import pytest

from dropcap.preflight.rules import outcomes
from dropcap.routing.pattern import compile_pattern, compile_regex
from dropcap.routing.template import compile_template

TABLES = {
    "visits": {"V1": "baseline_arm_1", "V2": "month_6_arm_1"},
    "docs": {"CF": "consent_pdf", "MR": "scan"},
    "default": {"CF": "consent_pdf", "*": "nothing"},
}


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("x.pdf", "scan", {"scan"}),
        ("{w:a|b}.pdf", "x_{w|upper}", {"x_A", "x_B"}),
        ("x[_{w:a|b}].pdf", "{w}", {"", "a", "b"}),
        ("{w:visits}.pdf", "{w}", {"V1", "V2"}),
        ("{w}.pdf", "{w|visits}", {"baseline_arm_1", "month_6_arm_1"}),
        ("{w}.pdf", "{w|default}", {"consent_pdf", "nothing"}),
        ("{w}.pdf", "{w}", None),
        ("{w}_{v:a|b}.pdf", "{w}_{v}", None),
        ("x.pdf", "{stem}", None),
        ("{w}.pdf", "\\{{w|lower|docs}\\}", {"{consent_pdf}", "{scan}"}),
    ],
)
def test_outcomes_of_a_template(pattern: str, text: str, expected: set[str] | None) -> None:
    compiled = compile_pattern(pattern, TABLES)
    found = outcomes(compiled, {"t": compile_template(text, TABLES, compiled.captures)})
    assert (found if found is None else {one["t"] for one in found}) == expected


def test_a_regular_expression_is_judged_by_its_tables_alone() -> None:
    compiled = compile_regex("(?P<w>[a-z]+)")
    assert outcomes(compiled, {"t": compile_template("{w}", TABLES, ["w"])}) is None
    assert outcomes(compiled, {"t": compile_template("{w|docs}", TABLES, ["w"])}) == [{"t": "consent_pdf"}, {"t": "scan"}]


def test_too_many_combinations_are_not_tried() -> None:
    words = "|".join(f"w{n}" for n in range(50))
    compiled = compile_pattern(f"{{a:{words}}}_{{b:{words}}}", TABLES)
    assert outcomes(compiled, {"t": compile_template("{a}{b}", TABLES, compiled.captures)}) is None
