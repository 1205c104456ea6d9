"""Two made-up projects to serve."""

from __future__ import annotations

from redcap_sandbox.store import RowKey
from redcap_sandbox.structure import CLASSIC_EVENT, Event, Field, SandboxProject, fields_by_name

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
