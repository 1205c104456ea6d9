"""Whether the rights of a token's user suffice for a rule, as far as REDCap tells them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dropcap.delivery.needs import Asks, export_reasons
from dropcap.preflight.disagreement import Disagreement, Level, listed
from dropcap.preflight.renderings import outcomes
from dropcap.redcap.model import DE_IDENTIFIED, FULL_DATA, GROUP_COLUMN, NO_ACCESS, FieldInfo, Rights
from dropcap.redcap.structure import ProjectStructure
from dropcap.routing.rule import Rule
from dropcap.routing.target import MissingRecord


def general_rights(folder: str, rights: Rights | None) -> Iterator[Disagreement]:
    """What concerns all rules; `rights` is None if REDCap does not tell them."""
    if rights is None:
        message = "REDCap does not tell which rights the token's user has"
        remedy = "check them in REDCap (User Rights): API import, API export, and data export `Full Data Set` are needed"
        yield Disagreement("unsure", folder, "", "rights", message, remedy)
    elif rights.group:
        message = f"the token's user is in the data access group {rights.group}: records of other groups do not exist for it"
        remedy = "if files of other groups are dropped, take the user out of the group (User Rights)"
        yield Disagreement("warning", folder, "", "rights", message, remedy)


def rights_findings(folder: str, rule: Rule, structure: ProjectStructure, rights: Rights) -> Iterator[Disagreement]:
    """What the user's rights keep a rule of a folder from."""
    return _Needs(folder, rule, structure, rights).run()


@dataclass(frozen=True, slots=True)
class _Needs:
    folder: str
    rule: Rule
    structure: ProjectStructure
    rights: Rights

    @property
    def _who(self) -> str:
        return f"the token's user {self.rights.username}" if self.rights.username else "the token's user"

    def _finding(self, key: str, message: str, remedy: str, level: Level = "error") -> Disagreement:
        return Disagreement(level, self.folder, self.rule.name, key, message, remedy)

    def _fields(self) -> list[dict[str, str]]:
        """The fields that files of the rule can go to, as far as the rule tells them."""
        return outcomes(self.rule.pattern, {"field": self.rule.field}) or []

    def run(self) -> Iterator[Disagreement]:
        rights, who = self.rights, self._who
        if not rights.api_import:
            yield self._finding("rights", f"{who} has no API import right", "give it in REDCap (User Rights)")
        yield from self._group()
        yield from self._forms()
        asks = export_reasons(self.rule)
        if not asks:
            return
        if not rights.api_export:
            yield self._finding(
                "rights",
                f"{who} has no API export right, which {listed(asks)} needs",
                "give it in REDCap (User Rights), or set " + instead_of(asks),
            )
            return
        for outcome in self._fields():
            info = self.structure.fields.get(outcome["field"])
            if info is not None:
                yield from self._export_level(info)

    def _group(self) -> Iterator[Disagreement]:
        """What the token's own data access group keeps from working."""
        group = self.rights.group
        if not group:
            return
        out = "take the token's user out of the group (User Rights), or "
        if GROUP_COLUMN in self.rule.must_match:
            message = f"REDCap does not tell groups to somebody who is in one ({group}): all files of this rule are held"
            yield self._finding("must_match", message, out + f"take {GROUP_COLUMN} out of must_match")
        missing = self.rule.settings.missing_record
        if missing is MissingRecord.CREATE:
            message = f"no records are created for somebody in a data access group ({group}): another group may have them"
            yield self._finding("missing_record", message, out + "use `missing_record: refuse` or `wait`")
        elif missing is MissingRecord.WAIT:
            message = f"records of other groups than {group} never appear: files for them fail after 7 days"
            yield self._finding("missing_record", message, out + "drop no such files", "warning")

    def _forms(self) -> Iterator[Disagreement]:
        for outcome in self._fields():
            info = self.structure.fields.get(outcome["field"])
            if info is not None and info.form in self.rights.read_only:
                yield self._finding(
                    "rights",
                    f"{self._who} may not edit the form {info.form}: REDCap may refuse its files",
                    "give `View & Edit` for the form in REDCap (User Rights), or try it with one file",
                    "unsure",
                )

    def _export_level(self, info: FieldInfo) -> Iterator[Disagreement]:
        rights, who = self.rights, self._who
        level = rights.export_of(info.form)
        reads = [ask for ask in export_reasons(self.rule) if ask in (Asks.READ_BACK, Asks.LISTED, Asks.EXISTING_FILE)]
        if level == FULL_DATA or not reads:
            return
        if level == NO_ACCESS:
            yield self._finding(
                "rights",
                f"{who} may export nothing of the form {info.form}, which {listed(reads)} needs",
                "give `Full Data Set` in REDCap (User Rights), or set " + instead_of(reads),
            )
        elif info.identifier:
            yield self._finding(
                "rights",
                f"{info.name} is tagged as an identifier, and {who} may export no identifiers: it cannot be read back",
                "give `Full Data Set` in REDCap (User Rights), or set " + instead_of(reads),
            )
        elif level == DE_IDENTIFIED:
            yield self._finding(
                "rights",
                f"{who} may export de-identified data only; REDCap does not tell whether files can be read back then",
                "give `Full Data Set` in REDCap (User Rights), or try it with one file",
                "unsure",
            )


def instead_of(asks: Iterable[Asks]) -> str:
    """The settings under which a rule does without the right to export."""
    settable = {
        Asks.READ_BACK: "`confirm: none`",
        Asks.LISTED: "`confirm: none`",
        Asks.EXISTING_FILE: "`existing_file: replace`",
    }
    return " and ".join(dict.fromkeys(settable.get(ask, f"no `{ask}`") for ask in asks))
