"""Dictionaries and records as REDCap and spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from redcap_sandbox import RowKey, from_dictionary, load_records

HEADING = (
    '"Variable / Field Name","Form Name","Section Header","Field Type","Field Label","Choices, Calculations, OR Slider Labels",'
    '"Field Note","Text Validation Type OR Show Slider Number"'
)
ROWS = 'record_id,labs,,text,"Study ID, as on the sheet",,,\nreport,labs,,file,"Laboratory\nreport",,,\n'


def _semicolons(text: str) -> str:
    return "\ufeff" + text.replace('","', '";"').replace("record_id,labs,,text,", "record_id;labs;;text;").replace(
        ",,,\n", ";;;\n"
    ).replace("report,labs,,file,", "report;labs;;file;")


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADING}\n{ROWS}",
        f"\ufeff{HEADING}\r\n{ROWS}",
        f"\n\n{HEADING}\n\n{ROWS}\n   \n,,,,,,,\n",
        _semicolons(f"{HEADING}\n{ROWS};;;;;;;\n"),
        "sep=;\n" + _semicolons(f"{HEADING}\n{ROWS}").removeprefix("\ufeff").replace("Choices;", "Choices,"),
        f"{HEADING}\n{ROWS}".replace('","', '"\t"')
        .replace(",labs,,text,", "\tlabs\t\ttext\t")
        .replace(",,,\n", "\t\t\t\n")
        # what stands in quotes keeps its commas
        .replace(",labs,,file,", "\tlabs\t\tfile\t"),
        # a row that is shorter or longer than the heading
        f"{HEADING}\n{ROWS}".replace(",,,\n", "\n", 1).replace(",,,\n", ",,,,,\n"),
    ],
    ids=["plain", "bom", "blank lines", "semicolons", "sep line", "tabs", "ragged"],
)
def test_a_dictionary_with_its_quirks(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dictionary.csv"
    path.write_text(text, encoding="utf-8", newline="")
    project = from_dictionary(path)
    assert [(field.name, field.form, field.type) for field in project.dictionary()] == [
        ("record_id", "labs", "text"),
        ("report", "labs", "file"),
    ]
    assert project.fields["record_id"].label == "Study ID, as on the sheet"
    assert project.fields["report"].label.split() == ["Laboratory", "report"]


def test_semicolons_with_commas_in_a_heading_without_quotes(tmp_path: Path) -> None:
    path = tmp_path / "dictionary.csv"
    path.write_text(HEADING.replace('","', ";").replace('"', "") + "\nrecord_id;labs;;radio;Sex;1, Female | 2, Male;;\n")
    assert from_dictionary(path).fields["record_id"].codes == {"1": "Female", "2": "Male"}


def test_the_line_of_a_mistake_is_told(tmp_path: Path) -> None:
    path = tmp_path / "dictionary.csv"
    path.write_text(f"{HEADING}\n{ROWS}\n,labs,,text,,,,\n")
    with pytest.raises(ValueError, match=r"^dictionary\.csv:6: the field's name or form is missing"):
        from_dictionary(path)


def test_records_with_the_same_quirks(tmp_path: Path) -> None:
    (tmp_path / "dictionary.csv").write_text(f"{HEADING}\n{ROWS}note,labs,,text,Note,,,\n")
    project = from_dictionary(tmp_path / "dictionary.csv")
    records = tmp_path / "records.csv"
    records.write_text('\ufeffrecord_id;note;report\r\n"007";"a; b";old.pdf\r\n;;\r\n\r\n8;;\r\n', encoding="utf-8", newline="")
    assert load_records(project, records) == 2
    row = project.store.row("007", RowKey(project.events[0].unique_name))
    assert row.values == {"record_id": "007", "note": "a; b"}
