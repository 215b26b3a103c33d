"""The reports of all processes, as `/status` has them, as families of metrics. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

# Collections beyond these count as one, so that the number of time series stays bounded.
MOST_COLLECTIONS: Final = 100
OTHERS: Final = "other"
_PREFIX: Final = "visual_search_"

_PROCESS: Final = (
    ("cpu_seconds", "process_cpu_seconds", "Processor time, user and system.", True),
    ("resident_bytes", "process_resident_memory_bytes", "Resident memory.", False),
    ("open_files", "process_open_fds", "Open files and sockets.", False),
    ("threads", "process_threads", "Threads.", False),
    ("started", "process_start_time_seconds", "Start, in seconds since 1970.", False),
)
_SHARD: Final = (
    ("bytes_on_disk", "index_disk_bytes", "Bytes of the shard's files."),
    ("wal_bytes", "index_wal_bytes", "Bytes of the write-ahead log."),
    ("bytes_in_memory", "index_memory_bytes", "Bytes of vectors and graphs in memory."),
    ("removed_in_memory", "index_removed_rows", "Rows in memory that were removed or replaced."),
    ("damaged", "index_damaged_rows", "Rows that can't be read."),
)
_GRAPH: Final = (
    ("in_graph", "graph_documents", "Documents in the graph.", False),
    ("uncovered", "graph_uncovered_documents", "Documents that searches compare one by one, beside the graph.", False),
    ("removed_in_graph", "graph_removed_documents", "Removed documents that the graph still holds.", False),
    ("rebuilds", "graph_rebuilds", "Rebuilds since the start.", True),
)
_EMBED: Final = (
    ("images", "embed_inputs", "Pictures and texts that were embedded.", True),
    ("runs", "embed_runs", "Runs of the model; inputs divided by runs is the mean batch.", True),
    ("failures", "embed_failures", "Runs of the model that failed.", True),
    ("waiting", "embed_waiting_inputs", "Pictures and texts that wait for a run.", False),
)
_DECODES: Final = (
    ("waiting", "preprocess_waiting_pictures", "Pictures that wait to be decoded.", False),
    ("running", "preprocess_running_pictures", "Pictures that are being decoded.", False),
    ("running_bytes", "preprocess_running_bytes", "Memory that pictures that are being decoded may take.", False),
    ("begun", "preprocess_pictures", "Pictures whose decoding began.", True),
    ("dropped", "preprocess_dropped_pictures", "Pictures that were dropped because their caller had left.", True),
)
_TRITON: Final = (
    ("calls", "triton_calls", "Calls that the server answered."),
    ("inputs", "triton_inputs", "Pictures and texts in these calls."),
    ("retries", "triton_retries", "Inputs that another server failed or turned away."),
    ("cancelled", "triton_cancelled_calls", "Calls whose caller had left."),
)


class Families:
    """Families of metrics that grow sample by sample."""

    def __init__(self) -> None:
        self._made: dict[str, Metric] = {}

    def add(self, name: str, text: str, value: Any, labels: Mapping[str, str], *, counter: bool = False) -> None:
        """Add a sample; nothing if there is no value."""
        if value is None:
            return
        kind = CounterMetricFamily if counter else GaugeMetricFamily
        family = self._made.setdefault(name, kind(_PREFIX + name, text, labels=tuple(labels)))
        family.add_metric(tuple(labels.values()), float(value))  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._made.values())


class StatusCollector(Collector):
    """Gives a registry the families of one status report."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self._families = list(families_of(report))

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return self._families


def families_of(report: Mapping[str, Any]) -> Iterator[Metric]:
    """Return the families of a report, as `GET /status` answers it."""
    made = Families()
    made.add("ready", "Whether the flow is ready.", report.get("ready"), {})
    _add_gateway(made, report.get("gateway") or {})
    for stage, each in (report.get("stages") or {}).items():
        for replica in each.get("replicas") or ():
            _add_replica(made, stage, replica)
    index = report.get("index") or {}
    _add_index(made, index)
    missing = {f"index/shard-{number}" for number in index.get("missing") or ()}
    for name in sorted(missing | set(map(str, report.get("silent") or ()))):
        made.add("up", "Whether the process answers.", 0, {"process": name})
    yield from made
    model = report.get("model") or {}
    build = {"version": str(report.get("version")), "model": str(model.get("model_id") or "")}
    yield InfoMetricFamily(_PREFIX + "build", "The version, and the model of the flow.", build)


