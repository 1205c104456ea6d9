"""The way to the database that the configuration names."""

from __future__ import annotations

from typing import Any

from psycopg.conninfo import make_conninfo

from dropcap.config.ledger_at import PostgresLedger
from dropcap.config.secret_file import SecretError
from dropcap.ledger.errors import Unavailable
from dropcap.ledger.postgres.connection import Connect
from dropcap.ledger.postgres.wire import open_wire


def connecting(ledger: PostgresLedger, application: str) -> Connect:
    """How to connect there, the password read afresh each time: a renewed one is taken up by itself.

    What it makes raises psycopg.Error, and Unavailable where the password cannot be had.
    """

    def connect() -> Any:
        try:
            password = ledger.password()
        except SecretError as error:
            raise Unavailable(str(error)) from None
        secret = {} if password is None else {"password": password.reveal()}
        return open_wire(make_conninfo(**ledger.conninfo(), **secret), application)

    return connect
