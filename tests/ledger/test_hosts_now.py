"""Who works where, as it is told to people."""

from __future__ import annotations

from dropcap.ledger.reports import FolderHeld, HostAtWork, HostsNow


def host(id: str, name: str, *, alive: bool = True, until: float = 1000.0, lacks: tuple[str, ...] = ()) -> HostAtWork:
    return HostAtWork(id, name, int(id), "1", "digest", 100.0, until, alive, lacks)


NOW = HostsNow(
    (
        host("1", "alpha", lacks=("shared", "odd")),
        host("2", "beta", lacks=("shared",)),
        host("3", "beta", alive=False, until=500.0),  # it was started anew
        host("4", "gamma", alive=False, until=400.0),
        host("5", "gamma", alive=False, until=600.0),
    ),
    (
        FolderHeld("consents", 3, "1", None),
        FolderHeld("scans", 1, None, 7.0),
        FolderHeld("odd", 2, "2", None),
        FolderHeld("shared", 9, "1", None),
    ),
)
FOLDERS = ["consents", "scans", "odd", "shared", "new"]


def test_who_is_there_and_who_is_gone() -> None:
    assert [one.id for one in NOW.alive] == ["1", "2"]
    assert [one.id for one in NOW.gone] == ["5"], "its last run; one that runs again is not gone"


def test_who_works_where() -> None:
    assert NOW.of(NOW.alive[0], FOLDERS) == ["consents", "shared"]
    assert NOW.of(NOW.alive[0], ["shared"]) == ["shared"], "of those that are asked for"
    assert [folder for folder in FOLDERS if NOW.holder(folder) is None] == NOW.free(FOLDERS) == ["scans", "new"]


def test_what_every_host_lacks_is_stranded_whoever_holds_it() -> None:
    assert NOW.stranded(FOLDERS) == ["shared"]


def test_hosts_of_one_name_are_told_apart() -> None:
    assert NOW.called(NOW.alive[0]) == "alpha"
    twins = HostsNow((host("1", "alpha"), host("2", "alpha"), host("3", "alpha", alive=False)))
    assert [twins.called(one) for one in twins.alive] == ["alpha (pid 1)", "alpha (pid 2)"]


def test_a_folder_counts_as_untaken_only_since_somebody_could_take_it() -> None:
    assert NOW.untaken_for("scans", 1000.0) == 7.0
    assert NOW.untaken_for("scans", 103.0) == 3.0, "the first of those that are alive began at 100"
    assert NOW.untaken_for("scans", 99.0) == 0.0, "clocks differ"
    assert NOW.untaken_for("consents", 1000.0) == NOW.untaken_for("new", 1000.0) == 0.0
