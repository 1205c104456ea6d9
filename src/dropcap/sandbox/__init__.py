"""A REDCap stand-in on loopback, for the demo and for tests."""
