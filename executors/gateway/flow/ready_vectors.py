"""The short way for documents that bring their vector: past the stages that have nothing to do for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from executors.documents import ImageDoc
from executors.embed.ready import check_ready, is_ready

# What a stage says in its report when it would only check such documents.
DECLARATION: Final = "passes_ready_vectors"


@dataclass(frozen=True, slots=True)
class ReadyVectors:
    """What the gateway has to know to check vectors itself.

    Attributes:
        model_id: the model that vectors count as by default.
        dimension: D of that model.
        passing: the stages that need not see documents with a vector.
    """

    model_id: str
    dimension: int
    passing: frozenset[str]

    @classmethod
    def of(cls, model: Mapping[str, Any], reports: Mapping[str, Mapping[str, Any]]) -> ReadyVectors:
        """Read the reports of the stages.

        Args:
            model: the report of the stage that embeds.
            reports: a report of each stage, by its name.
        """
        passing = frozenset(stage for stage, report in reports.items() if report.get(DECLARATION) is True)
        return cls(str(model["model_id"]), int(model["dimension"]), passing)

    def past(self, stages: Iterable[str], documents: Sequence[ImageDoc]) -> list[str] | None:
        """The stages that the documents still have to go through, once they were checked here.

        The documents are changed: each has a vector of unit length and a model, or an error.

        Returns:
            None where a document brings no vector, so that all of them go through all stages.
        """
        if not self.passing or not all(is_ready(document) and document.error is None for document in documents):
            return None
        for document in documents:
            check_ready(document, self.model_id, self.dimension)
        return [stage for stage in stages if stage not in self.passing]
