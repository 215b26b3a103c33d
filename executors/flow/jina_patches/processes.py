"""The processes of a flow: started so that a signal ends them, watched, and told of by name when one ends."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, Final

import jina.orchestrate.pods as pods
import jina.serve.executors
import uvloop
from jina import Flow
from jina.enums import PodRoleType
from jina.serve.executors.run import run
from jina.serve.runtimes.asyncio import AsyncNewLoopRuntime

from executors.flow.log_configuration import configure_logs
from executors.flow.log_format import write_json_lines
from executors.flow.losses import Part, Process, describe_end, loss_of
from executors.flow.preload import preload
from executors.flow.program import STOPPING, is_program
from executors.flow.signals import end_at_signals, held_while
from executors.settings import wants_json

_log = logging.getLogger(__name__)
_PARENT_CHECK_S: Final = 1.0
_LOOK_S: Final = 0.5
# A stop of the whole flow reaches the stages first, now and then.
_GRACE_S: Final = 0.2
# Longer than a stage needs to save what it holds; one that is still there hangs.
_STOP_S: Final = 30.0
_INDEX: Final = "executors.index.executor.IndexShard"
_PARTS: Final = {PodRoleType.GATEWAY: Part.GATEWAY, PodRoleType.HEAD: Part.HEAD}


def watch_pods() -> None:
    """Have each process of a flow watch over the main process, and end at a signal from its first moment on."""
    pods.run = run_watched


def run_watched(*args: Any, **kwargs: Any) -> None:
    """Run a pod in its process: Jina's own function, with a watch over the main process beside it, on uvloop."""
    end_at_signals(kwargs["is_shutdown"].set)
    if wants_json():  # inherited where the process was forked
        write_json_lines()
    watch_parent()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    run(*args, **kwargs)


def share_imports() -> None:
    """Import the modules of the stages before their processes are forked, where the flow is the program."""
    start = Flow.start

    def start_preloaded(self: Flow) -> Any:
        if is_program() and multiprocessing.get_start_method() == "fork":
            preload(str(stage.args.uses) for stage in self._deployment_nodes.values() if not stage.external)
        return start(self)

    Flow.start = start_preloaded


def name_processes() -> None:
    """Configure the logs of each process of a flow by its stage and replica, also if it was started by itself."""
    start = AsyncNewLoopRuntime.__init__

    def start_named(self: AsyncNewLoopRuntime, args: Any, *others: Any, **options: Any) -> None:
        configure_logs("json" if wants_json() else "text", args.name or "flow")
        start(self, args, *others, **options)

    AsyncNewLoopRuntime.__init__ = start_named


def construct_side_by_side() -> None:
    """Let replicas load their models at the same time.

    Jina lets one replica of a class construct at a time, by a lock of all flows of this user: eight replicas would load
    eight models one after the other, and one that hangs would keep every later flow from starting, without a word.
    """
    jina.serve.executors.avoid_concurrent_lock_cls = lambda _: lambda function: function


def end_interrupted_starts() -> None:
    """Have pods told to end whose start a signal interrupted: Jina waits for them, but tells only those that it has entered.

    One that is stopped (SIGSTOP) is woken up to hear it, and one that does not end is killed; Jina would wait for ever.
    """
    start, join, terminate, close = pods.Pod.start, pods.Pod.join, pods.Pod._terminate, pods.Pod.close

    def end(pod: pods.Pod) -> None:
        if pod.worker.is_alive():
            pod.worker.terminate()
            with suppress(ProcessLookupError):
                os.kill(pod.worker.pid, signal.SIGCONT)

    def end_and_join(pod: pods.Pod, *args: Any, **kwargs: Any) -> None:
        WATCH.forget(pod)
        end(pod)
        pod.worker.join(_STOP_S)
        if pod.worker.is_alive():
            pod.worker.kill()
        join(pod, *args, **kwargs)

    def terminate_and_wake(pod: pods.Pod) -> None:
        WATCH.forget(pod)
        terminate(pod)
        end(pod)

    def close_told(pod: pods.Pod) -> None:
        WATCH.forget(pod)
        close(pod)

    def start_watched(pod: pods.Pod) -> Any:
        started = interruptible(pod)
        WATCH.add(pod)
        return started

    interruptible = held_while(start, end)
    pods.Pod.start = start_watched
    pods.Pod.join = end_and_join
    pods.Pod._terminate = terminate_and_wake
    pods.Pod.close = close_told


def end_when_nothing_answers() -> None:
    """Have a program that is a flow end with status 1 once no request can be answered any more: Jina's would wait on."""
    block, leave = Flow.block, Flow.__exit__

    def leave_unwatched(self: Flow, *args: Any) -> Any:
        WATCH.forget_all()
        return leave(self, *args)

    def block_while_useful(self: Flow, stop_event: Any = None) -> None:
        over = WATCH.over if stop_event is None else stop_event
        WATCH.wake = over.set
        block(self, over)
        if WATCH.reason is not None and is_program():
            raise SystemExit(1)

    Flow.block = block_while_useful
    Flow.__exit__ = leave_unwatched


class ProcessWatch:
    """Tells of each process of a flow that ends without having been asked to."""

    def __init__(self) -> None:
        self._pods: list[pods.Pod] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.over = threading.Event()
        self.wake = self.over.set
        self.reason: str | None = None

    def add(self, pod: pods.Pod) -> None:
        """Watch a pod that has been started."""
        with self._lock:
            self._pods.append(pod)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="watch-processes", daemon=True)
                self._thread.start()

    def forget(self, pod: pods.Pod) -> None:
        """The pod is being stopped."""
        with self._lock:
            self._pods = [each for each in self._pods if each is not pod]

    def forget_all(self) -> None:
        """The flow is being stopped; another one may follow."""
        with self._lock:
            self._pods = []
        self.reason = None
        self.over.clear()

    def _watch(self) -> None:
        while True:
            with self._lock:
                watched = {pod.worker.sentinel: pod for pod in self._pods}
            if not watched:
                time.sleep(_LOOK_S)
                continue
            for sentinel in wait(list(watched), _LOOK_S):
                self._tell(watched[sentinel])

    def _tell(self, pod: pods.Pod) -> None:
        time.sleep(_GRACE_S)
        with self._lock:
            if STOPPING.is_set() or not any(each is pod for each in self._pods):
                return
            self._pods = [each for each in self._pods if each is not pod]
            living = [_process(each) for each in self._pods]
        was_ready, exit_code = pod.is_ready.is_set(), pod.worker.exitcode
        # Jina would wait for this one's word that it has ended: at a start until the time is over, at a stop for seconds.
        pod.is_shutdown.set()
        if not was_ready and not exit_code:
            return  # it could not start, and has said why
        loss = loss_of(_process(pod), living)
        _log.error("%s (process %d) %s; %s", pod.name, pod.worker.pid, describe_end(exit_code), loss.text)
        if loss.total and was_ready:
            if is_program() and self.reason is None:
                _log.error("the flow ends, since it can't answer anything any more: start it again")
            self.reason = f"{pod.name} {describe_end(exit_code)}"
            self.wake()


def _process(pod: pods.Pod) -> Process:
    args = pod.args
    stage, _, rest = str(pod.name).partition("/")
    part = _PARTS.get(args.pod_role, Part.HEAD if rest.startswith("uses") else Part.REPLICA)
    shard = int(args.shard_id) if getattr(args, "shards", 1) > 1 and rest.startswith("shard-") else None
    return Process(stage, part, shard, is_index=getattr(args, "uses", None) == _INDEX)


WATCH: Final = ProcessWatch()


def watch_parent() -> None:
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