def _add_gateway(made: Families, gateway: Mapping[str, Any]) -> None:
    _add_process(made, "gateway", gateway.get("process"))
    made.add("requests_in_flight", "Requests that are being worked on.", gateway.get("in_flight"), {})
    made.add(
        "requests_in_flight_limit",
        "The most requests in flight (VS_MAX_CONCURRENCY).",
        gateway.get("max_concurrency"),
        {},
    )
    made.add("chunks_in_flow", "Messages that are in the stages.", gateway.get("chunks_in_flow"), {})
    made.add("chunks_waiting", "Messages that wait for a place in the flow.", gateway.get("chunks_waiting"), {})


def _add_process(made: Families, process: str, figures: Mapping[str, Any] | None) -> None:
    labels = {"process": process}
    made.add("up", "Whether the process answers.", 1, labels)
    for field, name, text, counter in _PROCESS:
        made.add(name, text, (figures or {}).get(field), labels, counter=counter)


def _add_replica(made: Families, stage: str, replica: Mapping[str, Any]) -> None:
    name = str(replica.get("replica") or stage)
    _add_process(made, name, replica.get("process"))
    labels = {"replica": name}
    made.add("stage_ready", "Whether the replica can work.", replica.get("ready", True), labels)
    for field, metric, text, counter in _EMBED:
        made.add(metric, text, replica.get(field), labels, counter=counter)
    for field, metric, text, counter in _DECODES:
        made.add(metric, text, (replica.get("decodes") or {}).get(field), labels, counter=counter)
    for endpoint in replica.get("endpoints") or ():
        server = labels | {"server": str(endpoint.get("url"))}
        for model, state in (endpoint.get("models") or {}).items():
            usable = state.get("state") in ("ready", "checking")
            text = "Whether calls go to the server, by its breaker."
            made.add("triton_usable", text, usable, server | {"model": str(model)})
        for field, metric, text in _TRITON:
            made.add(metric, text, (endpoint.get("stats") or endpoint).get(field), server, counter=True)


def _add_index(made: Families, index: Mapping[str, Any]) -> None:
    known = sorted(str(each["name"]) for each in index.get("collections") or ())
    shown = set(known[:MOST_COLLECTIONS])
    made.add("collections", "Collections.", len(known), {})
    made.add("index_documents", "Documents that all shards count.", index.get("documents"), {})
    for shard in index.get("shards") or ():
        name = f"index/shard-{shard['shard']}"
        _add_process(made, name, shard.get("process"))
        labels = {"shard": str(shard["shard"])}
        for field, metric, text in _SHARD:
            made.add(metric, text, shard.get(field), labels)
        made.add("shard_documents", "Documents of the shard.", shard.get("documents"), labels)
        _add_graphs(made, labels, shard.get("graphs") or (), shown)


def _add_graphs(made: Families, shard: Mapping[str, str], graphs: Iterable[Mapping[str, Any]], shown: set[str]) -> None:
    sums: dict[str, dict[str, float]] = {}
    for graph in graphs:
        collection = str(graph.get("collection"))
        total = sums.setdefault(collection if collection in shown else OTHERS, {})
        values = {field: graph.get(field) for field in ("documents", *(row[0] for row in _GRAPH))}
        values["rebuilding"] = graph.get("rebuilding") is not None
        for field, value in values.items():
            if value is not None:
                total[field] = total.get(field, 0.0) + float(value)
    for collection, total in sums.items():
        labels = {**shard, "collection": collection}
        made.add("documents", "Documents of the collection in the shard.", total.get("documents"), labels)
        for field, metric, text, counter in _GRAPH:
            made.add(metric, text, total.get(field), labels, counter=counter)
        made.add("graph_rebuilding", "Whether a rebuild runs.", total.get("rebuilding"), labels)
