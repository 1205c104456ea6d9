"""The running service: start, stop, signals, systemd, control socket, log."""
