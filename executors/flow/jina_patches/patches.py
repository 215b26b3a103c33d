"""The list of all changes to Jina, and the only place that applies them. They are here because Jina is hardly maintained.

Before Jina is updated, go through the list: `when_gone` says what to do once Jina does the same by itself. A test compares
the list with the modules of this package and with the installed version of Jina.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from executors.flow.jina_patches import (
    connections,
    deliveries,
    flow_files,
    logs,
    messages,
    parameters,
    processes,
    shards,
    starts,
)

JINA_VERSION: Final = "3.34.0"


@dataclass(frozen=True, slots=True)
class Patch:
    """A change to Jina.

    Args:
        apply: makes the change; its docstring has the details.
        target: the part of Jina that is replaced.
        why: the fault that it mends.
        when_gone: the change in Jina that makes it unnecessary, and what to do then.
    """

    apply: Callable[[], None]
    target: str
    why: str
    when_gone: str


PATCHES: Final = (
    Patch(
        flow_files.take_any_path,
        "jaml.helper.is_yaml_filepath",
        "a flow file in a folder with a space or a bracket is not found",
        "delete it, here and in executors.flow.jina_home, when Jina takes any path",
    ),
    Patch(
        processes.watch_pods,
        "orchestrate.pods.run",
        "pods survive a main process that was killed, and lose signals that come before they listen",
        "delete `run_watched` when Jina's pods end with their parent",
    ),
    Patch(
        processes.share_imports,
        "Flow.start",
        "each process of a flow imports the same modules again: 100 MiB more, and a second more on two cores",
        "use Jina's own way to preload when it has one",
    ),
    Patch(
        processes.name_processes,
        "AsyncNewLoopRuntime.__init__",
        "no hook runs in each process before its stage starts, so the project's loggers have no handler there",
        "use Jina's hook instead; the logs still have to be configured",
    ),
    Patch(
        processes.end_interrupted_starts,
        "Pod.start, .join, ._terminate, .close",
        "a signal during the start leaves processes behind, and Jina waits for ever for a stopped one",
        "keep `WATCH.add` and `WATCH.forget`, delete the rest",
    ),
    Patch(
        processes.end_when_nothing_answers,
        "Flow.block, .__exit__",
        "a flow whose gateway or index has died runs on for ever and answers nothing",
        "delete it with `ProcessWatch.reason` when Flow.block ends for lost pods",
    ),
    Patch(
        processes.construct_side_by_side,
        "serve.executors.avoid_concurrent_lock_cls",
        "replicas load their models one after the other, across all flows of the user",
        "delete it when the lock is gone or can be switched off",
    ),
    Patch(
        starts.look_up_unknown_arguments_only,
        "helper.warn_unknown_args",
        "loading a flow file takes a third of a second longer",
        "delete it when Jina builds its table of arguments only for unknown ones",
    ),
    Patch(
        starts.make_no_snapshot_folders,
        "serve.runtimes.worker.request_handling.tempfile",
        "each process of a stage leaves an empty folder behind, wherever temporary files go",
        "delete it when Jina makes the folder for a snapshot, or removes it",
    ),
    Patch(
        starts.describe_documents_once,
        "what Jina calls of docarray: create_pure_python_type_model, BaseDoc.schema",
        "each shard describes the same document 68 times while the gateway waits: a third of a second",
        "delete it when Jina or docarray keeps these descriptions",
    ),
    Patch(
        flow_files.check_flow_files,
        "V1Parser.parse, Flow.load_config",
        "unknown keys of a flow file are silently ignored; variables are read once per process",
        "keep `prepare_stages` and `set_flow_variables` on a hook of Jina's; drop the check when Jina refuses unknown keys",
    ),
    Patch(
        shards.call_shards_directly,
        "Flow.start",
        "each request to shards passes two more processes, which cost more than the search itself",
        "delete it with `executors.gateway.flow.direct` when Jina's gateway calls shards itself",
    ),
    Patch(
        flow_files.check_round_robin,
        "Deployment._roundrobin_cuda_device",
        "a GPU that does not exist ends in a bare StopIteration, or in a replica on the CPU",
        "delete it when Jina names the GPU that is missing",
    ),
    Patch(
        flow_files.check_ports,
        "Flow.start, is_port_free of orchestrate.flow.base and serve.runtimes.asyncio",
        "the error for a taken address or port does not name its setting, and IPv6 is not checked",
        "keep the messages that name the setting",
    ),
    Patch(
        logs.format_jina_logs,
        "PlainFormatter and JsonFormatter of jina.logging.formatter",
        "lines have no time, are cut at 512 characters, and lose arguments and traces in JSON",
        "delete it when formatters can be named in Jina's log configuration",
    ),
    Patch(
        logs.announce_truly,
        "Flow._wait_until_all_ready, ._get_summary_table, print and Progress of orchestrate.flow.base",
        "Jina's panel names addresses where nothing listens, and is not a log line",
        "keep `announce` on a hook of Jina's",
    ),
    Patch(
        logs.leave_out_late_failures,
        "the lines that asyncio logs about Jina's tasks",
        "each request over its deadline leaves a traceback of a call whose failure was reported already",
        "delete it when Jina awaits the calls that it gives up",
    ),
    Patch(
        connections.ask_no_public_address,
        "orchestrate.orchestrator.get_public_ip",
        "loading a flow asks a public service for this machine's address",
        "delete it when Jina has a switch for that",
    ),
    Patch(
        connections.bound_first_contact,
        "_ConnectionStubs._init_stubs",
        "a process that hangs also hangs its callers: the first question on a connection has no deadline",
        "delete it when the first question on a connection has a deadline",
    ),
    Patch(
        connections.send_unmeasured,
        "_ConnectionStubs.send_requests",
        "every message is serialised twice more for metrics that are off, and calls outlive their caller",
        "keep `note_call`, which ends the calls of a caller that has gone",
    ),
    Patch(
        connections.carry_request_ids,
        "_ConnectionStubs.send_requests, process_data of HeaderRequestHandler and WorkerRequestHandler",
        "metadata of a request stays in the gateway, so no stage can log the id of the request",
        "use Jina's own way for metadata when it has one that passes heads; comes after `send_unmeasured`",
    ),
    Patch(
        messages.forget_sizes,
        "DataRequestProto.SerializeToString, .FromString of jina.proto.serializer",
        "the size of every message is written into the environment, where glibc keeps it: 2 GiB for a million searches",
        "delete it when Jina counts bytes elsewhere; keep `encoded_documents` for `write_documents_once`",
    ),
    Patch(
        messages.write_documents_once,
        "WorkerRequestHandler.replace_docs, and an attribute of DataRequest",
        "the documents of an answer are copied four times on their way into bytes",
        "delete it with `executors.document_bytes` when docarray writes as fast; comes after `forget_sizes`",
    ),
    Patch(
        connections.reconnect_soon,
        "GrpcConnectionPool.__init__",
        "gRPC waits up to two minutes before it tries again to reach a stage that was away",
        "delete it when the flow file can set the options for gateway and heads alike",
    ),
    Patch(
        connections.listen_on_ipv6,
        "GRPCServer.host",
        "an IPv6 address is joined to its port without brackets",
        "delete it when Jina writes the brackets",
    ),
    Patch(
        deliveries.leave_out_silent_replicas,
        "_ConnectionPoolMap._add_connection, _ReplicaList.close, GrpcConnectionPool._send_requests",
        "a replica that hangs gets its turn again and again, and every request waits for it",
        "keep all of it until Jina asks replicas whether they live",
    ),
    Patch(
        parameters.check_parameters,
        "BaseClient._get_requests",
        "a value that protobuf can't hold ends the caller's program with CancelledError",
        "delete it when Jina's clients raise ValueError; executors.documents calls it as well, for clients without a flow",
    ),
)
# These changes come before Jina is imported as a whole, so their modules apply them, not `apply`.
ELSEWHERE: Final = {
    "executors.flow.jina_command": "jina_cli._get_run_args: `jina flow` prints a logo and a table of its arguments first",
    "executors.flow.jina_home": "jaml.helper.is_yaml_filepath, and a cache folder where the home can't be written",
}


def apply() -> None:
    """Apply all changes, in the order of the list."""
    for patch in PATCHES:
        patch.apply()
