"""The contract of a way through the stages of the flow; `direct` and `streamed` keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from executors.documents import ImageDoc


@dataclass(slots=True)
class StageAnswer:
    """The documents that came back, and how long each stage held the request, in milliseconds."""

    documents: list[ImageDoc]
    took_ms: dict[str, float] = field(default_factory=dict)


class Route(Protocol):
    """A way through the stages."""

    async def post(
        self, endpoint: str, documents: Sequence[ImageDoc], parameters: Mapping[str, Any], target: Sequence[str] | None
    ) -> StageAnswer:
        """Send the documents through every stage that has the endpoint, or through the stages that `target` names.

        When this is cancelled, the stages stop as well.

        Raises:
            VisualSearchError: `unavailable` with the stage in its details, `deadline_exceeded`, or `internal`.
        """
