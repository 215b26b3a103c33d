"""`visual-search index`: scans folders, sends their pictures, and removes documents whose files are gone."""
