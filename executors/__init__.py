"""Visual Search Flows: self-hosted visual search as declarative Jina flows."""

import os

__version__ = "0.1.0"

# ONNX Runtime would write down who runs it on what, and try to send that to its maker. It reads this when it is imported,
# which commands such as `visual-search models build` do as well, without executors.bootstrap: only flow files import that.
# This package is the one place that comes before every import of it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
