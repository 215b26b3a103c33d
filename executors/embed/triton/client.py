"""The Triton client: a long-lived connection, one call, and the meaning of its failures. No other module calls a
server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeVar

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from executors.models.spec import Tower

T = TypeVar("T")

# Keep-alive detects a peer that vanished without closing (a host that lost power), within 15 s. gRPC sends at most two
# pings without data in between, which Triton's defaults accept; the monitor's checks are such data. The minimum between
# two attempts to connect is also the timeout of one attempt.
_CHANNEL: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 65_536),  # an error message has to fit
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

_LONGEST_TEXT: Final = 300
# Triton answers these with the same status as a server that can't be reached.
_BUSY: Final = re.compile(r"exceeds maximum queue size|request timeout expired", re.IGNORECASE)
# Of the Python backend, about one instance of a model; the others go on.
_BROKEN: Final = re.compile(r"stub process .*is not healthy", re.IGNORECASE)
_ERRORS: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
_NOT_LOADED: Final = re.compile(r"unknown model|not at ready state", re.IGNORECASE)


class FailureKind(StrEnum):
    """The kind of a failed call, as far as it matters for the next step."""

    UNREACHABLE = "unreachable"  # no connection, or it broke
    DEADLINE = "deadline"  # no answer in time
    BUSY = "busy"  # the server's queue is full
    REFUSED = "refused"  # the server answers, but without vectors: it has not, or no longer, the model that was checked
    SERVER_ERROR = "server_error"  # running the model failed there
    BROKEN = "broken"  # and the server reports that a process of the model is dead or hung; Triton never recovers it
    WRONG_ANSWER = "wrong_answer"  # vectors of another shape or type
    NO_SLOT = "no_slot"  # never sent: none of the calls in flight ended in time
    NOT_SENT = "not_sent"  # never sent: the server failed others while this one waited


class CallError(Exception):
    """A call that returned no vectors.

    Args:
        kind: the kind of failure.
        message: one line for the caller, without the server's words, which may contain its paths.
        server_text: the server's own words, for the operator.
    """

    def __init__(self, kind: FailureKind, message: str, server_text: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.server_text = server_text


def connect(url: str) -> Any:
    """A client for the running event loop; it connects at the first call, and again whenever the connection is lost."""
    return triton_aio.InferenceServerClient(url, channel_args=list(_CHANNEL))


class ThreadedClient:
    """The client's methods, run in a thread of its own: for the start, on an event loop that soon ends.

    On that loop, gRPC's asyncio client would read events of the serving loop of the same process.
    """

    def __init__(self, url: str) -> None:
        self._client = triton.InferenceServerClient(url, channel_args=list(_CHANNEL))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="triton-start")

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return partial(self._run, getattr(self._client, name))

    async def close(self) -> None:
        """Close the connection and end the thread."""
        self._client.close()
        self._thread.shutdown(wait=False)

    async def _run(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(method, *arguments, **options))


async def infer(client: Any, tower: Tower, inputs: NDArray[Any], seconds: float) -> NDArray[np.float32]:
    """Run a model on a server.

    Args:
        client: from `connect`.
        tower: names of the model, its version, and its tensors.
        inputs: N x `tower.input_shape` of `tower.input_type`; N as the server's model takes it.
        seconds: the deadline.

    Returns:
        N x D float32, read-only.

    Raises:
        CallError: there is no such array.
    """
    tensor = triton.InferInput(tower.input_name, inputs.shape, tower.input_type)
    tensor.set_data_from_numpy(inputs)
    wanted = [triton.InferRequestedOutput(tower.output_name)]
    result = await ask(client.infer, tower.name, [tensor], str(tower.version), wanted, seconds=seconds)
    return _vectors(result, tower, len(inputs))


async def ask(method: Callable[..., Awaitable[T]], *arguments: Any, seconds: float) -> T:
    """Call a method of a client with a deadline.

    Raises:
        CallError: for every failure.
    """
    try:
        return await method(*arguments, client_timeout=seconds)
    except InferenceServerException as error:
        raise _failure(str(error.status()), str(error.message()), seconds) from None
    except (grpc.aio.UsageError, grpc.aio.AioRpcError) as error:
        raise CallError(FailureKind.UNREACHABLE, "the connection was closed", str(error)) from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Closing a client cancels its calls in the same way as their callers would.
        raise CallError(FailureKind.UNREACHABLE, "the connection was closed") from None


def _failure(status: str, text: str, seconds: float) -> CallError:
    status = status.removeprefix("StatusCode.")
    lines = text.strip().splitlines()
    said = lines[0][:_LONGEST_TEXT] if lines else ""
    if status == "DEADLINE_EXCEEDED":
        return CallError(FailureKind.DEADLINE, f"no answer within {seconds:.3g} s", said)
    if _BUSY.search(text):
        return CallError(FailureKind.BUSY, "its queue is full", said)
    if _NOT_LOADED.search(text):
        return CallError(FailureKind.REFUSED, "it has not loaded the model", said)
    if status in ("UNAVAILABLE", "CANCELLED"):
        return CallError(FailureKind.UNREACHABLE, "it can't be reached", said)
    if _BROKEN.search(text):
        return CallError(FailureKind.BROKEN, "a process that runs the model is dead or hung", said)
    kind = FailureKind.SERVER_ERROR if status in _ERRORS else FailureKind.REFUSED
    return CallError(kind, f"it answered with the error {status}", said)


def _vectors(result: Any, tower: Tower, rows: int) -> NDArray[np.float32]:
    try:
        vectors = result.as_numpy(tower.output_name)
    except ValueError:  # fewer bytes than the shape needs
        vectors = None
    if vectors is None:
        raise CallError(FailureKind.WRONG_ANSWER, f"the answer has no output {tower.output_name!r}")
    expected = (rows, tower.dimension)
    if vectors.shape != expected or vectors.dtype != np.float32:
        message = f"the model returned {vectors.dtype} {list(vectors.shape)}, expected float32 {list(expected)}"
        raise CallError(FailureKind.WRONG_ANSWER, message)
    found: NDArray[np.float32] = vectors
    return found


def connection_of(client: Any) -> Any:
    """The `grpc.aio.Channel` of a client, for its state; tritonclient has no other way to it."""
    return client._channel
