"""The page in a real browser: by clicks and by keyboard, wide and narrow, light and dark, with hostile names and many files.

DROPCAP_SHOTS=DIR keeps screenshots, to be looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dropcap.ledger.job import Address, Change, NewFile, Refusal, State
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason
from redcap_sandbox import Fault
from tests import needs
from tests.dashboard.conftest import SECRET, Watched
from tests.site import eventually

HOSTILE = [
    "<script>document.title='owned'</script>.pdf",
    'a"onmouseover="alert(1).pdf',
    "\u202egpj.exe.pdf",
    "x" * 200 + ".pdf",
    "{{7*7}}{% raw %}.pdf",
    "مرحبا بالعالم.pdf",
    "a\nb.pdf",
    "'; drop table job;--.pdf",
    os.fsdecode(b"bad\xff.pdf"),
    "</textarea><img src=x onerror=alert(1)>.pdf".replace("/", "∕"),
]


def keep(page: Any, name: str) -> None:
    if folder := os.environ.get("DROPCAP_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


class Visit:
    """One browser window; `complaints` are what its console said, and scripts that ran though they must not."""

    def __init__(self, chromium: Any, width: int, scheme: str, **more: Any) -> None:
        self.context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        self.page = self.context.new_page()
        self.page.set_default_timeout(15000)
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    def fits(self) -> bool:
        """Nothing scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.fixture
def visits(chromium: Any) -> Iterator[Any]:
    opened: list[Visit] = []

    def visit(width: int = 1280, scheme: str = "light", **more: Any) -> Visit:
        opened.append(Visit(chromium, width, scheme, **more))
        return opened[-1]

    yield visit
    for one in opened:
        one.context.close()


def test_every_act_by_clicks(watched: Watched, visits: Any) -> None:
    place = watched.place
    daemon = watched.start()
    place.put("999_V1_consent.pdf")
    daemon.wait_for("failed")
    visit = visits()
    page = visit.page
    page.goto(watched.url)
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Secret").fill("a wrong one")
    page.get_by_role("button", name="Sign in").click()
    assert page.get_by_role("alert").inner_text() == "This is not the secret."
    visit.complaints.clear()  # of the 403
    page.get_by_label("Secret").fill(SECRET)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="1 file needs a person.").wait_for()
    assert page.title() == "1 file needs a person: dropcap"

    page.get_by_role("button", name="Pause consents").click()
    page.get_by_text("The folder consents is paused.").wait_for()
    page.get_by_role("button", name="Resume consents").click()
    page.get_by_text("The folder consents goes on.").wait_for()
    page.get_by_role("button", name="Pause the project trial").click()
    page.get_by_role("button", name="Resume the project trial").click()
    page.get_by_role("button", name=f"Pause 127.0.0.1:{place.box.url.split(':')[2].split('/')[0]}").click()
    page.get_by_role("button", name="Resume 127.0.0.1").click()
    page.get_by_text("goes on.").wait_for()
    daemon.wait_for("resumed", 3)
    assert {(one["do"], one["by"]) for one in daemon.wait_for("asked", 6)} == {("pause", "Ada"), ("resume", "Ada")}
    acts = place.dropcap("history", "--acts").stdout
    assert acts.count("Ada (on the page)") == 6, acts

    page.get_by_role("button", name="Retry 1 file of consents").click()
    page.get_by_text("1 file is tried again.").wait_for()
    daemon.wait_for("failed", 2)
    page.get_by_role("link", name="Files").click()
    page.get_by_label("Name or record").fill("999_v1")
    page.get_by_label("State").select_option("failed")
    page.get_by_role("button", name="Search").click()
    assert page.locator("table.l tbody tr").count() == 2
    page.locator("table.l a.name").first.click()
    page.get_by_role("heading", name="Where the time went").wait_for()
    assert page.locator(".tl li b").all_inner_texts() == ["Taken", "Will not be stored as it is", "Filed in failed/"]
    page.get_by_role("button", name="Retry this file").click()
    page.get_by_text("1 file is tried again.").wait_for()
    daemon.wait_for("failed", 3)
    place.put("101_V1_cosent.pdf")
    meant = daemon.wait_for("failed", file="101_V1_cosent.pdf")[0]["job"]
    page.goto(f"{watched.url}/files/{meant}")
    page.get_by_text("Probably meant: 101_V1_consent.pdf").wait_for()
    page.go_back()
    page.reload()
    page.get_by_role("link", name="as job 3").click()
    page.get_by_role("link", name="Rules").click()
    page.get_by_label("Names, one a line").press_sequentially("101_V1_consent.pdf\n101_V9_x.pdf")
    page.get_by_text("2 names").wait_for()
    assert page.locator(".res b").all_inner_texts() == ["Would go", "Would fail."]
    assert page.locator(".al .cap").all_inner_texts() == ["record\n101", "visit\nV1"]
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    page.goto(watched.url + "/files")
    assert page.url.endswith("/sign-in")
    assert visit.complaints == []
    assert daemon.stop() == 0


