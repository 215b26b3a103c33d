"""Announces a flow once all its processes run: its addresses, and whether it is ready."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from executors.flow.announcement import access, contents_line, places, readiness_line, short_line
from executors.flow.program import is_program
from executors.hosts import reachable_host
from executors.settings import Settings, read_settings

_log = logging.getLogger(__name__)
GATEWAY: Final = "executors.gateway.gateway.VisualSearchGateway"
_ASK_S: Final = 1.0
_ANSWER_S: Final = 5.0


def announce(flow: Any) -> None:
    """Announce the flow now; if it is not ready yet, say so, and announce it again when it is."""
    gateway = flow._deployment_nodes["gateway"].args
    if gateway.uses != GATEWAY:
        return
    chosen = read_settings()
    reason = not_ready_reason(chosen)
    seconds = time.time() - flow._start_time
    if not is_program():
        print(short_line(chosen, seconds, reason))
        return
    for line in places(chosen):
        _log.info("%s", line)
    worth_warning, line = access(chosen)
    _log.log(logging.WARNING if worth_warning else logging.INFO, "%s", line)
    if reason is None:
        _say_ready(chosen, seconds)
        return
    _log.error("%s", readiness_line(seconds, reason))

    def wait() -> None:
        while not_ready_reason(chosen) is not None:
            time.sleep(_ASK_S)
        _say_ready(chosen, time.time() - flow._start_time)

    threading.Thread(target=wait, name="announce", daemon=True).start()


def _say_ready(chosen: Settings, seconds: float) -> None:
    # Without a key, the question would only be a refused request in the log.
    may_ask = chosen.keys_file is None or chosen.api_key is not None
    contents = contents_line(_index_report(chosen)) if may_ask else None
    if contents is not None:
        _log.info("%s", contents)
    _log.info("%s", readiness_line(seconds, None))


def _index_report(chosen: Settings) -> dict[str, Any]:
    """Return the part of `/status` about the index; empty if there is no answer."""
    url = f"http://{reachable_host(chosen.host)}:{chosen.http_port}/status"
    try:
        headers = {"x-api-key": chosen.api_key.get_secret_value()} if chosen.api_key else {}
        with build_opener(ProxyHandler({})).open(Request(url, headers=headers), timeout=_ANSWER_S) as answer:
            report: dict[str, Any] = json.loads(answer.read())["index"]
            return report
    except (URLError, HTTPException, OSError, ValueError, KeyError, TypeError):
        return {}


def tell(line: str, *, is_warning: bool = False) -> None:
    """Report something before the flow runs: in the log if the flow is the program, else on stderr."""
    if is_program():
        _log.log(logging.WARNING if is_warning else logging.INFO, "%s", line)
    else:
        print(f"warning: {line}" if is_warning else line, file=sys.stderr, flush=True)


def not_ready_reason(chosen: Settings) -> str | None:
    """Return the reason why the gateway is not ready; None if it is."""
    url = f"http://{reachable_host(chosen.host)}:{chosen.http_port}/health/ready"
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=_ANSWER_S):
            return None
    except HTTPError as error:
        try:
            fault = json.loads(error.read())["error"]
            return f"{fault['code']}: {fault['message']}"
        except (ValueError, KeyError, TypeError, OSError):
            return f"/health/ready says {error.code}"
    except (URLError, HTTPException, OSError) as error:
        return f"/health/ready can't be asked: {error}"
