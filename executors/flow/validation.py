"""Checks the content of a flow file. A key that Jina would silently ignore is an error, which names the nearest valid key."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from jina.parsers import set_deployment_parser, set_gateway_parser
from jina.parsers.flow import set_flow_parser

from executors.errors import VisualSearchError

_TOP_LEVEL: Final = frozenset({"jtype", "version", "metas", "with", "gateway", "executors", "deployments"})
# Keys that Jina's Flow reads in addition to the arguments of its parsers.
_EXECUTOR_EXTRAS: Final = frozenset({"needs", "method", "jtype"})
_POLLING: Final = frozenset({"ANY", "ALL"})
_UNRESOLVED: Final = re.compile(r"\$\{\{\s*ENV\.(\w+)\s*\}\}")


def check_flow(data: Mapping[str, Any]) -> None:
    """Check a flow file, as loaded and with its variables filled in.

    Raises:
        VisualSearchError: `invalid_flow`; the message names the first wrong key or value and its place.
    """
    flow, gateway, deployment = (
        {action.dest for action in parser()._actions}
        for parser in (set_flow_parser, set_gateway_parser, set_deployment_parser)
    )
    _check_variables(data, "")
    _check_keys(data, _TOP_LEVEL, "")
    _check_keys(data.get("with") or {}, flow | gateway | deployment, "with.")
    _check_keys(data.get("gateway") or {}, gateway, "gateway.")
    executors = data.get("executors", data.get("deployments")) or []
    if not executors:
        raise VisualSearchError("invalid_flow", "the flow has no executors")
    for number, executor in enumerate(executors):
        if isinstance(executor, Mapping):
            where = f"executors[{executor.get('name', number)}]."
            _check_keys(executor, deployment | _EXECUTOR_EXTRAS, where)
            _check_polling(executor.get("polling"), where)


def _check_keys(given: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = set(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise VisualSearchError("invalid_flow", f"unknown key {where}{key}{hint}", key=f"{where}{key}")


def _check_polling(polling: Any, where: str) -> None:
    if isinstance(polling, str) or polling is None:
        return
    for endpoint, kind in polling.items():
        path = f"{where}polling.{endpoint}"
        if endpoint != "*" and not str(endpoint).startswith("/"):
            raise VisualSearchError("invalid_flow", f"{path}: an endpoint must start with a slash", key=path)
        if str(kind).upper() not in _POLLING:
            raise VisualSearchError("invalid_flow", f"{path}: {kind!r} is neither ANY nor ALL", key=path)


def _check_variables(value: Any, where: str) -> None:
    """Refuse a variable that is not set; Jina would silently keep it as literal text."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            _check_variables(each, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _check_variables(each, f"{where}[{index}]")
    elif isinstance(value, str) and (found := _UNRESOLVED.search(value)):
        raise VisualSearchError("invalid_flow", f"{where}: the variable {found.group(1)} is not set", key=where)
