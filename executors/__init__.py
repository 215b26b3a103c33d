"""Visual Search Flows: self-hosted visual search as declarative Jina flows."""

import os

__version__ = "0.1.0"

# Before anything imports it: ONNX Runtime would write down who runs it on what, and try to send that to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
