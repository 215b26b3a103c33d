"""What a flow file imports first (`metas: {py_modules: [executors.bootstrap]}`), so that a plain `jina flow` behaves.

Jina imports this module in the main process between two expansions of the file's variables. It gives them defaults,
keeps Jina from sending telemetry and from asking public services for its address, checks the flow file, bounds what Jina
would wait for without end, and makes failures and signals end the process cleanly. The pods inherit all of it.
"""

import ipaddress
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import jina.orchestrate.orchestrator as orchestrator
import jina.orchestrate.pods as pods
import jina.serve.executors
import yaml
from jina import Flow
from jina.excepts import BaseJinaException, RuntimeFailToStart
from jina.jaml.parsers.flow.v1 import V1Parser
from jina.orchestrate.deployments import Deployment
from jina.proto.jina_pb2_grpc import (
    JinaDataRequestRPCStub,
    JinaDiscoverEndpointsRPCStub,
    JinaInfoRPCStub,
    JinaRPCStub,
    JinaSingleDataRequestRPCStub,
    JinaSingleDocumentRequestRPCStub,
)
from jina.serve.executors.run import run
from jina.serve.networking.connection_stub import _ConnectionStubs

from executors.embed.backends import install_triton
from executors.embed.devices import parse_device
from executors.errors import VisualSearchError
from executors.flowfile import check_flow
from executors.forking import end_at_signals, held_while
from executors.gateway.outgoing import note_call
from executors.log_repeats import limit_repeats
from executors.roundrobin import VARIABLE, Gpus, check_devices, invalid_devices, list_gpus, requested_devices
from executors.settings import read_settings, with_flow_backend, with_flow_store

_PARENT_CHECK_S = 1.0
_STOP_S = 10.0
_NVIDIA_SMI_S = 20.0
_EMBEDDER = "executors.embed.executor.ImageEmbedder"
_INDEX = "executors.index.executor.IndexShard"


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
    if chosen.log_format == "json":
        os.environ["JINA_LOG_CONFIG"] = "json"
    elif not sys.stdout.isatty():
        # A log file gets a line an event, not one that is wrapped to the width of a terminal.
        os.environ.setdefault("JINA_LOG_CONFIG", "plain")


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            raise VisualSearchError("invalid_setting", f"VS_HOST: {host!r} is no address: {error}") from None


def quiet_libraries() -> None:
    """Silence what Jina's dependencies say at import and no user can act on; ask nobody for a public address."""
    for category in (DeprecationWarning, PendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    orchestrator.get_public_ip = lambda *_, **__: None


def end_cleanly() -> None:
    """Turn SIGTERM into what Ctrl-C does, and an expected failure into one line and exit status 1.

    Only where the flow is the program (`jina flow`, `visual-search serve`): a notebook or a script of the user's that
    loads a flow keeps its own signals and its own way to end.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    sys.excepthook = _say_in_one_line


def send_unmeasured() -> None:
    """Keep Jina from serialising every message twice more, only to know its size for metrics that nobody switched on.

    And note each call for the request that it is made for, so that it ends when its caller has gone.
    """
    measured = _ConnectionStubs.send_requests

    async def send_requests(self: _ConnectionStubs, requests: list[Any], **options: Any) -> Any:
        if self._metrics.send_requests_bytes_metrics or self._histograms.send_requests_bytes_metrics:
            return await measured(self, requests=requests, **options)
        if not self._initialized:
            await self._init_stubs()
        if len(requests) == 1:
            call = self.single_data_stub.process_single_data(requests[0], **options)
        else:
            call = self.data_list_stub.process_data(requests, **options)
        note_call(call)
        answered = await call.trailing_metadata()
        return await call, answered

    _ConnectionStubs.send_requests = send_requests


def run_watched(*args: Any, **kwargs: Any) -> None:
    """What a pod's process runs: Jina's own function, and beside it a watch over the main process."""
    end_at_signals(kwargs["is_shutdown"].set)
    _watch_parent()
    run(*args, **kwargs)


def end_interrupted_starts() -> None:
    """Have pods told to end whose start a signal interrupted: Jina waits for them, but tells only those that it has entered."""
    start, join = pods.Pod.start, pods.Pod.join

    def end(pod: pods.Pod) -> None:
        if pod.worker.is_alive():
            pod.worker.terminate()

    def end_and_join(pod: pods.Pod, *args: Any, **kwargs: Any) -> None:
        end(pod)
        join(pod, *args, **kwargs)

    pods.Pod.start = held_while(start, end)
    pods.Pod.join = end_and_join


def check_flow_files() -> None:
    """Have every flow file checked when it is loaded, and the variables set anew for each."""
    parse = V1Parser.parse
    load = Flow.load_config.__func__

    def checked_parse(self: V1Parser, cls: type, data: dict[str, Any], runtime_args: Any = None) -> Any:
        # The search path is Jina's own addition to what the file says.
        check_flow(data)
        prepare_stages(data)
        return parse(self, cls, data, runtime_args)

    def load_config(cls: type[Flow], *args: Any, **kwargs: Any) -> Any:
        set_flow_variables()
        return load(cls, *args, **kwargs)

    V1Parser.parse = checked_parse
    Flow.load_config = classmethod(load_config)


def prepare_stages(data: dict[str, Any]) -> None:
    """What has to be right before any stage starts: GPUs that the environment names are handed on, a store that is chosen
    has the settings that it needs, and a managed Triton is set up before its replicas wait for it.

    Raises:
        VisualSearchError: `triton_failed`, `invalid_setting`.
    """
    for executor in data.get("executors", data.get("deployments")) or []:
        variables = executor.get("env") or {}
        if VARIABLE in variables:
            variables[VARIABLE] = requested_devices(str(variables[VARIABLE]), os.environ.get(VARIABLE))
        if executor.get("uses") == _INDEX:
            with_flow_store(read_settings(), (executor.get("uses_with") or {}).get("store"))
        if executor.get("uses") == _EMBEDDER and not executor.get("external"):
            chosen = with_flow_backend(read_settings(), (executor.get("uses_with") or {}).get("backend"))
            if chosen.embed_backend == "managed-triton":
                assigned = Deployment._roundrobin_cuda_device(variables.get(VARIABLE), 1) or {}
                device = parse_device(str(assigned.get(0, variables.get(VARIABLE, ""))))
                install_triton(chosen, device, lambda line: print(line, file=sys.stderr, flush=True))


def check_round_robin() -> None:
    """Refuse GPUs that are not there: Jina's own answers are a bare StopIteration, or a replica that runs on the CPU."""
    assign = Deployment._roundrobin_cuda_device

    def assign_checked(devices: str | None, replicas: int) -> dict[int, Any] | None:
        if not str(devices).startswith("RR"):
            return None
        gpus = _gpus()  # before Jina asks the same question, without a limit of time
        try:
            assigned: dict[int, Any] | None = assign(devices, replicas)
        except (StopIteration, ValueError, TypeError):
            raise invalid_devices(str(devices), "it names no GPU of this machine") from None
        if assigned:
            check_devices(str(devices), assigned.values(), gpus)
        return assigned

    Deployment._roundrobin_cuda_device = staticmethod(assign_checked)


def _gpus() -> Gpus | None:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_NVIDIA_SMI_S, check=True)
    except subprocess.TimeoutExpired:
        message = f"nvidia-smi does not answer within {_NVIDIA_SMI_S:g} s; an empty {VARIABLE} means the CPU"
        raise VisualSearchError("invalid_setting", message, variables=[VARIABLE]) from None
    except (OSError, subprocess.SubprocessError):
        total = os.environ.get("CUDA_TOTAL_DEVICES", "")
        return Gpus(int(total)) if total.isdigit() else None
    return list_gpus(done.stdout)


