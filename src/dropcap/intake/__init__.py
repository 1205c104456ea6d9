"""From a drop folder to claimed files: walk, watch, settle, claim, owner marker."""
