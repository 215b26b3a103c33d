"""Visual Search Flows: self-hosted visual search as declarative Jina flows."""
