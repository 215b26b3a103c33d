"""Sets the variables that flow files use, from the settings, and those that silence libraries."""

from __future__ import annotations

import ipaddress
import multiprocessing
import os
import socket
import warnings

from executors.errors import VisualSearchError
from executors.flow.log_configuration import configure_logs
from executors.flow.readiness import tell
from executors.settings import read_settings, unknown_variables


def set_flow_variables() -> None:
    """Set the variables that flow files use, from the settings and their defaults, and configure the logs.

    Raises:
        VisualSearchError: `invalid_setting`.
    """
    chosen = read_settings()
    _check_host(chosen.host)
    os.environ.update(
        VS_HOST=chosen.host,
        VS_PORTS=f"[{chosen.grpc_port}, {chosen.http_port}]",
        VS_REPLICAS=str(chosen.replicas),
        VS_SHARDS=str(chosen.shards),
        VS_INDEX_REPLICAS=str(chosen.index_replicas),
        VS_STAGE_TIMEOUT_MS=str(chosen.stage_timeout_ms),
        JINA_OPTOUT_TELEMETRY="1",
    )
    # The tokenizers would start threads of their own, in addition to those that the settings count.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # gRPC logs every connection that closes; errors reach us as exceptions.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    configure_logs(chosen.log_format)


def warn_of_unknown_variables() -> None:
    """Report misspelt settings, which have no effect. The main process does it once."""
    if multiprocessing.parent_process() is None:
        for line in unknown_variables():
            tell(line, is_warning=True)


def quiet_libraries() -> None:
    """Silence messages of Jina's dependencies at import, about which users can do nothing."""
    for category in (DeprecationWarning, PendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            raise VisualSearchError(
                "invalid_setting", f"VS_HOST: {host!r} is not an address: {error.strerror}"
            ) from None
