"""Where a file ends: done/, failed/, preserved/, and the page that says so."""
