"""Published files of models: their sources, and their download."""
