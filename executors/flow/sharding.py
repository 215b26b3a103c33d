"""The shards of a stage, as the gateway has to know them to call them itself, without Jina's head and merge. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

ANY: Final = "ANY"
ALL: Final = "ALL"
# What Jina's head assumes for these two where the flow file does not name them, whatever it says for `*`.
_DEFAULTS: Final = {"/search": ALL, "/index": ANY}


@dataclass(frozen=True, slots=True)
class Sharding:
    """A stage whose shards the gateway calls.

    Attributes:
        polling: `ANY` or `ALL` by endpoint, `*` for the others, as the flow file says it.
        shards: the addresses of each shard's replicas, `host:port`, in the order of the shards' numbers.
    """

    polling: Mapping[str, str]
    shards: Sequence[Sequence[str]]

    def asks_all(self, endpoint: str) -> bool:
        """Whether a request to the endpoint goes to every shard, or to one of them in turn."""
        return polling_of(self.polling, endpoint) == ALL


def read_polling(given: Any) -> dict[str, str]:
    """Read `polling` as Jina hands it on: one word for all endpoints, or a mapping (as JSON) of endpoints to words."""
    try:
        by_endpoint = json.loads(given)
    except (ValueError, TypeError):
        by_endpoint = None
    if not isinstance(by_endpoint, dict):
        return {"*": _word(given)}
    return {str(endpoint): _word(kind) for endpoint, kind in by_endpoint.items()}


def _word(kind: Any) -> str:
    """`ANY` or `ALL`; Jina's own enumeration prints itself as a name in any case."""
    return str(getattr(kind, "name", kind)).upper()


def polling_of(polling: Mapping[str, str], endpoint: str) -> str:
    """The polling of an endpoint, `ANY` or `ALL`, by the rules of Jina's head."""
    return polling.get(endpoint) or _DEFAULTS.get(endpoint) or polling.get("*", ANY)


def to_text(stages: Mapping[str, Sharding]) -> str:
    """The form in which the main process hands the stages to the gateway."""
    return json.dumps({name: asdict(stage) for name, stage in stages.items()})


def from_text(text: str) -> dict[str, Sharding]:
    """Read what `to_text` wrote."""
    return {name: Sharding(**stage) for name, stage in json.loads(text).items()}
