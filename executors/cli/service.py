"""Which service a command talks to."""

from __future__ import annotations

import argparse

from executors.client import VisualSearchClient
from executors.hosts import reachable_host
from executors.settings import read_settings


def client_for(options: argparse.Namespace) -> VisualSearchClient:
    """The client that a command's options ask for.

    Raises:
        VisualSearchError: `invalid_parameter` for a URL that is none, `invalid_setting`.
    """
    return VisualSearchClient(options.url or default_url(), timeout_s=options.timeout)


def default_url() -> str:
    """The URL of the flow that the settings describe.

    Raises:
        VisualSearchError: `invalid_setting`.
    """
    chosen = read_settings()
    return f"http://{reachable_host(chosen.host)}:{chosen.http_port}"
