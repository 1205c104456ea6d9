"""What the status page says of reasons, in the words of people who drop files."""

from __future__ import annotations

from dropcap.filing.status_view import Rest, WhyLeft
from dropcap.language.speaker import marked
from dropcap.reasons import Reason

#: Why nothing moves.
STILL: dict[str, str] = {
    Reason.UNREACHABLE: marked("REDCap does not answer."),
    Reason.SERVER_ERROR: marked("REDCap is having trouble."),
    Reason.MAINTENANCE: marked("REDCap is under maintenance."),
    Reason.RATE_LIMITED: marked("REDCap takes only so many files a minute."),
    Reason.BY_HAND: marked("This folder is paused."),
    Reason.AWAY: marked("dropcap cannot get at this folder."),
    Reason.FILING: marked("dropcap cannot move files in this folder."),
}
STILL_OTHERWISE = marked("REDCap does not let dropcap in.")

#: Why a file waits for the people who look after the folder.
HELD: dict[str, str] = {
    Reason.NEWER_WENT: marked("A newer file for the same place has been stored already."),
    Reason.TOO_MANY_MISMATCHES: marked("Several files for this record did not agree with REDCap."),
    Reason.CAME_BACK_SHORT: marked("The file became shorter after it was dropped."),
    Reason.UNREADABLE: marked("The file cannot be read."),
    Reason.CREATE_LIMIT: marked("Too many new records for one day."),
    Reason.TOO_LARGE: marked("The file is perhaps too large for REDCap."),
    Reason.NO_SPACE: marked("A disk is full."),
    Reason.NO_COPY: marked("No copy of the older file can be kept at the moment."),
}
HELD_OTHERWISE = marked("REDCap does not take this file at the moment.")

#: Why a file waits that goes on by itself.
WAITS: dict[str, str] = {
    Reason.NO_RECORD: marked("REDCap does not have its record yet. dropcap looks again by itself."),
    Reason.NO_SPACE: HELD[Reason.NO_SPACE],
    Reason.NO_COPY: HELD[Reason.NO_COPY],
    Reason.CREATE_LIMIT: HELD[Reason.CREATE_LIMIT],
}
WAITS_OTHERWISE = marked("It did not work the first time. dropcap tries again by itself.")

RESTS: dict[Rest, str] = {
    Rest.OPEN: marked("Open in another program. Close it."),
    Rest.CUT_OFF: marked("It looks cut off. Is it still being copied? If not, drop it again."),
    Rest.DISK_WAS_FULL: marked("The disk was full when it was saved. Save it again."),
    Rest.NAMESAKE: marked("Another file of this name is on its way."),
}

LEFT: dict[WhyLeft, tuple[str, str]] = {
    WhyLeft.LINK: (marked("A link, not a file."), marked("Copy the file itself here.")),
    WhyLeft.NO_FILE: (marked("This is no file."), marked("Take it away.")),
    WhyLeft.NO_RIGHT: (marked("dropcap may not read or move it."), marked("Ask: {contact}.")),
    WhyLeft.OTHER_FOLDER: (marked("This is a drop folder of its own."), marked("Ask: {contact}.")),
    WhyLeft.TROUBLE: (marked("dropcap cannot take it."), marked("Ask: {contact}.")),
}
