"""A REDCap stand-in on 127.0.0.1, for tests of programs that speak REDCap's API. README.md beside this file shows how.

What is named here is for use from outside; the modules are the package's own. It needs what `dropcap-redcap[sandbox]` installs.
"""

try:
    from redcap_sandbox.fault import KINDS, Fault
    from redcap_sandbox.multipart import Limits
    from redcap_sandbox.projects import classic_project, demo_project, from_dictionary, from_xml, load_records
    from redcap_sandbox.server import Sandbox
    from redcap_sandbox.stand_in import Request
    from redcap_sandbox.structure import Event, Field, Holding, Rights, RowKey, SandboxProject, fields_by_name
except ModuleNotFoundError as error:
    library = (error.name or "").partition(".")[0]
    lacks = f"the REDCap stand-in needs {library}; install it: pip install 'dropcap-redcap[sandbox]'"
    raise ModuleNotFoundError(lacks, name=error.name) from None

__all__ = [
    "KINDS",
    "Event",
    "Fault",
    "Field",
    "Holding",
    "Limits",
    "Request",
    "Rights",
    "RowKey",
    "Sandbox",
    "SandboxProject",
    "classic_project",
    "demo_project",
    "fields_by_name",
    "from_dictionary",
    "from_xml",
    "load_records",
]