def construct_side_by_side() -> None:
    """Let replicas load their models at the same time.

    Jina lets one replica of a class construct at a time, by a lock of all flows of this user: eight replicas would load
    eight models one after the other, and one that hangs would keep every later flow from starting, in silence.
    """
    jina.serve.executors.avoid_concurrent_lock_cls = lambda _: lambda function: function


def bound_first_contact() -> None:
    """Keep a hung pod from hanging its callers.

    On each new connection Jina first asks which services there are, without a deadline: a stopped process accepts the
    connection and never answers. All our pods offer the same services, so nothing is asked, and the deadline of the
    request itself holds from the first one on.
    """

    async def assume_all_services(self: _ConnectionStubs) -> None:
        self.data_list_stub = JinaDataRequestRPCStub(self.channel)
        self.single_data_stub = JinaSingleDataRequestRPCStub(self.channel)
        self.stream_doc_stub = JinaSingleDocumentRequestRPCStub(self.channel)
        self.stream_stub = JinaRPCStub(self.channel)
        self.endpoints_discovery_stub = JinaDiscoverEndpointsRPCStub(self.channel)
        self.info_rpc_stub = JinaInfoRPCStub(self.channel)
        self._initialized = True

    _ConnectionStubs._init_stubs = assume_all_services


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, VisualSearchError):
        print(f"error: {error}", file=sys.stderr)
    elif isinstance(error, RuntimeFailToStart):
        print("error: the flow could not start; a line above names the stage and the reason", file=sys.stderr)
    elif isinstance(error, yaml.YAMLError):
        print(f"error: invalid_flow: {' '.join(str(error).split())}", file=sys.stderr)
    elif isinstance(error, BaseJinaException):
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt):
        # Before the flow blocks, nobody catches this one: Jina would leave its pods behind.
        _stop_pods()
        os._exit(0)
    else:
        sys.__excepthook__(kind, error, trace)


def _stop_pods() -> None:
    pods = multiprocessing.active_children()
    for pod in pods:
        pod.terminate()
    deadline = time.monotonic() + _STOP_S
    for pod in pods:
        pod.join(max(0.0, deadline - time.monotonic()))
        if pod.is_alive():
            pod.kill()
            pod.join(1)
    sys.stdout.flush()
    sys.stderr.flush()


def _watch_parent() -> None:
    """In every pod: end when the main process is gone, even by kill -9, which Jina's pods would survive."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent.pid:
            time.sleep(_PARENT_CHECK_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


if Path(sys.argv[0]).name == "jina":
    end_cleanly()
pods.run = run_watched
end_interrupted_starts()
quiet_libraries()
check_flow_files()
check_round_robin()
construct_side_by_side()
bound_first_contact()
send_unmeasured()
limit_repeats()
set_flow_variables()
