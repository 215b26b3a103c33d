"""Published files of models: where they are, and how they get here."""
