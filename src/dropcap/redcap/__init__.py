"""REDCap's API over HTTP, and what its replies mean."""
