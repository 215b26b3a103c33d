"""What a flow file imports first (`metas: {py_modules: [executors.bootstrap]}`), so that a plain `jina flow` behaves.

Jina imports this module in the main process between two expansions of the file's variables. It gives them defaults,
keeps Jina from sending telemetry and from asking public services for its address, checks the flow file, bounds what Jina
would wait for without end, and makes failures and signals end the process cleanly. The pods inherit all of it.
"""

import ipaddress
import multiprocessing
import os
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import jina.jaml.helper as jaml_helper
import jina.orchestrate.orchestrator as orchestrator
import jina.orchestrate.pods as pods
import jina.serve.executors
from jina.serve.executors.run import run

from executors.errors import VisualSearchError
from executors.flow.jina_patches.announcement import tell
from executors.flow.jina_patches.connections import bound_first_contact, listen_on_ipv6, reconnect_soon, send_unmeasured
from executors.flow.jina_patches.deliveries import leave_out_silent_replicas
from executors.flow.jina_patches.ending import end_cleanly
from executors.flow.jina_patches.flow_files import check_flow_files, check_ports, check_round_robin
from executors.flow.jina_patches.logs import (
    announce_truly,
    choose_log_format,
    format_jina_logs,
    leave_out_late_failures,
)
from executors.flow.jina_patches.parameters import check_parameters
from executors.flow.jina_patches.processes import end_interrupted_starts, end_when_nothing_answers, watch_parent
from executors.flow.log_format import leave_out_write_failures, write_json_lines
from executors.flow.log_repeats import limit_repeats
from executors.flow.paths import is_flow_path
from executors.flow.signals import end_at_signals
from executors.settings import read_settings, unknown_variables, wants_json


def set_flow_variables() -> None:
    """Set the variables that flow files use, from the settings (their defaults included).

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
    # The tokenizers' own threads would come beside those that are counted here.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # gRPC tells of every connection that closes; errors reach us as exceptions.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    choose_log_format(chosen.log_format)


def warn_of_unknown_variables() -> None:
    """Tell of a misspelt setting: it would have no effect, in silence. Once, by the main process."""
    if multiprocessing.parent_process() is None:
        for line in unknown_variables():
            tell(line, is_warning=True)


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            raise VisualSearchError("invalid_setting", f"VS_HOST: {host!r} is no address: {error.strerror}") from None


def quiet_libraries() -> None:
    """Silence what Jina's dependencies say at import and no user can act on; ask nobody for a public address."""
    for category in (DeprecationWarning, PendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    orchestrator.get_public_ip = lambda *_, **__: None


def run_watched(*args: Any, **kwargs: Any) -> None:
    """What a pod's process runs: Jina's own function, and beside it a watch over the main process."""
    end_at_signals(kwargs["is_shutdown"].set)
    if wants_json():  # inherited where the process was forked
        write_json_lines()
    watch_parent()
    run(*args, **kwargs)


def construct_side_by_side() -> None:
    """Let replicas load their models at the same time.

    Jina lets one replica of a class construct at a time, by a lock of all flows of this user: eight replicas would load
    eight models one after the other, and one that hangs would keep every later flow from starting, in silence.
    """
    jina.serve.executors.avoid_concurrent_lock_cls = lambda _: lambda function: function


if Path(sys.argv[0]).name == "jina":
    if wants_json():
        write_json_lines()
    end_cleanly()
jaml_helper.is_yaml_filepath = is_flow_path
pods.run = run_watched
end_interrupted_starts()
end_when_nothing_answers()
quiet_libraries()
check_flow_files(set_flow_variables)
check_round_robin()
check_ports()
format_jina_logs()
announce_truly()
leave_out_late_failures()
leave_out_write_failures()
construct_side_by_side()
bound_first_contact()
send_unmeasured()
limit_repeats()
reconnect_soon()
listen_on_ipv6()
leave_out_silent_replicas()
check_parameters()
set_flow_variables()
warn_of_unknown_variables()
