"""What why.txt and the status page say of a name, to be translated."""

from __future__ import annotations

from dropcap.display import shown
from dropcap.language.speaker import Speaker, marked
from dropcap.naming.clean import kind_of
from dropcap.naming.finding import Kind, Slip

#: Sentences that need no more than what is found and what is wanted.
_PLAIN: dict[Kind, str] = {
    Kind.COPY: marked("A computer put “{found}” there: it made a second copy."),
    Kind.ENDING_TWICE: marked("The ending “{found}” is there twice."),
    Kind.SPACE_AT_START: marked("There is a space at the beginning of the name."),
    Kind.SPACE_AT_END: marked("There is a space at the end of the name."),
    Kind.SPACE_BEFORE_ENDING: marked("There is a space before the ending."),
    Kind.ODD_SPACE: marked(
        "There is a special space here. It looks like any other space. It often comes along when a name is copied from Word "
        "or from an e-mail."
    ),
    Kind.HIDDEN: marked(
        "There is a character here that nobody can see. It often comes along when a name is copied from Word or from an e-mail."
    ),
    Kind.NOT_TEXT: marked("Characters of this name are damaged. They cannot be read."),
    Kind.CASE: marked("Capital and small letters count here. It has to be “{wanted}”."),
    Kind.LETTER_FOR_DIGIT: marked("This is the letter {found}. A digit belongs here."),
    Kind.DIGIT_FOR_LETTER: marked("This is the digit {found}. A letter belongs here."),
    Kind.LOOK_ALIKE: marked("This looks like “{wanted}”, but it is a character of another alphabet."),
    Kind.SEPARATOR: marked("Here is “{found}”. It has to be “{wanted}”."),
    Kind.TYPO: marked("A typing error: this should be “{wanted}”."),
    Kind.MISSING: marked("“{wanted}” is missing here."),
    Kind.EXTRA: marked("“{found}” does not belong here."),
    Kind.ORDER: marked("Two parts of the name have changed places."),
    Kind.DATE_ORDER: marked("This date is in another order. It has to be year-month-day."),
    Kind.DATE_FORM: marked("This date is written in another way. It has to be {wanted}."),
    Kind.TWO_DAYS: marked("This date can mean two days: {words}. It has to be year-month-day."),
    Kind.NO_SUCH_DAY: marked("There is no such day."),
    Kind.NO_DATE: marked("A date belongs here, as year-month-day. 24 December 2026 is 2026-12-24."),
    Kind.NO_ENDING: marked("The ending “.{wanted}” is missing."),
    Kind.NOT_LIKE: marked("This name does not say where the file belongs."),
}
_OF_WHAT = {
    "digits": marked("A number belongs here."),
    "letters": marked("Only the letters a to z belong here."),
    "alnum": marked("Only letters and digits belong here."),
    "word": marked("Only letters, digits, “_”, “-” and “.” belong here."),
}
_KINDS = {
    "Word": marked("This is a Word file."),
    "Excel": marked("This is an Excel file."),
    "PowerPoint": marked("This is a PowerPoint file."),
    "image": marked("This is an image."),
    "archive": marked("This is an archive (a packed file)."),
    "text": marked("This is a text file."),
    "sound": marked("This is a sound recording."),
    "film": marked("This is a film."),
    "mail": marked("This is an e-mail."),
    "PDF": marked("This is a PDF file."),
}
_MOST_WORDS = 8


def said_of(finding: Slip, say: Speaker) -> str:
    """One or two sentences."""
    match finding.kind:
        case Kind.SPACE:
            if finding.wanted:
                return say("There is a space here. It has to be “{wanted}”.", wanted=finding.wanted)
            return say("There is a space that does not belong here.")
        case Kind.ZEROS | Kind.TOO_MANY | Kind.TOO_FEW:
            return _of_count(finding, say)
        case Kind.CHARACTERS:
            return say(_OF_WHAT.get(finding.of, _PLAIN[Kind.NOT_LIKE]))
        case Kind.NO_SUCH_WORD | Kind.TWO_WORDS:
            found = say("There is no “{found}” here.", found=shown(finding.found))
            if not 0 < len(finding.words) <= _MOST_WORDS:
                return found
            return found + " " + say("There are: {words}.", words=", ".join(map(shown, finding.words)))
        case Kind.OTHER_KIND:
            return say(_KINDS.get(kind_of(finding.found), marked("This is another kind of file.")))
    return say(
        _PLAIN[finding.kind],
        found=shown(finding.found.strip() or finding.found),
        wanted=shown(finding.wanted),
        words=say.listed([shown(word) for word in finding.words]),
    )


def _of_count(finding: Slip, say: Speaker) -> str:
    low, high = finding.low, finding.high
    if high is not None and low != high:
        if finding.of == "digits":
            return say("The number must have {low} to {high} digits.", low=low, high=high)
        return say("This part must have {low} to {high} characters.", low=low, high=high)
    if finding.of == "digits":
        return say.many("The number must have {count} digit.", "The number must have {count} digits.", low)
    return say.many("This part must have {count} character.", "This part must have {count} characters.", low)


def acts(finding: Slip, names: bool, say: Speaker, values: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to do where no single name can be suggested: before the names that it may be, if there are any, and after them."""
    if names:
        return (say("See on the paper which of these is right. Rename the file, here in this folder, to that one:"),), ()
    if finding.kind is Kind.OTHER_KIND and finding.wanted:
        kind = finding.wanted.upper()
        return (), (
            say("Open it, save it as {kind}, and drop the new file into the folder “{folder}”.", kind=kind, **values),
            say("Then delete this file."),
            say("Changing the ending is not enough: the file would stay what it is."),
        )
    if finding.kind is Kind.NO_ENDING:
        text = marked("Open the file. If it is {kind}, add “.{ending}” to its name in the folder “failed”.")
        return (), (say(text, kind=finding.wanted.upper(), ending=finding.wanted),)
    if finding.kind in (Kind.NO_SUCH_WORD, Kind.TWO_WORDS):
        return (), (
            say("See on the paper which it is. Then rename the file in the folder “failed”."),
            say("If the paper says “{found}”, ask: {contact}. Their list lacks it.", found=shown(finding.found), **values),
        )
    return (), (say("Open the file and look. Then rename it in the folder “failed”."),)
