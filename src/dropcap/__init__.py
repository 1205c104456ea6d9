"""dropcap: drop a file, it lands in the right REDCap field."""

__version__ = "0.1.0"
