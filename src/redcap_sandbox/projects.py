"""Projects to serve: made-up ones, from a data dictionary, from project XML."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from redcap_sandbox.structure import CLASSIC_EVENT, METADATA_COLUMNS, Event, Field, RowKey, SandboxProject, fields_by_name

#: The headings of REDCap's CSV, in the order of METADATA_COLUMNS.
HEADINGS = (
    "Variable / Field Name",
    "Form Name",
    "Section Header",
    "Field Type",
    "Field Label",
    "Choices, Calculations, OR Slider Labels",
    "Field Note",
    "Text Validation Type OR Show Slider Number",
    "Text Validation Min",
    "Text Validation Max",
    "Identifier?",
    "Branching Logic (Show field only if...)",
    "Required Field?",
    "Custom Alignment",
    "Question Number (surveys only)",
    "Matrix Group Name",
    "Matrix Ranking?",
    "Field Annotation",
)
#: What REDCap offers between columns, and spreadsheets write.
_DELIMITERS = ",;\t|^"
_COLUMN = {heading.lower(): column for heading, column in zip(HEADINGS, METADATA_COLUMNS, strict=True)}


def from_dictionary(
    path: str | Path,
    *,
    events: Sequence[Event | str] = (),
    designations: Mapping[str, Sequence[str]] | None = None,
    repeating: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
) -> SandboxProject:
    """A project from a data dictionary, with or without a byte order mark, with commas, semicolons or tabs between columns.

    `events` make it longitudinal; an event without an entry in `designations` has all forms. `repeating` maps events
    to forms (none: the whole event).
    Raises ValueError if a file does not have the needed columns, OSError if it cannot be read.
    """
    path = Path(path)
    fields = fields_by_name(_field(row, f"{path.name}:{line}") for line, row in _rows(path))
    forms = tuple(dict.fromkeys(field.form for field in fields.values()))
    made = tuple(Event(event) if isinstance(event, str) else event for event in events)
    designated = {name: tuple(chosen) for name, chosen in (designations or {}).items()}
    for event in made:
        designated.setdefault(event.unique_name, forms)
    return SandboxProject(
        title=title or path.stem,
        fields=fields,
        events=made,
        designations=designated,
        repeating={name: tuple(chosen) for name, chosen in (repeating or {}).items()},
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with the number of the line that each ends in. Blank lines, and those of delimiters alone, are left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        lines = ((reader.line_num, line) for line in reader if any(cell.strip() for cell in line))
        _, header = next(lines, (0, []))
        if header and header[0].lower().startswith("sep="):  # what spreadsheets write for themselves
            _, header = next(lines, (0, []))
        for number, line in lines:
            yield number, {heading.strip(): cell for heading, cell in zip(header, line, strict=False)}
    except csv.Error as error:
        raise ValueError(f"{path.name} is not a CSV file that can be read ({error}); export it from REDCap again") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not in UTF-8; export it from REDCap again, or save it as CSV UTF-8") from None


def _delimiter(text: str) -> str:
    """What stands between the columns: what the heading has most of."""
    heading = next((line for line in text.splitlines() if line.strip() and not line.lower().startswith("sep=")), "")
    return max(_DELIMITERS, key=heading.count)


def _field(shown: Mapping[str, str], where: str) -> Field:
    row = {_COLUMN.get(heading.lower(), heading): value for heading, value in shown.items()}  # the file has either kind
    name, form = row.get("field_name", "").strip(), row.get("form_name", "").strip()
    if not name or not form:
        raise ValueError(f"{where}: the field's name or form is missing; export the data dictionary from REDCap again")
    return Field(
        name=name,
        form=form,
        type=row.get("field_type", "").strip() or "text",
        label=row.get("field_label", ""),
        choices=row.get("select_choices_or_calculations", ""),
        validation=row.get("text_validation_type_or_show_slider_number", "").strip(),
        identifier=row.get("identifier", "").strip().lower() == "y",
        required=row.get("required_field", "").strip().lower() == "y",
        other={column: row.get(column, "") for column in METADATA_COLUMNS},
    )


def load_records(project: SandboxProject, path: str | Path) -> int:
    """Put the rows of a flat CSV (as a record export gives it) into the project; returns how many records there were.

    File fields, and columns that the project does not have, are left out. Raises ValueError for an event, an instance
    or a record name that the project cannot have.
    """
    path = Path(path)
    columns = {column for field in project.fields.values() if not field.is_file for column in field.columns}
    seen: set[str] = set()
    for number, row in _rows(path):
        where = f"{path.name}:{number}"
        record = row.get(project.record_id, "").strip()
        event = row.get("redcap_event_name") or project.events[0].unique_name
        if not record or event not in project.event_names:
            raise ValueError(f"{where}: no {project.record_id}, or no event named {event!r}; use a raw export of this project")
        instance = _instance(row.get("redcap_repeat_instance") or "0", where)
        key = RowKey(event, row.get("redcap_repeat_instrument", ""), instance)
        project.store.make_row(record, key)
        for name, value in row.items():
            if name in columns and value:
                project.store.set_value(record, key, name, value)
        if group := row.get("redcap_data_access_group"):
            project.store.dags[record] = group
            project.dags = tuple(dict.fromkeys((*project.dags, group)))
        seen.add(record)
    return len(seen)


def _instance(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text.strip(), re.ASCII):
        raise ValueError(f"{where}: redcap_repeat_instance is {text!r}; use a raw export of this project")
    return int(text)


_ODM = "{http://www.cdisc.org/ns/odm/v1.3}"
_REDCAP = "{https://projectredcap.org}"

#: ItemDef attributes that are metadata columns as they stand.
_COLUMNS = {
    "SectionHeader": "section_header",
    "FieldNote": "field_note",
    "BranchingLogic": "branching_logic",
    "CustomAlignment": "custom_alignment",
    "QuestionNumber": "question_number",
    "MatrixGroupName": "matrix_group_name",
    "FieldAnnotation": "field_annotation",
}
# REDCap keeps an older name for some types inside and shows another in the dictionary.
_TYPES = {"select": "dropdown", "textarea": "notes"}
_VALIDATIONS = {"int": "integer", "float": "number"}

#: Stands among the items of the XML, and is no field.
_GROUP = "redcap_data_access_group"

#: A value with line breaks, which XML would take for blanks: REDCap writes them as they are.
_BROKEN_LINE = re.compile(rb'\bValue="[^"<]*\n[^"<]*"')


def _kept_lines(value: re.Match[bytes]) -> bytes:
    return value[0].replace(b"\r\n", b"&#10;").replace(b"\n", b"&#10;")


Element = Any  # of xml.etree, which defusedxml builds


def from_xml(path: str | Path) -> SandboxProject:
    """The project with its events, designations, repeating instruments and events, groups, records and files.

    Raises ValueError if the file is no project XML or is hostile (entities), OSError if it cannot be read.
    """
    path = Path(path)
    try:
        root: Element = ElementTree.fromstring(_BROKEN_LINE.sub(_kept_lines, path.read_bytes()))
    except (ParseError, DefusedXmlException, LookupError) as error:  # LookupError: an encoding that nobody knows
        raise ValueError(f"{path.name} is not an XML file that can be read ({error}); export it from REDCap again") from error
    version = root.find(f"{_ODM}Study/{_ODM}MetaDataVersion")
    if version is None:
        raise ValueError(f"{path.name} holds no project (no MetaDataVersion); export the project XML from REDCap")
    events = tuple(_event(element) for element in version.iter(f"{_ODM}StudyEventDef"))
    forms = {form.get("OID", ""): form.get(f"{_REDCAP}FormName", "") for form in version.iter(f"{_ODM}FormDef")}
    project = SandboxProject(
        title=root.findtext(f"{_ODM}Study/{_ODM}GlobalVariables/{_ODM}StudyName", path.stem),
        fields=fields_by_name(_fields(version, forms)),
        events=events,
        designations=_designations(version, forms),
        repeating=_repeating(root),
        dags=tuple(_group(element.get("group_name", "")) for element in root.iter(f"{_REDCAP}DataAccessGroups")),
        form_labels={forms[form.get("OID", "")]: form.get("Name", "") for form in version.iter(f"{_ODM}FormDef")},
    )
    for subject in root.iter(f"{_ODM}SubjectData"):
        _subject(project, subject, forms)
    return project


def _event(element: Element) -> Event:
    return Event(
        unique_name=element.get(f"{_REDCAP}UniqueEventName") or element.get("OID", "").removeprefix("Event."),
        name=element.get(f"{_REDCAP}EventName", ""),
        arm=_number(element, f"{_REDCAP}ArmNum"),
        arm_name=element.get(f"{_REDCAP}ArmName", ""),
    )


def _number(element: Element, attribute: str) -> int:
    text = element.get(attribute) or "1"
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII):
        raise ValueError(
            f"the project XML has {text!r} as {attribute.partition('}')[2] or attribute}; export it from REDCap again"
        )
    return int(text)


def _designations(version: Element, forms: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {
        _event(element).unique_name: tuple(
            name
            for ref in element.iter(f"{_ODM}FormRef")
            if (name := ref.get(f"{_REDCAP}FormName") or forms.get(ref.get("FormOID", "")))
        )
        for element in version.iter(f"{_ODM}StudyEventDef")
    }


def _repeating(root: Element) -> dict[str, tuple[str, ...]]:
    repeating: dict[str, tuple[str, ...]] = {}
    for element in root.iter(f"{_REDCAP}RepeatingEvent"):
        repeating[element.get(f"{_REDCAP}UniqueEventName") or CLASSIC_EVENT] = ()
    for element in root.iter(f"{_REDCAP}RepeatingInstrument"):
        event = element.get(f"{_REDCAP}UniqueEventName") or CLASSIC_EVENT
        repeating[event] = (*repeating.get(event, ()), element.get(f"{_REDCAP}RepeatInstrument", ""))
    return repeating


def _group(name: str) -> str:
    """The unique name of a data access group: lower case, blanks as underscores, nothing but word characters."""
    return re.sub(r"[^a-z0-9_]", "", name.lower().replace(" ", "_"))[:18]


def _fields(version: Element, forms: dict[str, str]) -> Iterator[Field]:
    """The fields in the order of their forms, each checkbox once although it has an ItemDef for every choice."""
    items = {item.get("OID", ""): item for item in version.iter(f"{_ODM}ItemDef")}
    groups = {group.get("OID", ""): group for group in version.iter(f"{_ODM}ItemGroupDef")}
    lists = {codes.get("OID", ""): codes for codes in version.iter(f"{_ODM}CodeList")}
    seen: set[str] = set()
    for form in version.iter(f"{_ODM}FormDef"):
        name = forms[form.get("OID", "")]
        for group_ref in form.iter(f"{_ODM}ItemGroupRef"):
            group = groups.get(group_ref.get("ItemGroupOID", ""))
            for ref in group.iter(f"{_ODM}ItemRef") if group is not None else ():
                item = items.get(ref.get("ItemOID", ""))
                if item is None:
                    continue
                variable = item.get(f"{_REDCAP}Variable", "")
                if variable not in seen and variable != _GROUP:
                    seen.add(variable)
                    yield _field_of_item(item, variable, name, lists)


def _field_of_item(item: Element, variable: str, form: str, lists: dict[str, Element]) -> Field:
    kind = item.get(f"{_REDCAP}FieldType", "text")
    validation = item.get(f"{_REDCAP}TextValidationType", "")
    return Field(
        name=variable,
        form=form,
        type=_TYPES.get(kind, kind),
        label=item.findtext(f"{_ODM}Question/{_ODM}TranslatedText", ""),
        choices=item.get(f"{_REDCAP}Calculation") or _choices(item, lists),
        validation=_VALIDATIONS.get(validation, validation),
        identifier=item.get(f"{_REDCAP}Identifier", "") == "y",
        required=item.get(f"{_REDCAP}RequiredField", "") == "y",
        other={column: item.get(f"{_REDCAP}{name}", "") for name, column in _COLUMNS.items()} | _range(item),
    )


def _range(item: Element) -> dict[str, str]:
    bounds = {"GE": "text_validation_min", "LE": "text_validation_max"}
    return {
        bounds[check.get("Comparator", "")]: check.findtext(f"{_ODM}CheckValue", "")
        for check in item.iter(f"{_ODM}RangeCheck")
        if check.get("Comparator") in bounds
    }


def _choices(item: Element, lists: dict[str, Element]) -> str:
    if item.get(f"{_REDCAP}FieldType") in ("yesno", "truefalse"):  # listed in the XML, empty in the dictionary
        return ""
    ref = item.find(f"{_ODM}CodeListRef")
    codes = lists.get(ref.get("CodeListOID", "")) if ref is not None else None
    if codes is None:
        return ""
    if checkbox := codes.get(f"{_REDCAP}CheckboxChoices"):
        return " | ".join(choice.strip() for choice in checkbox.split("|"))
    return " | ".join(
        f"{code.get('CodedValue', '')}, {code.findtext(f'{_ODM}Decode/{_ODM}TranslatedText', '')}"
        for code in codes.iter(f"{_ODM}CodeListItem")
    )


def _subject(project: SandboxProject, subject: Element, forms: dict[str, str]) -> None:
    record = subject.get("SubjectKey", "")
    visits = subject.findall(f"{_ODM}StudyEventData")
    for visit in visits or [subject]:
        event = visit.get(f"{_REDCAP}UniqueEventName") or visit.get("StudyEventOID", "").removeprefix("Event.")
        event = event or project.events[0].unique_name
        if event not in project.event_names:
            continue
        visit_number = _number(visit, "StudyEventRepeatKey")
        for data in visit.iter(f"{_ODM}FormData"):
            form = forms.get(data.get("FormOID", ""), "")
            repeats = project.repeats(event, form)
            number = _number(data, "FormRepeatKey") if repeats else visit_number
            _form(project, record, RowKey(event) if repeats is None else RowKey(event, repeats, number), data)


def _form(project: SandboxProject, record: str, key: RowKey, data: Element) -> None:
    project.store.make_row(record, key)
    for item in data.iter(f"{_ODM}ItemData"):
        name, value = item.get("ItemOID", ""), item.get("Value", "")
        if name == _GROUP:
            if value:
                project.store.dags[record] = value
        elif value and not (name in project.fields and project.fields[name].type == "calc"):  # REDCap calculates it itself
            project.store.set_value(record, key, name, value)
    for item in data.iter(f"{_ODM}ItemDataBase64Binary"):
        try:
            content = base64.b64decode(item.text or "")
        except binascii.Error as error:
            raise ValueError(f"the file of record {record!r} in the project XML is damaged ({error})") from error
        name, filename = item.get("ItemOID", ""), item.get(f"{_REDCAP}DocName", "file")
        project.store.put_bytes(record, key, name, filename, content)


BASELINE = "baseline_arm_1"
MONTH_6 = "month_6_arm_1"


def _file(name: str, form: str, label: str, *, signature: bool = False, identifier: bool = False) -> Field:
    return Field(name, form, "file", label, validation="signature" if signature else "", identifier=identifier)


def demo_project() -> SandboxProject:
    """A small longitudinal trial with the records 101 to 120.

    `demographics` (record_id, initials, mrn, sex, referral_letter) at baseline only; `consent` (consent_pdf,
    consent_signature) and `imaging` (scan_date, scan) at both events; `laboratory` (lab_date, lab_report) repeats at both.
    """
    fields = [
        Field("record_id", "demographics", label="Study ID"),
        Field("initials", "demographics", label="Initials", identifier=True),
        Field("mrn", "demographics", label="Medical record number", identifier=True),
        Field("sex", "demographics", "radio", "Sex", "1, Female | 2, Male"),
        _file("referral_letter", "demographics", "Referral letter", identifier=True),
        Field("consent_date", "consent", label="Date of consent", validation="date_ymd"),
        _file("consent_pdf", "consent", "Signed consent (PDF)"),
        _file("consent_signature", "consent", "Signature", signature=True),
        Field("scan_date", "imaging", label="Date of scan", validation="date_ymd"),
        _file("scan", "imaging", "Scan"),
        Field("lab_date", "laboratory", label="Date of sample", validation="date_ymd"),
        _file("lab_report", "laboratory", "Laboratory report"),
    ]
    project = SandboxProject(
        title="Demo trial",
        fields=fields_by_name(fields),
        events=(Event(BASELINE, "Baseline", 1, "Arm 1"), Event(MONTH_6, "Month 6", 1, "Arm 1")),
        designations={
            BASELINE: ("demographics", "consent", "imaging", "laboratory"),
            MONTH_6: ("consent", "imaging", "laboratory"),
        },
        repeating={BASELINE: ("laboratory",), MONTH_6: ("laboratory",)},
        project_id=42,
    )
    _people(project, range(101, 121), BASELINE)
    return project


def classic_project() -> SandboxProject:
    """A project without events: one form (record_id, initials, mrn, consent_pdf, signature, scan), records 1 to 10."""
    fields = [
        Field("record_id", "registration", label="Record ID"),
        Field("initials", "registration", label="Initials", identifier=True),
        Field("mrn", "registration", label="Medical record number", identifier=True),
        _file("consent_pdf", "registration", "Signed consent (PDF)"),
        _file("signature", "registration", "Signature", signature=True),
        _file("scan", "registration", "Scan"),
    ]
    project = SandboxProject(title="Demo registry", fields=fields_by_name(fields), project_id=43)
    _people(project, range(1, 11), CLASSIC_EVENT)
    return project


def _people(project: SandboxProject, numbers: range, event: str) -> None:
    """Made-up people, the same each time."""
    for number in numbers:
        initials = chr(65 + number * 7 % 26) + chr(65 + number * 11 % 26)
        for name, value in {"record_id": str(number), "initials": initials, "mrn": f"{number * 7919:07d}"}.items():
            project.store.set_value(str(number), RowKey(event), name, value)
