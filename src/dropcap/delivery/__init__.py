"""From a claimed file to REDCap: order, fairness, retries, pauses, confirmation."""
