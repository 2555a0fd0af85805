"""Reports: figures, one-file HTML pages, tables of results."""
