"""What to do where nothing may be written: remount it, or let the service's sandbox have it, which looks the same from inside."""

from __future__ import annotations

#: For people; `dropcap check` names the very line.
REMEDY = "remount it writable; under systemd, name it in ReadWritePaths= (`dropcap check` tells the line), then restart dropcap"
