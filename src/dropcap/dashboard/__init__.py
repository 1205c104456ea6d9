"""The operator's page: what is so now, why, and what can be done, in a browser. Runs beside the work, never in its way."""
