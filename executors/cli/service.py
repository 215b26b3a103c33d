"""The service that a command uses: its client, and the wait until it is ready."""

from __future__ import annotations

import argparse
import asyncio

from executors.client import VisualSearchClient
from executors.errors import VisualSearchError
from executors.hosts import reachable_host
from executors.settings import read_settings


def client_for(options: argparse.Namespace) -> VisualSearchClient:
    """Make the client from the options `--url` and `--timeout`, with the key in VS_API_KEY.

    Raises:
        VisualSearchError: `invalid_parameter` if the URL is invalid, `invalid_setting`.
    """
    key = read_settings().api_key
    return VisualSearchClient(
        options.url or default_url(), timeout_s=options.timeout, api_key=key.get_secret_value() if key else None
    )


def default_url() -> str:
    """The URL of the flow, by the settings.

    Raises:
        VisualSearchError: `invalid_setting`.
    """
    chosen = read_settings()
    return f"http://{reachable_host(chosen.host)}:{chosen.http_port}"


async def ready_index_uuid(client: VisualSearchClient) -> str:
    """Wait until the service is ready (10 seconds at most), and return the identity of its index.

    Raises:
        VisualSearchError: `unavailable` if no service answers; `not_ready`, with the reason.
    """
    for _ in range(20):
        status = await client.status(attempts=1)
        uuid = (status.get("index") or {}).get("uuid")
        if uuid and status.get("ready", True):
            return str(uuid)
        await asyncio.sleep(0.5)
    reason = status.get("reason") or {}
    raise VisualSearchError("not_ready", f"the service is not ready: {reason.get('message', 'it gives no reason')}")
