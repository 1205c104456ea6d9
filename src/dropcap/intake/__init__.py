"""From a drop folder to a claimed file."""
