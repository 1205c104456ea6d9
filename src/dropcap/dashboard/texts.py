"""Numbers, times and names as people read them on the page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from dropcap.display import shown
from dropcap.ledger.job import Job, Pause, State
from dropcap.picture.facts import FolderNow, Picture, ServerNow, UploadFacts
from dropcap.reasons import Reason, Scope, explained


def when(at: float | None) -> str:
    """A time of today by the clock; of another day with its date."""
    if at is None:
        return ""
    told, today = datetime.fromtimestamp(at), datetime.now()  # noqa: DTZ005, DTZ006 - people's own time
    if told.date() == today.date():
        return f"{told:%H:%M}"
    return f"{told.day} {told:%B}, {told:%H:%M}" if told.year == today.year else f"{told.day} {told:%B %Y}, {told:%H:%M}"


def second(at: float) -> str:
    """A time of day to the second."""
    return f"{datetime.fromtimestamp(at):%H:%M:%S}"  # noqa: DTZ006


def size(number: float) -> str:
    """Bytes as file managers count them."""
    for unit, of in (("GB", 1024**3), ("MB", 1024**2), ("KB", 1024)):
        if number >= of:
            return f"{number / of:,.1f} {unit}" if number < 10 * of else f"{number / of:,.0f} {unit}"
    return f"{number:,.0f} bytes"


def span(seconds: float) -> str:
    """How long something took or takes."""
    seconds = max(seconds, 0)
    if seconds < 0.1:
        return "< 0.1 s"
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def count(number: int, one: str, more: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {one if number == 1 else more}"


def sentence(text: str | None) -> str:
    """What a message or a remedy says, as a sentence of its own; escaped."""
    told = shown(text or "")
    return told[:1].upper() + told[1:] + ("." if told and told[-1] not in ".!?" else "")


def progress(upload: UploadFacts) -> str:
    """How far an upload has come."""
    if not upload.sent:
        return f"{size(upload.size)}, begins"
    left = f", {span(upload.seconds_left)} left" if upload.seconds_left is not None and upload.sent < upload.size else ""
    return f"{size(min(upload.sent, upload.size))} of {size(upload.size)}{left}"


def verdict(picture: Picture) -> tuple[str, str, str]:
    """The mark (good, wait, bad), the state, and what it means."""
    files, down = picture.needs_somebody, len(picture.down)
    servers = ""
    if down:
        one = count(len(picture.servers), "server", "servers")
        servers = f"{down} of {one} {'does' if down == 1 else 'do'} not take files for now." if len(picture.servers) > 1 else ""
        servers = servers or "REDCap does not take files for now."
    if not picture.alive:
        return "bad", "A part of dropcap hangs.", "Look into its log, then restart it."
    if picture.unwritable or picture.damaged:
        return "bad", "The ledger cannot be written.", f"Nothing is taken or sent meanwhile: {picture.mend}."
    ill = [folder.name for folder in picture.folders if folder.ill]
    names = ", ".join(ill[:3]) + (" and others" if len(ill) > 3 else "")
    look = f"{count(len(ill), 'folder needs', 'folders need')} a look: {names}." if ill else ""
    problem = "The configuration has a problem: run dropcap check." if picture.problems else ""
    paused = [pause for pause in picture.pauses if pause.scope != Scope.SERVER]
    if files:
        still = f"Something is paused. {_stands_still(paused)}" if paused else ""
        more = " ".join(text for text in (servers, look, problem, still) if text)
        return "bad", f"{count(files, 'file needs', 'files need')} a person.", more or "All others go on by themselves."
    if look or problem:
        return "bad", look or problem, " ".join(text for text in (servers, problem if look else "") if text)
    if down or picture.pauses:
        pauses = [one.pause for one in picture.down if one.pause is not None] or list(picture.pauses)
        known = all(one.passes or one.reason == Reason.BY_HAND for one in pauses)  # to somebody, or nobody is needed
        return "wait" if known else "bad", servers or "Something is paused.", _stands_still(pauses)
    waiting = sum(folder.waiting + folder.arriving for folder in picture.folders) + len(picture.uploads)
    return "good", "All is well.", f"{count(waiting, 'file is', 'files are')} on the way." if waiting else "Nothing waits."


def _stands_still(pauses: Sequence[Pause]) -> str:
    """What files wait for behind these."""
    if any(one.until_resume for one in pauses):
        return "Files wait and are safe. Somebody has to resume it."
    if not all(one.passes for one in pauses):
        return "Files wait and are safe. Somebody has to mend it; then it goes on by itself."
    return "Files wait and are safe. It goes on by itself."


def folder_notes(folder: FolderNow, picture: Picture) -> list[str]:
    """What there is to say about a folder."""
    found = [folder.elsewhere] if folder.elsewhere else []
    pause = picture.paused(Scope.FOLDER, folder.name)
    if pause is not None:
        found.append(
            f"{explained(pause.reason).title.lower() if pause.reason == Reason.BY_HAND else 'paused'} since {when(pause.since)}"
        )
    project = next((one for one in picture.projects if one.name == folder.project), None)
    if project is not None and project.pause is not None:
        by_hand = project.pause.reason == Reason.BY_HAND
        found.append(
            "its project is paused by hand" if by_hand else f"its project is paused: {explained(project.pause.reason).title}"
        )
    if project is not None and any(server.name == project.server and server.pause for server in picture.servers):
        found.append("its REDCap does not take files for now")
    notes = {
        "away": folder.away,
        "full": folder.full,
        "takes no finished files": folder.cannot_file,
        "goes on by its last good configuration": folder.mistake,
        f"a file was expected by {when(folder.overdue)}": folder.overdue,
        f"{count(folder.strays, 'stray', 'strays')} in done/ or failed/": folder.strays,
        f"{folder.left} left where they lie": folder.left,
        f"{folder.not_taken} not taken": folder.not_taken,
    }
    return found + [note for note, true in notes.items() if true]


def server_note(server: ServerNow) -> str:
    """The state of a server, its budget and when it answered last."""
    if server.pause is not None:
        by_hand = server.pause.reason == Reason.BY_HAND
        state = f"{explained(server.pause.reason).title} since {when(server.pause.since)}."
        again = f" Asked again at {second(server.next_try)}." if server.next_try is not None and not by_hand else ""
        return state + again + (f" Last answer at {second(server.heard)}." if server.heard is not None else "")
    heard = f"Answered at {second(server.heard)}." if server.heard is not None else "Not asked yet."
    budget = f" {server.used:,} of {server.limit:,} requests this minute." if server.limit else ""
    return heard + budget


_WORDS = {
    State.WAITING: ("wait", "waits"),
    State.HELD: ("bad", "held"),
    State.SENDING: ("wait", "being sent"),
    State.UNKNOWN: ("wait", "sent, to be read back"),
    State.STORED: ("good", "stored, to be filed"),
    State.REFUSED: ("bad", "refused, to be filed"),
    State.DONE: ("good", "stored"),
    State.FAILED: ("bad", "failed"),
    State.WITHDRAWN: ("wait", "taken away"),
}


def state_of(job: Job) -> tuple[str, str]:
    """The mark and the words of a job's state."""
    mark, words = _WORDS[job.state]
    if job.state is State.FAILED and job.tried_again is not None:
        return "wait", "failed, dealt with"
    return mark, words


def target_of(job: Job) -> str:
    """Where it goes, as far as that is known."""
    parts = [f"record {job.record}" if job.record else "", job.event or "", job.field]
    parts.append(f"instance {job.instance}" if job.instance is not None else "")
    return shown(", ".join(part for part in parts if part))
