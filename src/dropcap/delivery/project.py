"""The line to one REDCap project: its client and what is known of its structure."""

from __future__ import annotations

import threading
import time

from dropcap.config.model import Project
from dropcap.config.token_source import TokenError
from dropcap.delivery.outcome import Refused
from dropcap.redcap.client import Redcap, RedcapError
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.structure import ProjectStructure

#: Seconds for which a project's structure is taken as known.
KNOWN_FOR = 3600.0


class ProjectLine:
    """One project's client, with its structure fetched when it is first needed."""

    def __init__(self, project: Project, client: Redcap) -> None:
        self.project = project
        self.client = client
        self._lock = threading.Lock()
        self._structure: ProjectStructure | None = None
        self._since = 0.0

    @property
    def host(self) -> str:
        """The server, as it is paused and limited."""
        return self.project.host

    @property
    def must_be_known(self) -> bool:
        """Whether the project must be identified before anything is sent."""
        return self.project.project_id is not None

    def structure(self) -> ProjectStructure:
        """The project's fields, events and forms; from memory for an hour.

        Raises:
            RedcapError: REDCap did not answer, or the token belongs to another project than `project_id`.
        """
        with self._lock:
            if self._structure is None or time.monotonic() - self._since > KNOWN_FOR:
                structure = ProjectStructure.from_api(self.client)
                wanted = self.project.project_id
                if wanted is not None and structure.project.project_id != wanted:
                    raise RedcapError(
                        Meaning(
                            Verdict.PROJECT,
                            "project_mismatch",
                            f"the token of `{self.project.name}` belongs to REDCap project {structure.project.project_id},"
                            f" the configuration says {wanted}",
                            "put the token of the right project in place, or correct project_id",
                        )
                    )
                self._structure, self._since = structure, time.monotonic()
            return self._structure

    def token_stamp(self) -> int | None:
        """Something that changes when the token does, and tells nothing of it; None while it cannot be read."""
        try:
            return hash(self.project.token_source.read())
        except TokenError:
            return None

    def known(self) -> bool:
        """Whether the structure is in memory."""
        return self._structure is not None

    def forget(self) -> None:
        """Fetch the structure anew when it is next needed: a field, event or right was not as expected."""
        with self._lock:
            self._structure = None

    def refuses(self, size: int, upload_as: str) -> Refused | None:
        """Why a file is not worth sending: it is empty, larger than the server takes, or of a kind that REDCap refuses."""
        if size == 0:
            return Refused("empty_file", "the file is empty", "drop the file again, with its content")
        if size > self.project.max_size:
            most = self.project.max_size / 1024**2
            message = f"the file has {size / 1024**2:,.1f} MiB, and max_size allows {most:,.1f} MiB"
            return Refused(
                "too_large", message, "make the file smaller, or let REDCap's administrator raise the limit, then max_size"
            )
        extension = upload_as.rpartition(".")[2].lower() if "." in upload_as else ""
        if extension in self.project.blocked_extensions:
            message = f"REDCap takes no files that end in `.{extension}`"
            return Refused("blocked_extension", message, "pack the file (zip, say) or convert it, then drop that")
        return None
