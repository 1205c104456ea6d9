"""dropcap: drop a file, it lands in the right REDCap field."""

import importlib

try:  # what is installed knows its version; a checkout is always about to be another one
    __version__: str = importlib.import_module("dropcap._build").VERSION
except ImportError:
    __version__ = "0.2.0.dev0+checkout"
