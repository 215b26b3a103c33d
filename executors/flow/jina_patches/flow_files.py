"""Changes to how Jina loads a flow file: the file is checked, its variables are set, and its stages are prepared."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any, Final

import jina.jaml.helper as jaml_helper
import jina.orchestrate.flow.base as flow_base
import jina.serve.runtimes.asyncio as runtimes
from jina import Flow
from jina.enums import FlowBuildLevel
from jina.jaml.parsers.flow.v1 import V1Parser
from jina.orchestrate.deployments import Deployment

from executors.devices import VARIABLE, Gpus, check_devices, invalid_devices, list_gpus
from executors.errors import VisualSearchError
from executors.flow.exposure import check_exposure
from executors.flow.paths import is_flow_path
from executors.flow.readiness import GATEWAY
from executors.flow.stages import prepare_stages
from executors.flow.validation import check_flow
from executors.flow.variables import set_flow_variables
from executors.hosts import address_fault, listening_fault
from executors.settings import read_settings

_NVIDIA_SMI_S: Final = 20.0


def take_any_path() -> None:
    """Let Jina accept flow files in any folder; its own pattern allows no space and no bracket in a path."""
    jaml_helper.is_yaml_filepath = is_flow_path


def check_flow_files() -> None:
    """Check every flow file when it is loaded, and set its variables again each time."""
    parse = V1Parser.parse
    load = Flow.load_config.__func__

    def checked_parse(self: V1Parser, cls: type, data: dict[str, Any], runtime_args: Any = None) -> Any:
        # Jina itself adds the search path to the content of the file.
        check_flow(data)
        prepare_stages(data)
        return parse(self, cls, data, runtime_args)

    def load_config(cls: type[Flow], *args: Any, **kwargs: Any) -> Any:
        set_flow_variables()
        return load(cls, *args, **kwargs)

    V1Parser.parse = checked_parse
    Flow.load_config = classmethod(load_config)


def check_ports() -> None:
    """Refuse an address or port that is not available before any stage starts; the error names its setting.

    Jina's own check names no setting and does not know IPv6.
    """
    start = Flow.start

    def start_checked(self: Flow) -> Any:
        self._start_time = time.time()  # Jina reads it when a start has failed
        if self._build_level.value < FlowBuildLevel.GRAPH.value:
            self.build(copy_flow=False)
        gateway = self._deployment_nodes["gateway"].args
        chosen = read_settings()
        if (fault := address_fault(gateway.host)) is not None:
            name = "VS_HOST" if gateway.host == chosen.host else "gateway.host"
            message = f"{name}: {fault}; set it to an address of this machine, such as 127.0.0.1"
            raise VisualSearchError("invalid_setting", message, variables=[name])
        if gateway.uses == GATEWAY:
            check_exposure(gateway.host, chosen)
        names = {chosen.http_port: "VS_HTTP_PORT", chosen.grpc_port: "VS_GRPC_PORT"}
        ports = list(gateway.port)
        if chosen.metrics_port is not None and gateway.uses == GATEWAY:
            names[chosen.metrics_port] = "VS_METRICS_PORT"
            ports.append(chosen.metrics_port)
        for port in ports:
            if (fault := listening_fault(gateway.host, port)) is not None:
                name = names.get(port, "gateway.port")
                way_out = f"end that one, or set another {name}" if "is taken" in fault else f"set another {name}"
                message = f"{name}: {fault}; {way_out}"
                raise VisualSearchError("invalid_setting", message, variables=[name])
        return start(self)

    Flow.start = start_checked
    flow_base.is_port_free = runtimes.is_port_free = _are_free


def _are_free(host: str | list[str], ports: int | list[int]) -> bool:
    """Return whether nothing listens on the ports."""
    hosts = host if isinstance(host, list) else [host]
    numbers = ports if isinstance(ports, list) else [ports]
    return all(listening_fault(each, port) is None for each in hosts for port in numbers)


def check_round_robin() -> None:
    """Refuse GPUs that don't exist; Jina would raise a bare StopIteration, or run a replica on the CPU."""
    assign = Deployment._roundrobin_cuda_device

    def assign_checked(devices: str | None, replicas: int) -> dict[int, Any] | None:
        if not str(devices).startswith("RR"):
            return None
        gpus = _gpus()  # Jina runs nvidia-smi as well, but without a timeout
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