def test_what_it_looks_like_and_what_axe_finds(watched: Watched, visits: Any) -> None:
    needs.library("axe_playwright_python")
    from axe_playwright_python.sync_playwright import Axe

    place = watched.place
    daemon = watched.start()
    empty = visits(1280, "light")
    empty.page.goto(watched.link())
    keep(empty.page, "now_0_files")
    for name in HOSTILE:
        place.put(name)
    place.put("101_V1_consent.pdf")
    place.put("999_V1_consent.pdf")
    daemon.wait_for("failed", len(HOSTILE) + 1)
    daemon.wait_for("done")
    place.dropcap("pause", "--project", "trial")
    place.put("102_V1_consent.pdf")
    daemon.wait_for("claimed", file="102_V1_consent.pdf")
    done = next(job.id for job in place.jobs() if job.state is State.DONE)
    everything = bool(os.environ.get("DROPCAP_SHOTS"))  # else both widths and both schemes, once each
    for width in (1280, 390):
        for scheme in ("light", "dark") if everything else ("light",) if width == 1280 else ("dark",):
            visit = visits(width, scheme, bypass_csp=True)  # axe is a script of another's
            page = visit.page
            page.goto(watched.link())
            pages = {"now": "/", "files": "/files", "file": f"/files/{done}", "failed": "/files/1", "rules": "/rules"}
            for name in pages if everything else ("now", "file", "rules") if width == 1280 else ("now", "files", "failed"):
                path = pages[name]
                page.goto(watched.url + path)
                if name == "rules":
                    page.get_by_label("Names, one a line").fill("\n".join(name for name in HOSTILE[:5]) + "\n101_V1_consent.pdf")
                    page.locator(".res li").first.wait_for()
                keep(page, f"{name}_{width}_{scheme}")
                found = Axe().run(page).response["violations"]
                assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == [], f"{name} {width} {scheme}"
                assert visit.fits(), f"{name} {width}"
                assert page.title() != "owned"
            assert visit.complaints == []
    visit = visits(320, "light")
    visit.page.goto(watched.link())
    assert visit.fits()
    visit.page.goto(watched.url + "/sign-in")
    keep(visit.page, "sign_in")
    assert daemon.stop() == 0


def test_it_renews_itself_unless_somebody_reads(watched: Watched, visits: Any) -> None:
    place = watched.place
    daemon = watched.start()
    visit = visits()
    page = visit.page
    page.clock.install()
    page.goto(watched.link())
    page.get_by_role("heading", name="All is well.").wait_for()
    place.put("oops.pdf")
    daemon.wait_for("failed")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
    page.clock.run_for(6000)
    assert "All is well." in page.locator("h1").inner_text(), "somebody selects a text"
    page.evaluate("getSelection().removeAllRanges()")
    with page.expect_response("**/now") as answer:
        page.clock.run_for(6000)
    assert answer.value.status == 200
    page.get_by_role("heading", name="1 file needs a person.").wait_for()
    eventually(lambda: page.title() == "1 file needs a person: dropcap")
    with page.expect_response("**/now") as answer:
        page.clock.run_for(6000)
    assert answer.value.status in (200, 304)
    page.get_by_role("button", name="Stop updates").click()
    page.get_by_text("Updates are stopped.").wait_for()
    page.get_by_role("button", name="Go on").click()
    assert daemon.stop() == 0
    for _ in range(3):
        with page.expect_event("requestfailed"):
            page.clock.run_for(6000)
    page.get_by_text("No answer: updates have stopped.").wait_for()


