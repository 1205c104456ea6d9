"""Projects from REDCap's project XML (CDISC ODM with extensions of its own)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from redcap_sandbox.store import RowKey
from redcap_sandbox.structure import CLASSIC_EVENT, Event, Field, SandboxProject, fields_by_name

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

Element = Any  # of xml.etree, which defusedxml builds


def from_xml(path: str | Path) -> SandboxProject:
    """The project with its events, designations, repeating instruments and events, groups, records and files.

    Raises ValueError if the file is no project XML or is hostile (entities), OSError if it cannot be read.
    """
    path = Path(path)
    try:
        root: Element = ElementTree.parse(path).getroot()
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
                    yield _field(item, variable, name, lists)


def _field(item: Element, variable: str, form: str, lists: dict[str, Element]) -> Field:
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
        elif value:
            project.store.set_value(record, key, name, value)
    for item in data.iter(f"{_ODM}ItemDataBase64Binary"):
        try:
            content = base64.b64decode(item.text or "")
        except binascii.Error as error:
            raise ValueError(f"the file of record {record!r} in the project XML is damaged ({error})") from error
        name, filename = item.get("ItemOID", ""), item.get(f"{_REDCAP}DocName", "file")
        project.store.put_bytes(record, key, name, filename, content)
