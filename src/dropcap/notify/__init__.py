"""Notifications: what is told, to whom, and its way there. Nothing of it stands in a file's way."""
