from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dropcap.filing.why import Failure, StoredTwin, is_ours, job_of, pointed_at, why_names, why_text
from dropcap.language import Language
from dropcap.naming.doctor import diagnose
from dropcap.naming.finding import Diagnosis
from dropcap.reasons import Reason
from tests.naming.test_doctor import CONSENT, MEANT, RULES, UNSURE

leaves = st.binary(min_size=1, max_size=255).filter(lambda b: not set(b) & {0, 0x2F} and b not in (b".", b"..")).map(os.fsdecode)
MakeFailure = Callable[..., Failure]
EXAMPLES = ("SN001_consent_v1.0_2026-11-25.pdf",)
#: What is for whoever runs dropcap, and not for whoever drops files.
NOT_FOR_DROPPERS = ("rule", "dropcap retry", "pattern", "regex", "config", "Regel", "règle", "regla")


@pytest.fixture
def wrong_name(failure: MakeFailure) -> MakeFailure:
    def make(name: str, **more: object) -> Failure:
        return failure(name, reason="no_rule", diagnosis=diagnose(RULES, "consents", name), **more)

    return make


def body(failure: Failure, language: Language = Language.EN) -> str:
    return why_text(failure, "consents", "Study desk, ext. 4711", language, EXAMPLES).decode().replace("\r\n", "\n")


def test_a_wrong_name_and_the_right_one(wrong_name: MakeFailure) -> None:
    assert body(wrong_name("SN0O7_consent_v1.0_2026-11-04.pdf")).rpartition("dropcap why")[0] == (
        """\
This file is not in REDCap, because its name does not fit.

WHAT IS WRONG
   SN0O7_consent_v1.0_2026-11-04.pdf
      ^
This is the letter O. A digit belongs here.

WHAT TO DO
First check on the paper that “007” is right.
Rename the file, here in this folder, to:

   SN007_consent_v1.0_2026-11-04.pdf

dropcap then takes it by itself, and this text goes away.

Not what you meant? Names here look like this:
   SN001_consent_v1.0_2026-11-25.pdf

The file is unharmed. Nothing of it was sent.

HELP
Study desk, ext. 4711. Tell them the job number: 17.

--
Job 17, folder consents, no_rule, 24 November 2026, 13:05:07 (UTC)
"""
    )


@pytest.mark.parametrize("language", Language)
def test_one_screen_for_people_who_drop_files(wrong_name: MakeFailure, language: Language) -> None:
    for name in [*(name for name, *_ in MEANT), *(name for name, _ in UNSURE)]:
        failed = wrong_name(name)
        raw = why_text(failed, "consents", "Study desk, ext. 4711", language, EXAMPLES)
        assert job_of(raw) == 17
        assert raw.count(b"\n") == raw.count(b"\r\n")
        lines = raw.decode().split("\r\n")
        assert len(lines) <= 37
        names = {pointed_at(name.rpartition("/")[2], ())[0], *(f"   {one}" for one in EXAMPLES)}
        assert max(len(line) for line in lines[:-2] if line not in names) <= 78
        assert not any(word in line for word in NOT_FOR_DROPPERS for line in lines[: lines.index("--")])
        if failed.diagnosis and failed.diagnosis.suggestion:
            assert f"   {failed.diagnosis.suggestion}" in lines


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_told_in_every_language(failure: MakeFailure, reason: Reason, language: Language) -> None:
    text = body(failure("a.pdf", reason=reason, attempts=2), language)
    assert "{" not in text
    assert "Study desk, ext. 4711" in text
    assert reason in text.partition("--")[2], "for whoever is asked"


def test_a_copy_of_what_was_stored(wrong_name: MakeFailure) -> None:
    name = "SN003_consent_v1.0_2026-11-03 (1).pdf"
    at = wrong_name(name).when - timedelta(hours=4)
    same, other = (body(wrong_name(name, twin=StoredTwin(at, same))) for same in (True, False))
    assert "The very same file is in REDCap already. It was stored: 09:05." in same
    assert "Delete this file. It is a copy." in same
    assert "SN003_consent_v1.0_2026-11-03.pdf" not in same
    assert "Its content is another\none." in other
    assert "If it is the stored one, delete this file." in other
    assert "\n\n   SN003_consent_v1.0_2026-11-03.pdf\n\nIt then takes the place of the other one in REDCap.\n" in other
    assert "takes the place" not in body(wrong_name(name, twin=StoredTwin(at, False), replaces=False))


def test_a_record_that_the_name_does_not_tell_is_not_told(failure: MakeFailure) -> None:
    assert "REDCap has no record “101”." in body(failure("a.pdf"))
    other = body(failure("a.pdf", record="")).partition("--")[0]
    assert "REDCap has no record that fits this name." in other
    assert "101" not in other


def test_carets_stand_under_what_is_shown() -> None:
    def below(name: str, *marks: tuple[int, int]) -> str:
        return "|".join(line[3:] for line in pointed_at(name, marks))

    assert below("a\u00a0b", (1, 2)) == "a b| ^"
    assert below("a\u200bb", (1, 2)) == "a\\u200bb| ^^^^^^"
    assert below("日本x", (2, 3)) == "日本x|    ^"
    assert below("e\u0301x", (2, 3)) == "e\u0301x| ^"
    assert below("ab", (2, 2)) == "ab|  ^"
    assert below("ab", (1, 1)) == "ab| ^"
    assert below("a.pdf ", (5, 6)) == "a.pdf|     ^"


def test_hostile_names_and_messages_are_shown_escaped(failure: MakeFailure) -> None:
    name = "a\u202efdp.exe\n\x1b[2J\udcff"
    told = failure(name, reason="no_rule", diagnosis=diagnose([CONSENT], "f", name))
    text = why_text(told, "f", "c\x1b").decode()
    assert "a\\u202efdp.exe\\x0a\\x1b[2J\\xff" in text
    told = failure("x", similar="no\r\ndropcap why 1 job=1", record="1\x00")
    text += why_text(told, "f", "c").decode()
    assert not any(c in text for c in "\u202e\x1b\x00")
    assert job_of(why_text(told, "f", "c")) == 17


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(similar=st.text(), contact=st.text(), name=leaves)
def test_it_is_ours_until_a_byte_changes(failure: MakeFailure, similar: str, contact: str, name: str) -> None:
    for told in (failure(name, similar=similar), failure(name, diagnosis=diagnose([CONSENT], "f", name))):
        content = why_text(told, "f", contact)
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


def test_a_name_that_fits_and_tells_what_cannot_be(failure: MakeFailure) -> None:
    assert "A part of this name cannot be right." in body(failure("a.pdf", reason="bad_value", diagnosis=Diagnosis(())))
