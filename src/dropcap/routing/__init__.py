"""From a file's name to its place in REDCap: patterns, tables, templates, rules. All pure."""
