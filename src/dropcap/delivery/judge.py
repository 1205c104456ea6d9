"""From what a reply proves to what becomes of a job. Pure."""

from __future__ import annotations

from dataclasses import replace

from dropcap.ledger.outcome import Later, Outcome, Refused
from dropcap.reasons import Reason, Scope
from dropcap.redcap.reply import Meaning, Verdict

#: The longest wait that a server may ask for with `Retry-After`, and the one if it asks for fewer requests without it (seconds).
LONGEST = 3600.0
RATE_LIMIT = 60.0
#: Troubles of a server, or of the way to it, that no file can have caused.
_CERTAIN = frozenset({Reason.UNREACHABLE, Reason.MAINTENANCE, Reason.CERTIFICATE, Reason.PROXY})
#: How long a server is left alone that answers 403 with a page: it may be a ban, in words that nobody knows (seconds).
SHUT_OUT = 900.0


def judge(meaning: Meaning, sent: bool, final: bool = True) -> Outcome:
    """The outcome of a request that did not do what it should.

    `sent`: the file may already be in REDCap from before. `final`: a refusal is one of the file, for good.
    """
    unknown = sent or meaning.outcome_unknown or meaning.verdict is Verdict.UNKNOWN
    seconds = None if meaning.retry_after is None else min(max(meaning.retry_after, 1.0), LONGEST)
    match meaning.verdict:
        case Verdict.REFUSED if final and not sent:
            return Refused(meaning.reason, meaning.message, meaning.remedy, meaning.alike)
        case Verdict.PROJECT:
            scope, certain = Scope.PROJECT, True
        case Verdict.BANNED:
            return Later(meaning.reason, meaning.message, meaning.remedy, Scope.SERVER, unknown, until_resume=True, certain=True)
        case Verdict.RATE_LIMITED:
            scope, certain, seconds = Scope.SERVER, True, seconds or RATE_LIMIT
            if meaning.worded:  # the server rests first: a probe that comes at once may be one request too many
                later = Later(meaning.reason, meaning.message, meaning.remedy, scope, unknown, max(seconds, RATE_LIMIT))
                return replace(later, certain=True, worded=True)
        case Verdict.NOT_THE_API:
            scope, certain = Scope.SERVER, True
            seconds = SHUT_OUT if meaning.shut_out else seconds
        case Verdict.UNCLEAR | Verdict.REFUSED:  # the refusal of a question: of this file's, and nobody else's trouble
            later = Later(meaning.reason, meaning.message, meaning.remedy, Scope.FILE, unknown, seconds)
            return replace(later, own_fault=True)
        case Verdict.SERVER:
            scope, certain = Scope.SERVER, meaning.reason in _CERTAIN
        case _:
            scope, certain = Scope.SERVER, False
    return Later(meaning.reason, meaning.message, meaning.remedy, scope, unknown, seconds, certain=certain)
