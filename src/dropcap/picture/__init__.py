"""What is so now, in one piece: for notifications, metrics and the operator's page."""
