from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.files import names
from dropcap.files.root import by_renameat2
from dropcap.files.tree import Tree
from dropcap.filing.preserve import Keep, NoCopy, Origin, preserve_sink, preserved_name
from tests.filing.test_crash import dying, in_a_child
from tests.shares.mounting import tmpfs
from tests.site import keep_in

ORIGIN = Origin(
    project="trial",
    job=17,
    record="101",
    field="consent_pdf",
    original_name="Einwilligung Müller.pdf",
    when=datetime(2026, 11, 24, 13, 5, tzinfo=UTC),
)


def preserved(keep: Keep, content: bytes, origin: Origin = ORIGIN, piece: int = 30_000) -> str:
    with preserve_sink(keep, origin.job) as sink:
        for start in range(0, len(content), piece):
            sink.write(content[start : start + piece])
        return sink.commit(origin)


def files(keep: Keep) -> list[str]:
    keep.do(0, lambda _: None)  # after all that is still to be tidied up
    return sorted(str(path.relative_to(keep.path)) for path in keep.path.rglob("*") if path.is_file())


def copies(keep: Keep) -> list[str]:
    return [name for name in files(keep) if not name.endswith(".json") and not name.startswith(".dropcap-")]


def test_the_bytes_and_what_is_known_of_them(tmp_path: Path, keep: Keep) -> None:
    content = os.urandom(100_000)
    path = preserved(keep, content, replace(ORIGIN, event="baseline_arm_1", instance=2))
    name = "preserved/consents/2026-11-24/101_consent_pdf_baseline_arm_1_2_Einwilligung Müller.pdf"
    assert path == str(tmp_path / name)
    assert Path(path).read_bytes() == content
    assert json.loads(Path(path + ".json").read_text()) == {
        "project": "trial",
        "job": 17,
        "record": "101",
        "event": "baseline_arm_1",
        "field": "consent_pdf",
        "instance": 2,
        "original_name": "Einwilligung Müller.pdf",
        "size": 100_000,
        "sha256": hashlib.sha256(content).hexdigest(),
        "preserved_at": "2026-11-24T13:05:00.000+00:00",
    }
    assert len(files(keep)) == 2


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o377])
def test_nobody_else_may_look_into_it_whatever_the_umask(tmp_path: Path, keep: Keep, umask: int) -> None:
    before = os.umask(umask)
    try:
        preserved(keep, b"the old one")
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "preserved").rglob("*")}
    assert {mode for path, mode in modes.items() if (tmp_path / path).is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if (tmp_path / path).is_file()} == {0o600}
    assert stat.S_IMODE((tmp_path / "preserved").stat().st_mode) == 0o700


def test_what_is_not_committed_leaves_nothing(keep: Keep) -> None:
    with preserve_sink(keep, 1) as sink:
        sink.write(b"half")
    with contextlib.suppress(ConnectionError), preserve_sink(keep, 1) as sink:
        sink.write(b"half")
        raise ConnectionError
    assert files(keep) == []


def test_a_second_copy_and_a_foreign_json_are_not_overwritten(keep: Keep) -> None:
    made = [preserved(keep, b"0")]
    Path(made[0].replace(".pdf", " (2).pdf.json")).write_text("foreign")
    made += [preserved(keep, b"%d" % number) for number in (1, 2)]
    assert [name.rpartition("Müller")[2] for name in made] == [".pdf", " (3).pdf", " (4).pdf"]
    assert [Path(name).read_bytes() for name in made] == [b"0", b"1", b"2"]


class TestOnce:
    """The same bytes of the same place are kept once."""

    def test_by_another_job_on_another_day_after_a_restart(self, tmp_path: Path, keep: Keep) -> None:
        first = preserved(keep, b"the old one")
        later = replace(ORIGIN, job=18, when=datetime(2026, 12, 1, 9, tzinfo=UTC), original_name="another.pdf")
        assert preserved(keep, b"the old one", later) == first
        assert preserved(keep_in(tmp_path), b"the old one", later) == first
        assert len(copies(keep)) == 1

    @pytest.mark.parametrize(
        "other", [{"record": "1011"}, {"record": "10"}, {"event": "e"}, {"instance": 1}, {"field": "scan"}, {"project": "two"}]
    )
    def test_not_of_another_place(self, keep: Keep, other: dict[str, Any]) -> None:
        preserved(keep, b"the old one")
        preserved(keep, b"the old one", replace(ORIGIN, **other))
        assert len(copies(keep)) == 2

    def test_a_copy_that_is_not_what_it_was_does_not_count(self, keep: Keep) -> None:
        first = Path(preserved(keep, b"the old one"))
        first.write_bytes(b"the odd one")
        second = Path(preserved(keep, b"the old one"))
        assert second.read_bytes() == b"the old one"
        assert first.read_bytes() == b"the odd one"

    def test_one_that_is_gone_does_not_count(self, keep: Keep) -> None:
        first = Path(preserved(keep, b"the old one"))
        first.unlink()
        assert Path(preserved(keep, b"the old one")).read_bytes() == b"the old one"
        Path(f"{first}.json").unlink()
        first.unlink()
        assert Path(preserved(keep, b"the old one")).read_bytes() == b"the old one"
        assert len(files(keep)) == 2

    def test_files_that_are_json_themselves(self, keep: Keep) -> None:
        origin = replace(ORIGIN, original_name="a.json")
        told = json.dumps({"project": "trial", "job": 1, "record": "101", "event": None, "field": "consent_pdf"}).encode()
        assert Path(preserved(keep, told, origin)).read_bytes() == told
        assert preserved(keep, told, origin) == preserved(keep, told, origin)
        assert len(files(keep)) == 2


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("before", [True, False])
def test_a_crash_at_a_rename_leaves_no_half_copy_and_the_next_start_no_leftover(tmp_path: Path, at: int, before: bool) -> None:
    def crash() -> None:
        names._RUN = "0" * 8  # it is another process than this one
        keep = keep_in(tmp_path)

        def die(tree: Tree) -> None:
            tree._rename_methods = (dying(by_renameat2, at, before),)

        keep.do(0, die)
        preserved(keep, b"x" * 100_000)

    assert in_a_child(crash) == 9
    keep = keep_in(tmp_path)
    assert all((keep.path / name).read_bytes() == b"x" * 100_000 for name in files(keep) if name.endswith("Müller.pdf"))
    keep.clean()
    assert not [name for name in files(keep) if ".dropcap-" in name]
    assert Path(preserved(keep, b"x" * 100_000)).read_bytes() == b"x" * 100_000
    assert len(files(keep)) == 2, "the copy and what tells of it, once"


