"""All questions to the ledger in one: for intake, delivery and people. Never writes, may run beside a daemon."""

from __future__ import annotations

from dropcap.ledger.delivery_query import DeliveryQuery
from dropcap.ledger.hosts_query import HostsQuery
from dropcap.ledger.intake_query import IntakeQuery
from dropcap.ledger.people_query import PeopleQuery, WantedJobs

__all__ = ["Query", "WantedJobs"]


class Query(IntakeQuery, DeliveryQuery, PeopleQuery, HostsQuery):
    """Read access, one connection a thread, closed some time after its end."""