def test_ten_thousand_files_and_the_keyboard(watched: Watched, visits: Any) -> None:
    place = watched.place
    place.once()
    refused = Refusal(Reason.NO_RECORD, "REDCap has no such record", "create it, then try again")
    ledger = Ledger(place.state / "ledger.db")
    files = [NewFile(f"{n}_V1_consent.pdf", 1000 + n, n, n, refusal=refused if n % 4 == 0 else None) for n in range(10_000)]
    jobs = ledger.claim("consents", files, lambda name: Address("trial", "consent", name.partition("_")[0], None, "consent_pdf"))
    failed = [job for job in jobs if (job - jobs[0]) % 4 == 0]
    ledger.change([Change(job, State.FAILED, "filed", {"filed_as": b"failed/%d.pdf" % job, "ended_at": 1.8e9}) for job in failed])
    held = [job for job in jobs if (job - jobs[0]) % 4]
    why = {"reason": Reason.NO_RULE, "message": "no rule matches", "remedy": "rename it", "due": 0.0}
    ledger.change([Change(job, State.HELD, "held", why) for job in held])
    ledger.close()
    place.dropcap("pause", "--folder", "consents")
    daemon = place.start(ready=False)
    daemon.wait_for("dashboard")
    visit = visits(1280, "light")
    page = visit.page
    page.goto(watched.link())
    page.get_by_role("heading", name="need a person.").wait_for()
    keep(page, "now_10000_files")
    assert len(page.content()) < 60_000
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    for _ in range(12):
        page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "one sees where one is"
    page.get_by_role("button", name="Retry 2,500 files of consents").press("Enter")
    page.get_by_role("heading", name="Try 2,500 files again?").wait_for()
    page.get_by_role("link", name="Back").press("Enter")
    page.get_by_role("link", name="REDCap has no such record").press("Enter")
    page.get_by_role("link", name="Older files").wait_for()
    assert page.locator("table.l tbody tr").count() == 50
    page.get_by_role("link", name="Older files").press("Enter")
    page.get_by_role("link", name="Newest").wait_for()
    assert visit.complaints == []
    daemon.stop()


def test_an_upload_and_a_server_that_is_down(watched: Watched, visits: Any) -> None:
    place = watched.place
    daemon = watched.start()
    place.box.ill(Fault("slow_read", match={"action": "import"}, bytes_per_second=3 * 1024**2))
    place.put("101_V1_consent.pdf", os.urandom(8 * 1024**2))
    daemon.wait_for("sending")
    visit = visits()
    page = visit.page
    page.goto(watched.link())
    bar = page.get_by_role("progressbar", name="consents/101_V1_consent.pdf")

    def come_so_far() -> bool:
        page.reload()
        return bool(bar.count() and 10 < int(bar.get_attribute("value")) < 100)

    eventually(come_so_far)
    keep(page, "now_sending")
    assert "of 8.0 MB" in page.locator(".up li .n").inner_text()
    page.get_by_role("link", name="consents/101_V1_consent.pdf").click()
    page.get_by_text("Being sent since").wait_for()
    keep(page, "file_sending")
    place.box.well()
    daemon.wait_for("done", patience=40)

    place.box.ill(Fault("maintenance"))
    place.put("102_V1_consent.pdf")
    daemon.wait_for("paused")
    eventually(lambda: page.goto(watched.url) and page.get_by_role("heading", name="REDCap does not take files for now.").count())
    assert "REDCap is down for maintenance since" in page.locator(".srv").inner_text()
    assert "Asked again at" in page.locator(".srv").inner_text()
    keep(page, "now_down")
    place.box.well()
    page.get_by_role("button", name="Ask 127.0.0.1").click()
    page.get_by_text(re.compile(r"goes on\.|was not paused\.")).wait_for()  # a probe of its own may have been quicker
    daemon.wait_for("done", file="102_V1_consent.pdf")
    assert visit.complaints == []
    assert daemon.stop() == 0


def test_without_a_script(watched: Watched, visits: Any) -> None:
    daemon = watched.start()
    visit = visits(390, "light", java_script_enabled=False)
    page = visit.page
    page.goto(watched.link())
    assert not page.get_by_role("button", name="Stop updates").is_visible()
    assert page.locator("noscript meta, meta[http-equiv=refresh]").count() == 1
    page.get_by_role("button", name="Pause consents").click()
    page.get_by_text("The folder consents is paused.").wait_for()
    page.get_by_role("link", name="Rules").click()
    page.get_by_label("Names, one a line").fill("101_V1_consent.pdf")
    page.get_by_role("button", name="Test").click()
    page.get_by_text("Would go", exact=True).wait_for()
    assert page.get_by_label("Names, one a line").input_value() == "101_V1_consent.pdf"
    assert daemon.stop() == 0
