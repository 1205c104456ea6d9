from __future__ import annotations

import os
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dropcap.filing.why import Failure, is_ours, job_of, why_names, why_text

leaves = st.binary(min_size=1, max_size=255).filter(lambda b: not set(b) & {0, 0x2F} and b not in (b".", b"..")).map(os.fsdecode)


def test_it_says_what_happened_and_what_to_do(failure: Callable[..., Failure]) -> None:
    text = why_text(failure("a.pdf", attempts=2, event="baseline_arm_1"), "consents", "Data desk, ext. 4711").decode()
    for part in (
        "REDCap has no record 101",
        "Create the record in REDCap",
        "Move the file",
        "Rename it here",
        "dropcap retry 17",
        "Data desk, ext. 4711",
        "2026-11-24 13:05:07+00:00",
        "baseline_arm_1",
        "no_record",
    ):
        assert part in text
    assert text.count("\n") == text.count("\r\n")
    assert max(map(len, text.splitlines())) <= 100


def test_hostile_names_and_messages_are_shown_escaped(failure: Callable[..., Failure]) -> None:
    told = failure("a\u202efdp.exe\n\x1b[2J\udcff", message="no\r\ndropcap why 1 job=1", record="1\x00")
    text = why_text(told, "f", "c").decode()
    assert "a\\u202efdp.exe\\x0a\\x1b[2J\\xff" in text
    assert not any(c in text for c in "\u202e\x1b\x00")
    assert job_of(text.encode()) == 17


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.text(), remedy=st.text(), contact=st.text(), name=leaves)
def test_it_is_ours_until_a_byte_changes(
    failure: Callable[..., Failure], message: str, remedy: str, contact: str, name: str
) -> None:
    content = why_text(failure(name, message=message, remedy=remedy), "f", contact)
    assert job_of(content) == 17
    middle = len(content) // 2
    changed = bytes([content[middle] ^ 1])
    for other in (content + b"x", b"x" + content, content[:-1], content[:middle] + changed + content[middle + 1 :]):
        assert not is_ours(other)


@given(leaves, leaves)
def test_no_two_files_share_the_name_of_a_why(one: str, other: str) -> None:
    def first(name: str) -> list[str]:
        return [made for made, _ in zip(why_names(f"failed/{name}"), range(3), strict=False)]

    assert all(len(os.fsencode(name.removeprefix("failed/"))) <= 255 for name in first(one))
    assert one == other or not set(first(one)) & set(first(other))


def test_nothing_foreign_is_ours() -> None:
    for content in (b"", b"\n", b"hello", b"dropcap why 1 job=1 sha256=" + b"0" * 64 + b"\r\n"):
        assert not is_ours(content)
