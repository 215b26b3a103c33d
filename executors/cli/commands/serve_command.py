"""`visual-search serve`: start the flow in the foreground."""

from __future__ import annotations

import argparse

from executors.flow.serve import serve as run_flow


def serve(options: argparse.Namespace) -> int:
    """Run the flow until it is interrupted, and return its exit status."""
    return run_flow(options.flow)
