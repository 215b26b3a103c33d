"""Output to the terminal (consoles, tables, progress, questions), and the page of results."""
