"""`python -m dropcap`."""

from dropcap.cli import main

main()
