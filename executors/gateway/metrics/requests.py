"""What the gateway counts of requests, while it answers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from executors.documents import ImageDoc

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096)
# nginx' number for a caller who has left before the answer.
GONE: Final = 499
_WATCHING: Final = ("/status", "/metrics", "/watch")


class RequestMetrics:
    """Counters and histograms of one gateway process.

    Attributes:
        answered: requests since the start, but for those of people and programs that only watch.
        seconds: the time that these took, all together.
    """

    def __init__(self) -> None:
        self.answered, self.seconds = 0, 0.0
        # The time at which each series began would double their number.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "visual_search_requests",
            "Requests that were answered or refused, by HTTP status (for gRPC the same number) and error code.",
            ("protocol", "endpoint", "status", "code"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "visual_search_request_seconds",
            "Time from a request's headers to its answer.",
            ("protocol", "endpoint"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "visual_search_stage_seconds",
            "Time that a request spent in a stage, all its chunks together.",
            ("stage", "endpoint"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._documents = Histogram(
            "visual_search_request_documents",
            "Documents of a request.",
            ("endpoint",),
            buckets=_COUNTS,
            registry=self.registry,
        )
        self._failures = Counter(
            "visual_search_document_errors",
            "Documents that were answered with an error, by the stage that refused them.",
            ("endpoint", "stage", "code"),
            registry=self.registry,
        )
        self._pictures = Counter(
            "visual_search_pictures", "Pictures that were received.", ("endpoint",), registry=self.registry
        )
        self._picture_bytes = Counter(
            "visual_search_picture_bytes", "Bytes of received pictures, encoded.", ("endpoint",), registry=self.registry
        )
        self._limited = Counter(
            "visual_search_limited",
            "Requests that were refused because their key was over a limit.",
            ("key", "limit"),
            registry=self.registry,
        )

    def note_request(self, protocol: str, endpoint: str, status: int, code: str, seconds: float) -> None:
        """Count a request that has ended.

        Args:
            code: of the error; empty if there was none.
        """
        if endpoint not in _WATCHING:
            self.answered += 1
            self.seconds += seconds
        self._requests.labels(protocol, endpoint, str(status), code).inc()
        self._seconds.labels(protocol, endpoint).observe(seconds)

    def note_limited(self, key: str, limit: str) -> None:
        """Count a request that was refused because its key is over a limit."""
        self._limited.labels(key, limit).inc()

    def note_documents(self, endpoint: str, documents: Sequence[ImageDoc]) -> None:
        """Count the documents of a request before the work begins."""
        self._documents.labels(endpoint).observe(len(documents))
        pictures = [len(each.blob) for each in documents if each.blob is not None]
        if pictures:
            self._pictures.labels(endpoint).inc(len(pictures))
            self._picture_bytes.labels(endpoint).inc(sum(pictures))

    def note_answer(self, endpoint: str, documents: Sequence[ImageDoc], took_ms: Mapping[str, float]) -> None:
        """Count what the stages took, and the documents that failed."""
        for stage, milliseconds in took_ms.items():
            if stage != "total":
                self._stage_seconds.labels(stage, endpoint).observe(milliseconds / 1000)
        for document in documents:
            if document.error is not None:
                self._failures.labels(endpoint, document.error.stage, document.error.code).inc()
