"""Figures for Prometheus: as a text file for node_exporter, and as the page /metrics."""
