"""The validation pack: every promise of the contract is in it, every test that it names is there, and it tells what failed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import validation
from tests.validation import Requirement

ROOT = Path(__file__).parent.parent


def test_each_promise_is_shown_by_tests_that_are_there() -> None:
    promises = (ROOT / "docs" / "design.md").read_text().partition("## 8. Promises")[2]
    numbers = {int(number) for number in re.findall(r"^(\d+)\. \*\*", promises, re.MULTILINE)}
    wanted = validation.requirements()
    assert {one.promise for one in wanted if one.promise is not None} == numbers
    assert len({one.id for one in wanted}) == len(wanted)
    assert all(len(one.tests) == len(set(one.tests)) for one in wanted)


def test_a_test_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="there is no test tests/ledger"):
        list(validation._named(["tests/ledger/test_chain.py::test_nothing"]))


def test_the_table_tells_the_worst_of_each() -> None:
    xml = """<testsuites><testsuite>
    <testcase classname="tests.a.test_b" name="test_one[x]"/>
    <testcase classname="tests.a.test_b" name="test_one[y]"><failure message="it | broke&#10;here">x</failure></testcase>
    <testcase classname="tests.a.test_b" name="test_one[z]"/>
    <testcase classname="tests.a.test_b" name="test_two"><skipped message="needs strace"/></testcase>
    <testcase classname="tests.a.test_b" name="test_three"/>
    </testsuite></testsuites>"""
    tests = tuple(f"tests/a/test_b.py::test_{name}" for name in ("one", "two", "three", "four"))
    found = validation.results(xml, tests)
    assert found == {tests[0]: ("FAILED", "it | broke"), tests[1]: ("skipped", "needs strace"), tests[2]: ("passed", "")}
    one, two, three = validation.table(
        [Requirement("A", "a|b", tests[:1]), Requirement("B", "b", tests[1:3]), Requirement("C", "c", tests[3:])], found
    )[2:]
    assert one == "| A | a\\|b | `tests/a/test_b.py::test_one` **FAILED**: it \\| broke | **FAILED** |"
    assert two.endswith("**skipped**: needs strace<br>`tests/a/test_b.py::test_three` | passed |")
    assert "it was not run" in three
