"""The page's server: a thread with an event loop of its own, beside the work."""

from __future__ import annotations


class DashboardServer:
    def stop(self) -> None:
        """End it."""
