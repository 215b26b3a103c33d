"""Makes the client of the service that a command uses."""

from __future__ import annotations

import argparse

from executors.client import VisualSearchClient
from executors.hosts import reachable_host
from executors.settings import read_settings


def client_for(options: argparse.Namespace) -> VisualSearchClient:
    """Make the client from the options `--url` and `--timeout`.

    Raises:
        VisualSearchError: `invalid_parameter` if the URL is invalid, `invalid_setting`.
    """
    return VisualSearchClient(options.url or default_url(), timeout_s=options.timeout)


def default_url() -> str:
    """The URL of the flow, by the settings.

    Raises:
        VisualSearchError: `invalid_setting`.
    """
    chosen = read_settings()
    return f"http://{reachable_host(chosen.host)}:{chosen.http_port}"
