"""What people who drop files are told of each reason for which a file is refused, and what they can do."""

from __future__ import annotations

from dropcap.language.speaker import marked
from dropcap.reasons import Reason

_ASK = marked("Nothing is wrong with your file. Ask: {contact}.")
_AGAIN = marked("Once that is mended, move this file back into the folder “{folder}”. dropcap then takes it by itself.")
_ANEW = (
    marked("Make the file anew (scan or save it once more), and drop it into the folder “{folder}”."),
    marked("Then delete this one."),
    marked("If that is not possible, ask: {contact}."),
)
_BUILT = (
    (marked("REDCap has no place for this file: the study is built in another way there."),),
    (_ASK, _AGAIN),
)

#: For each reason: what is wrong, and what to do.
OF_REASONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Reason.NO_RULE: (
        (marked("This name does not say where the file belongs."),),
        (marked("Rename the file in the folder “failed”."),),
    ),
    Reason.BAD_VALUE: (
        (marked("A part of this name cannot be right."),),
        (
            marked("Compare the name with the paper, and rename the file in the folder “failed”."),
            marked("If the name is right, ask: {contact}."),
        ),
    ),
    Reason.EMPTY_FILE: ((marked("The file is empty."),), _ANEW),
    Reason.INCOMPLETE: ((marked("The file is cut off: its end is missing."),), _ANEW),
    Reason.CAME_BACK_SHORT: ((marked("The file is cut off: its end is missing."),), _ANEW),
    Reason.TOO_LARGE: (
        (marked("The file is too large for REDCap: it has {size}."),),
        (
            marked("Make it smaller: scan it with fewer dots per inch, say, or without colours."),
            marked("Drop the smaller file into the folder “{folder}”. Then delete this one."),
            marked("If that is not possible, ask: {contact}."),
        ),
    ),
    Reason.BLOCKED_EXTENSION: (
        (marked("REDCap takes no files with this ending."),),
        (
            marked("Save it as another kind of file, such as PDF, and drop that into the folder “{folder}”."),
            marked("Then delete this one."),
        ),
    ),
    Reason.NO_RECORD: (
        (marked("REDCap has no record “{record}”."),),
        (
            marked("Compare the number with the paper. If the name is wrong, rename the file in the folder “failed”."),
            marked("If the name is right, the record is missing in REDCap. Ask: {contact}."),
            _AGAIN,
        ),
    ),
    Reason.SEVERAL_RECORDS: (
        (marked("What the name tells fits several records in REDCap."),),
        (
            marked("Compare the name with the paper. If the name is wrong, rename the file in the folder “failed”."),
            marked("If the name is right, ask: {contact}."),
        ),
    ),
    Reason.RECORD_DIFFERS: (
        (
            marked("REDCap has no record “{record}”, but it has one that is written almost the same."),
            marked("Look at capital letters and zeros."),
        ),
        (
            marked("Compare the name with the paper. If the name is wrong, rename the file in the folder “failed”."),
            marked("If the name is right, ask: {contact}."),
        ),
    ),
    Reason.MISMATCH: (
        (marked("The name does not agree with what REDCap says of this record."),),
        (
            marked("Compare the name with the paper. If the name is wrong, rename the file in the folder “failed”."),
            marked("If the name is right, ask: {contact}."),
        ),
    ),
    Reason.FILE_EXISTS: (
        (marked("REDCap has another file in this place already, and keeps it."),),
        (
            marked("Find out which of the two is right. If it is the one in REDCap, delete this file."),
            marked("If it is this one, ask: {contact}. They have to take the other one out of REDCap."),
            _AGAIN,
        ),
    ),
    **dict.fromkeys(
        (
            *(Reason.NO_FIELD, Reason.NOT_A_FILE_FIELD, Reason.SIGNATURE_FIELD, Reason.NO_EVENT),
            *(Reason.NOT_DESIGNATED, Reason.NOT_REPEATING, Reason.NEEDS_INSTANCE),
        ),
        _BUILT,
    ),
}  # fmt: skip
#: The same of a record that is found by its values.
NO_SUCH_RECORD = ((marked("REDCap has no record that fits this name."),), OF_REASONS[Reason.NO_RECORD][1])
#: For any other reason.
UNKNOWN = ((marked("REDCap does not take this file."),), (_ASK, _AGAIN))
