"""Writers and readers of the same documents over HTTP, gRPC and the command line, and what each was told.

Every request names one to four ids of few, so that requests for one document overlap all the time.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import requests
from docarray import DocList
from jina import Client

from executors.documents import ImageDoc
from tests.support.flows.commands import run_process
from tests.support.flows.flow import RunningFlow
from tests.support.stores.histories import OPEN, Kind, Request, State
from tests.support.stores.records import unit

COLLECTION: Final = "mixed"
MODEL: Final = "mixed@1"
# Whether a write with one of these answers took effect is not known; nothing else may be answered while all is well.
_LEFT_OPEN: Final = frozenset({"stale_version"})

Answers: TypeAlias = Mapping[str, str | State]
Send: TypeAlias = Callable[[Kind, Sequence[str], str], Answers]


def vector_of(document_id: str, token: str) -> list[float]:
    seed = zlib.crc32(f"{document_id} {token}".encode())
    return [float(each) for each in unit(np.random.default_rng(seed).standard_normal(8))]


def document_of(kind: Kind, document_id: str, token: str) -> dict[str, Any]:
    """Return the request for one document."""
    if kind == "put":
        return {
            "id": document_id,
            "model_id": MODEL,
            "embedding": vector_of(document_id, token),
            "tags": {"put": token},
        }
    return {"id": document_id} | ({"tags": {"update": token}} if kind == "update" else {})


class History:
    """The answers that all writers got, by id."""

    def __init__(self) -> None:
        self.requests: defaultdict[str, list[Request]] = defaultdict(list)
        self._lock = threading.Lock()

    def note(self, writer: str, kind: Kind, ids: Sequence[str], token: str, send: Send) -> None:
        """Send a request, and note what it was told of each document."""
        start = time.perf_counter()
        answers = send(kind, ids, token)
        end = time.perf_counter()
        with self._lock:
            for each in ids:
                self.requests[each].append(Request(start, end, writer, kind, token, answers[each]))


def over_http(flow: RunningFlow) -> Send:
    session = requests.Session()

    def send(kind: Kind, ids: Sequence[str], token: str) -> Answers:
        body = {"data": [document_of(kind, each, token) for each in ids], "parameters": {"collection": COLLECTION}}
        answer = session.post(f"{flow.http_url}{_ENDPOINTS[kind]}", json=body, timeout=60)
        return {each["id"]: _answer(kind, each) for each in answer.json()["data"]}

    return send


def over_grpc(flow: RunningFlow) -> Send:
    def send(kind: Kind, ids: Sequence[str], token: str) -> Answers:
        documents = DocList[ImageDoc]([ImageDoc(**document_of(kind, each, token)) for each in ids])
        parameters = {"collection": COLLECTION}
        # Jina's client wants an event loop of its own in each thread.
        asyncio.set_event_loop(asyncio.new_event_loop())
        client = Client(host=flow.grpc_url)
        answers = client.post(_ENDPOINTS[kind], documents, parameters=parameters, return_type=DocList[ImageDoc])
        return {
            str(each.id): _answer(
                kind, {"result": each.result, "tags": each.tags, "error": each.error and dict(each.error)}
            )
            for each in answers
        }

    return send


def by_command(flow: RunningFlow) -> Send:
    """Import, delete and get; the command line changes no tags."""

    def send(kind: Kind, ids: Sequence[str], token: str) -> Answers:
        options = ["--url", flow.http_url, "--collection", COLLECTION, "--json"]
        typed = ["import", "-", *options] if kind == "put" else [kind, *ids, *options]
        lines = "".join(f"{json.dumps(document_of(kind, each, token))}\n" for each in ids)
        process = run_process(*typed, stdin=subprocess.PIPE)
        out, err = process.communicate(lines.encode(), timeout=60)
        answers = [json.loads(line) for line in out.decode().splitlines()]
        assert len(answers) == len(ids), err.decode()
        return {each["id"]: _answer(kind, each) for each in answers}

    return send


class Writers:
    """All of them at once, until they are stopped.

    Args:
        threads: how many of each interface.
    """

    def __init__(self, flow: RunningFlow, history: History, seed: int, documents: int, threads: int = 2) -> None:
        self._history = history
        self._ids = [f"{n:03d}" for n in range(documents)]
        self._stop = threading.Event()
        self._faults: list[BaseException] = []
        kinds: list[tuple[str, Send, list[Kind]]] = []
        for n in range(threads):
            kinds.append((f"http {n}", over_http(flow), ["put", "put", "update", "delete", "get"]))
            kinds.append((f"grpc {n}", over_grpc(flow), ["put", "put", "update", "delete", "get"]))
            kinds.append((f"command {n}", by_command(flow), ["put", "put", "delete", "get"]))
        self._threads = [
            threading.Thread(target=self._run, args=(name, send, chosen, random.Random(f"{seed} {name}")))
            for name, send, chosen in kinds
        ]

    def work(self, seconds: float) -> None:
        """Let them work; raises what one of them ended with."""
        for each in self._threads:
            each.start()
        self._stop.wait(seconds)
        self._stop.set()
        for each in self._threads:
            each.join(90)
            assert not each.is_alive(), f"{each.name} hangs"
        for fault in self._faults:
            raise fault

    def _run(self, name: str, send: Send, kinds: Sequence[Kind], chance: random.Random) -> None:
        number = 0
        try:
            while not self._stop.is_set():
                ids = chance.sample(self._ids, chance.randint(1, 4))
                self._history.note(name, chance.choice(kinds), ids, f"{name} {number}", send)
                number += 1
                # Few enough requests for one document that every order of them can be looked at.
                self._stop.wait(chance.uniform(0, 0.1))
        except BaseException as fault:
            self._faults.append(fault)
            self._stop.set()


_ENDPOINTS: Final = {"put": "/index", "update": "/update", "delete": "/delete", "get": "/get"}


def _answer(kind: Kind, given: Mapping[str, Any]) -> str | State:
    error = given["error"]
    if error is not None and error["code"] in _LEFT_OPEN:
        return OPEN
    assert error is None or (error["code"] == "not_found" and kind in ("get", "update")), given
    if kind == "get":
        return None if error is not None else (given["tags"]["put"], given["tags"].get("update", ""))
    return "not_found" if error is not None else str(given["result"])
