"""What the sandbox says. Wordings seen in public documentation and clients of REDCap, and those made up here.

Nobody may depend on an invented one: the real server says something else there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    text: str
    invented: bool = False


WORDING: dict[str, Wording] = {
    "imported": Wording("File uploaded successfully"),
    "no_permission": Wording("You do not have permissions to use the API"),
    "no_import": Wording("You do not have API Import/Update privileges"),
    "no_export": Wording("You do not have API Export privileges", invented=True),
    "no_delete": Wording("You do not have Delete Record privileges"),
    "no_create": Wording("You do not have privileges to create records", invented=True),
    "not_implemented": Wording("The requested method is not implemented."),
    "bad_format": Wording("The format {value!r} is not known; use json, csv or xml", invented=True),
    "no_events": Wording("You cannot export events for classic projects"),
    "no_arms": Wording("You cannot export arms for classic projects"),
    "no_mapping": Wording("You cannot export form/event mappings for classic projects"),
    "no_repeating": Wording(
        "You cannot export repeating instruments and events because the project does not contain any repeating "
        "instruments and events"
    ),
    "not_a_file_field": Wording("The field '{field}' does not exist or is not a 'file' field"),
    "no_file": Wording("There is no file to download for this record"),
    "nothing_to_delete": Wording("There is no file to delete for this record"),
    "bad_content": Wording('The value of the parameter "content" is not valid'),
    "insufficient": Wording(
        "Insufficient user privileges: You must have 'API Export' privileges and '{right}' privileges in the project."
    ),
    "not_an_array": Wording('The "{name}" parameter has been provided with a value, but the value is not an array.'),
    "empty_file": Wording("The file is empty", invented=True),
    # Seen at imports of records; what a file is told there is not public.
    "locked": Wording("This field is located on a form that is locked. You must first unlock this form for this record."),
    "no_record": Wording('The record "{record}" does not exist'),
    "signature": Wording("The field '{field}' is a signature field; files cannot be imported into it", invented=True),
    "missing_parameter": Wording("The parameter '{name}' is missing", invented=True),
    "no_event": Wording("The event '{event}' does not exist in this project", invented=True),
    "not_designated": Wording("The field '{field}' is on no form of the event '{event}'", invented=True),
    "bad_instance": Wording("The repeat instance '{instance}' is not valid for this field", invented=True),
    "no_upload": Wording("No valid file was uploaded (upload error {code})", invented=True),
    "blocked_extension": Wording("Files of the type '{extension}' cannot be uploaded", invented=True),
    "deidentified": Wording("Your export rights do not cover the field '{field}'", invented=True),
    "form_rights": Wording("You have no rights to the form '{form}'", invented=True),
    "offline": Wording("The project is offline", invented=True),
    "archived": Wording("The project is archived and read-only", invented=True),
    "bad_values": Wording('The following values in the parameter "{name}" are not valid: {values}'),
    "bad_logic": Wording("The filter logic cannot be evaluated: {why}", invented=True),
    "unknown_fields": Wording("The following fields were not found in the project as real data fields: {fields}"),
    "bad_data": Wording("The data being imported was formatted incorrectly: {why}", invented=True),
    "file_value": Wording("The field '{field}' is a file field and cannot be imported as a record", invented=True),
    "bad_choice": Wording("The value '{value}' is not a valid choice of the field '{field}'", invented=True),
    "bad_record_name": Wording("The record name '{record}' is not valid", invented=True),
    "other_dag": Wording("The record '{record}' belongs to another data access group", invented=True),
    "records_missing": Wording(
        "One or more of the records provided cannot be deleted because they do not exist in the project. "
        "The following records do not exist: {records}"
    ),
    "banned": Wording("Your IP address ({address}) has been banned because of too many requests", invented=True),
    "several_tabs": Wording(
        "An unknown error has occurred. This may happen if you have opened multiple browser tabs", invented=True
    ),
    "database_down": Wording(
        "The hostname (db.example.org) / username (redcap) / password (hidden) combination could not connect to the "
        "database server",
        invented=True,
    ),
    "crashed": Wording("REDCap crashed due to an unexpected PHP fatal error!"),
    "php_warning": Wording(
        "<br />\n<b>Warning</b>:  Undefined array key in <b>/var/www/redcap/api/index.php</b> on line <b>1</b><br />\n",
        invented=True,
    ),
    "post_too_large": Wording(
        "<br />\n<b>Warning</b>:  POST Content-Length of {length} bytes exceeds the limit of {limit} bytes "
        "in <b>Unknown</b> on line <b>0</b><br />\n"
    ),
    "log_in": Wording("Please log in with your user name and password", invented=True),
    "maintenance": Wording("REDCap is undergoing maintenance", invented=True),
    "internal": Wording("An unknown error occurred", invented=True),
    "elsewhere": Wording("404 Not Found", invented=True),
    "too_many": Wording("Too many requests", invented=True),
    "too_large": Wording("Request entity too large", invented=True),
}


class ApiError(Exception):
    """A request that REDCap refuses: its HTTP status and the key of the wording."""

    def __init__(self, status: int, key: str, **values: object) -> None:
        self.status = status
        self.key = key
        super().__init__(WORDING[key].text.format(**values))
