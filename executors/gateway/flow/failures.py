"""Turns what Jina reports of a call that failed into one typed error."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any, Final

import grpc
from jina.excepts import InternalNetworkError
from jina.proto import jina_pb2

from executors.errors import VisualSearchError

_log = logging.getLogger(__name__)
_STAGE_IN_DETAILS: Final = re.compile(r"deployment [`']?([\w-]+)")
# How a head, and how `executors.flow.jina_patches.deliveries`, name what did not answer.
_PROCESS_IN_DETAILS: Final = re.compile(r"\b[\w-]+/(?:shard-\d+|uses_\w+-\d+|rep-\d+)")


def call_failed(error: Exception, endpoint: str, stage: str) -> VisualSearchError:
    """The error for a call that no process of a stage answered.

    Args:
        stage: what was called, where the error itself names no stage.

    Returns:
        `unavailable` or `deadline_exceeded`, with `stage` and `silent` in its details.
    """
    if not isinstance(error, InternalNetworkError):
        # Failures that persist through Jina's retries (CANCELLED, UNKNOWN, INTERNAL) end as errors of Jina's own code.
        _log.error("%s: %r", endpoint, error)
        return VisualSearchError("unavailable", "a stage of the flow failed", stage=stage)
    found = _STAGE_IN_DETAILS.search(str(error.details()))
    stage = found.group(1) if found else stage
    silent = sorted(set(_PROCESS_IN_DETAILS.findall(str(error.details()))))
    named = f" ({', '.join(silent)})" if silent else ""
    details = {"stage": stage, **({"silent": silent} if silent else {})}
    _log.error("stage %r does not answer%s: %s", stage, named, error.code())
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return VisualSearchError("deadline_exceeded", f"the stage {stage!r} did not answer in time{named}", **details)
    return VisualSearchError("unavailable", f"the stage {stage!r} does not answer{named}", **details)


def check_status(response: Any, endpoint: str) -> None:
    """Raise for an answer in which Jina reports that an executor raised.

    Raises:
        VisualSearchError: `internal`, with the stage in its details.
    """
    status = response.header.status
    if status.code == jina_pb2.StatusProto.ERROR:
        stage = status.exception.executor or "flow"
        _log.error("%s: %s: %s", endpoint, stage, status.description)
        raise VisualSearchError("internal", "a stage of the flow failed; its log has the details", stage=stage)


def name_of_target(target: Sequence[str] | None) -> str:
    """The stage that an error names: the only one that was asked, or the flow."""
    return target[0] if target is not None and len(target) == 1 else "flow"
