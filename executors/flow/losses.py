"""The consequences for a flow when one of its processes ends. Pure functions."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Part(Enum):
    """The part that a process has in its stage."""

    GATEWAY = auto()
    HEAD = auto()  # or the merge: all requests to the stage's shards go through it
    REPLICA = auto()


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a flow.

    Args:
        stage: the name of its stage.
        part: its part in the stage.
        shard: the number of its shard; None for a stage without shards.
        is_index: whether it holds the index, or a shard of it.
    """

    stage: str
    part: Part
    shard: int | None = None
    is_index: bool = False


@dataclass(frozen=True, slots=True)
class Loss:
    """The consequence of a process's end.

    Args:
        text: the consequence, for the log.
        total: whether the flow can't answer any request any more, not even in part.
    """

    text: str
    total: bool = False


def loss_of(gone: Process, living: Sequence[Process]) -> Loss:
    """Return the consequence of a process's end, given the processes that are left.

    Without the gateway, or without the index (its head, its merge, its last shard), the flow can't answer any request.
    Without a stage before the index it still reads, deletes and counts. Without one of several shards it answers requests
    that may be partial.
    """
    if gone.part is Part.GATEWAY:
        return Loss("without it the flow can't answer any request", total=True)
    holds_index = gone.is_index or any(each.is_index and each.stage == gone.stage for each in living)
    no_index_here = not holds_index and not any(each.is_index for each in living)
    if gone.part is Part.HEAD:
        return Loss(f"the stage {gone.stage!r} can't answer without it", total=holds_index or no_index_here)
    peers = [each for each in living if each.stage == gone.stage and each.part is Part.REPLICA]
    if any(each.shard == gone.shard for each in peers):
        return Loss(f"the other replicas of {gone.stage!r} do its work")
    if peers:
        return Loss(f"shard {gone.shard} is missing: requests get shard_missing, or a part with allow_partial")
    return Loss(f"the stage {gone.stage!r} can't answer any more", total=holds_index or no_index_here)


def describe_end(exit_code: int | None) -> str:
    """Describe how a process ended, from its exit code in Python's form: negative for a signal."""
    if exit_code is None:
        return "ended"
    if exit_code >= 0:
        return f"ended with exit status {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = " (the kernel does that when memory runs out)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