class TestRoom:
    def test_below_min_free_a_copy_waits_and_what_needs_none_does_not(self, tmp_path: Path) -> None:
        keep = keep_in(tmp_path, min_free=2**62)
        with preserve_sink(keep, 1) as sink:
            sink.write(b"what is compared only")
        with preserve_sink(keep, 1) as sink:
            sink.write(b"what is to be kept")
            with pytest.raises(NoCopy, match="min_free") as caught:
                sink.commit(ORIGIN)
        assert caught.value.reason == "no_space"
        with pytest.raises(NoCopy), preserve_sink(keep, 1):
            pytest.fail("REDCap is not asked again for a job that waits for room")
        with preserve_sink(keep, 2):
            pass  # another one may need no copy
        assert files(keep) == []

    def test_what_is_kept_already_needs_no_room(self, tmp_path: Path, keep: Keep) -> None:
        first = preserved(keep, b"the old one")
        assert preserved(keep_in(tmp_path, min_free=2**62), b"the old one") == first

    def test_a_full_disk_leaves_nothing_and_takes_it_later(self, tmp_path: Path, keep: Keep) -> None:
        preserved(keep, b"the first")
        with tmpfs(keep.path, "64k", "mode=0700"):
            with preserve_sink(keep, 1) as sink:
                sink.write(b"x" * 50_000)
                sink.write(b"x" * 50_000)
                with pytest.raises(NoCopy) as caught:
                    sink.commit(ORIGIN)
            assert caught.value.reason == "no_space"
            assert files(keep) == []
        assert Path(preserved(keep, b"x" * 100_000, replace(ORIGIN, job=1))).stat().st_size == 100_000

    def test_a_gibibyte_stays_free_for_the_ledger_on_its_disk_alone(self, tmp_path: Path) -> None:
        with tmpfs(tmp_path / "disk", "900m", "mode=0700") as disk:
            with preserve_sink(keep_in(disk), 1) as sink:
                sink.write(b"x")
                with pytest.raises(NoCopy, match="for the ledger") as caught:
                    sink.commit(ORIGIN)
            assert caught.value.reason == "no_space"
            elsewhere = Keep(disk / "preserved" / "consents", 0, tmp_path, lambda: None, make_above=True)
            assert preserved(elsewhere, b"x")


def test_others_get_at_it_only_for_as_long_as_nobody_keeps_a_copy_there(tmp_path: Path) -> None:
    keep = keep_in(tmp_path)
    first = preserved(keep, b"the old one")
    keep.path.chmod(0o750)
    with preserve_sink(keep, 1) as sink:
        sink.write(b"a secret")
        with pytest.raises(NoCopy, match="not be safe from others") as caught:
            sink.commit(replace(ORIGIN, job=1))
    assert caught.value.reason == "no_copy"
    assert copies(keep_after_mending(keep)) == [str(Path(first).relative_to(keep.path))]


def keep_after_mending(keep: Keep) -> Keep:
    keep.path.chmod(0o700)
    return keep


@given(st.text(), st.text(max_size=400), st.text(max_size=400))
def test_names_from_redcap_cannot_lead_out_or_hide(record: str, event: str, original: str) -> None:
    name = preserved_name(replace(ORIGIN, record=record, event=event, original_name=original))
    assert len(os.fsencode(name)) <= 255 - len(".json") - len(" (1000)")
    assert name not in ("", ".", "..")
    assert not name.startswith((".", "~"))
    assert not set(name) & set('/\\\0\n\r<>:"|?*')


def test_extension_is_kept_when_a_name_is_cut() -> None:
    assert preserved_name(replace(ORIGIN, original_name="x" * 400 + ".pdf")).endswith("x.pdf")
    assert preserved_name(replace(ORIGIN, original_name="../../etc/passwd")) == "101_consent_pdf__.._etc_passwd"
