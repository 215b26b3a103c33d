"""What a person sees: consoles, tables, progress, questions and the page of results."""
