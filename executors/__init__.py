"""Visual Search Flows: self-hosted visual search as declarative Jina flows."""

import os

__version__ = "0.1.0"

# Without this variable, ONNX Runtime collects telemetry and tries to send it to its maker. It reads the variable on import.
# Commands such as `visual-search models build` import it too, without executors.bootstrap, which only flow files import.
# Only this package is imported before it in every case.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
