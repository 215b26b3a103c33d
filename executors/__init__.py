"""Visual Search Flows: self-hosted visual search as declarative Jina flows."""

__version__ = "0.1.0"
