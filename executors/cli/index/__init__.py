"""`visual-search index`: from folders and files to acknowledged documents."""
