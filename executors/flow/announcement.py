"""The log lines of a flow that has started: its addresses, its folders, and who may use it. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executors.hosts import is_everywhere, is_loopback, reachable_host
from executors.settings import Settings


def places(chosen: Settings) -> list[str]:
    """Return lines with the addresses of the service and the places of its data."""
    host, everywhere = reachable_host(chosen.host), is_everywhere(chosen.host)
    addresses = "address" if ":" in chosen.host else "IPv4 address"
    where = f" and at every other {addresses} of this machine" if everywhere else ""
    data = (
        f"in {chosen.workspace}"
        if chosen.store == "embedded"
        else f"in OpenSearch, {', '.join(chosen.opensearch_urls)}"
    )
    return [
        f"HTTP at http://{host}:{chosen.http_port} (described at /docs), gRPC at grpc://{host}:{chosen.grpc_port}{where}",
        f"the index is {data}; the models are in {chosen.models_dir}",
    ]


def access(chosen: Settings) -> tuple[bool, str]:
    """Return a line that says who may use the service.

    Returns:
        Whether the line is a warning, and the line.
    """
    if chosen.keys_file is not None:
        return False, f"callers need a key from {chosen.keys_file}"
    if is_loopback(chosen.host):
        return False, "no key is asked for: every program on this machine can read, write and delete"
    return True, (
        f"no key is asked for, and VS_HOST={chosen.host} is not loopback (VS_INSECURE=on): everyone who reaches this address"
        " can read, write and delete; make keys with `visual-search keys create` and set VS_KEYS_FILE"
    )


def readiness_line(seconds: float, reason: str | None) -> str:
    """Return a line that says whether the flow is ready, and after how many seconds; `reason` is why it is not ready."""
    if reason is None:
        return f"ready after {seconds:.1f} s"
    return f"all processes run, but the flow is not ready: {reason}"


def contents_line(index: Mapping[str, Any]) -> str | None:
    """Return a line with the contents of the index, by which an operator notices a wrong or emptied folder.

    Args:
        index: `index` of the status report.

    Returns:
        The line; None if the number of documents is not known.
    """
    documents, collections = index.get("documents"), index.get("collections") or []
    if documents is None:
        return None
    if not collections:
        return "the index is empty (if it held documents before, its folder was moved or removed: stop the flow and restore it)"
    return f"the index holds {documents:,} documents in {len(collections)} collection{'s' * (len(collections) > 1)}"


def short_line(chosen: Settings, seconds: float, reason: str | None) -> str:
    """Return the single line that a notebook shows."""
    where = f"http://{reachable_host(chosen.host)}:{chosen.http_port}"
    return f"{readiness_line(seconds, reason)}; {where}, {places(chosen)[1]}"
