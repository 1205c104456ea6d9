"""What runs only when asked for, by DROPCAP_HEAVY=1."""

from __future__ import annotations

import os

import pytest

HEAVY = os.environ.get("DROPCAP_HEAVY") == "1"
#: For tests, or single parameters, that take long and say little more than their neighbours.
heavy = pytest.mark.skipif(not HEAVY, reason="only with DROPCAP_HEAVY=1")
