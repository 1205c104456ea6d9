"""Where the ledger is: a file in the state directory, or a PostgreSQL database that several hosts share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dropcap.config.secret_file import SecretError
from dropcap.config.telling import SecretPlace
from dropcap.config.values import is_loopback
from dropcap.secret import Password

PORT = 5432
LEASE = 60.0
#: Modes in which the client looks whether the server is the one that was meant.
_VERIFYING = ("verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class SqliteLedger:
    """The ledger in `state_dir`, for one host."""

    def __str__(self) -> str:
        return "sqlite"


@dataclass(frozen=True, slots=True)
class PostgresLedger:
    """A ledger on PostgreSQL. `hosts` are tried in their order; one that begins with `/` is a directory with a socket."""

    hosts: tuple[tuple[str, int], ...]
    user: str
    database: str
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # of libpq, as they stand in the URL
    secret: SecretPlace | None = None  # None: the database asks for no password, or `passfile` names a file that has it
    lease: float = LEASE  # seconds for which a host has a folder after its last beat

    def conninfo(self) -> dict[str, str]:
        """What libpq needs to know of the database, but for the password."""
        several = {"target_session_attrs": "read-write"} if len(self.hosts) > 1 else {}
        return {
            "host": ",".join(host for host, _ in self.hosts),
            "port": ",".join(str(port) for _, port in self.hosts),
            "user": self.user,
            "dbname": self.database,
            **several,
            **self.options,
        }

    def password(self) -> Password | None:
        """The password, read afresh; None if none is to be shown. Raises SecretError."""
        if self.secret is None:
            return None
        text = self.secret.read().reveal()
        if not text.isprintable():
            raise SecretError(
                f"{self.secret} does not hold a password in one line", "write the password into it, and nothing else"
            )
        return Password(text)

    @property
    def verified(self) -> bool:
        """Whether nobody on the way can stand in for the database."""
        if self.options.get("sslmode") in _VERIFYING:
            return True
        if self.options.get("sslrootcert") == "system" and "sslmode" not in self.options:  # libpq verifies all then
            return True
        return all(host.startswith("/") or is_loopback(host) for host, _ in self.hosts)

    def __str__(self) -> str:
        """For people: without options."""
        names = ",".join(_authority(host, port) for host, port in self.hosts)
        return f"postgresql://{self.user}@{names}/{self.database}"


LedgerAt = SqliteLedger | PostgresLedger


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
