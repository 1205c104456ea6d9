"""Files beneath a folder, reached without following a link and moved without replacing anything."""
