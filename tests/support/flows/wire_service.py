"""A small service that speaks the wire and fails on request: what a client meets on bad days, without a flow."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from executors.index.versions import HybridClock

THUMBNAIL = b"\xff\xd8\xff\xe0 a thumbnail of "


@dataclass(frozen=True, slots=True)
class Fault:
    """The treatment of one request.

    Attributes:
        status: answered in place of the answer, with `code`; 0 for none.
        retry_after: the header of that answer.
        drop: the connection is closed: `before` or `after` the request was executed.
        delay_s: how long the answer takes.
        body: answered as it is, with status 200 (or `status`).
        ids: the fault holds only for requests with one of these ids, and then for ever.
    """

    status: int = 0
    code: str = "unavailable"
    retry_after: str | None = None
    drop: str = ""
    delay_s: float = 0.0
    body: str | None = None
    ids: frozenset[str] = frozenset()


@dataclass(slots=True)
class WireService:
    """The service; everything that tests look at.

    Attributes:
        index_reports: what `/status` tells of the index on top of the usual, one answer after the other; the last one
            stays. A fault is answered in place of the status.
        answers: what `/facets` and `/quality` answer.
    """

    url: str = ""
    uuid: str = "index-1"
    ready: bool = True
    documents: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    versions: dict[tuple[str, str], str] = field(default_factory=dict)
    requests: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    bodies: list[int] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    standing_faults: list[Fault] = field(default_factory=list)
    delay_s: float = 0.0
    most_in_flight: int = 0
    missing_shards: list[int] = field(default_factory=list)
    index_reports: list[dict[str, Any] | Fault] = field(default_factory=list)
    stages: dict[str, Any] = field(default_factory=dict)
    verify_answer: dict[str, Any] = field(
        default_factory=lambda: {"ok": True, "documents": 3, "faults": [], "double_ids": [], "repaired": 0}
    )
    answers: dict[str, Any] = field(default_factory=dict)
    _in_flight: int = 0
    _clock: HybridClock = field(default_factory=lambda: HybridClock("wire"))

    def sent_ids(self, endpoint: str = "/index") -> list[str]:
        """The ids of all documents that requests to an endpoint held, in the order of arrival."""
        return [doc["id"] for path, docs, _ in self.requests if path == endpoint for doc in docs]

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=1 << 30)
        for endpoint in ("/index", "/search", "/get", "/delete", "/update", "/embed"):
            app.router.add_post(endpoint, self._handle)
        app.router.add_post("/verify", self._verify)
        app.router.add_post("/reindex", self._reindex)
        for endpoint in ("/facets", "/quality"):
            app.router.add_post(endpoint, self._analysis)
        app.router.add_get("/collections", self._collections)
        app.router.add_get("/status", self._status)
        app.router.add_get("/thumbnail", self._thumbnail)
        return app

    async def _status(self, request: web.Request) -> web.Response:
        index: dict[str, Any] = {
            "uuid": self.uuid if self.ready else None,
            "documents": len(self.documents),
            "collections": [
                {"name": name, "documents": number}
                for name, number in Counter(name for name, _ in self.documents).items()
            ],
        }
        index["shards"] = [{"shard": 0, "documents": len(self.documents), "bytes_on_disk": 1234}]
        index["missing"] = self.missing_shards
        told = self.index_reports.pop(0) if len(self.index_reports) > 1 else next(iter(self.index_reports), {})
        if isinstance(told, Fault):
            return _refusal(told)
        index |= told
        reason = None if self.ready else {"code": "not_ready", "message": "a stage is starting", "details": {}}
        model = {"model_id": "tiny@1", "dimension": 3}
        report = {"api": 1, "version": "0.1.0", "ready": self.ready, "reason": reason, "index": index, "model": model}
        report["stages"] = self.stages
        return web.json_response(report)

    async def _verify(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(("/verify", [], body.get("parameters") or {}))
        return web.json_response(self.verify_answer)

    async def _analysis(self, request: web.Request) -> web.Response:
        self.requests.append((request.path, [], (await request.json())["parameters"]))
        return web.json_response(self.answers[request.path])

    async def _reindex(self, request: web.Request) -> web.Response:
        self.requests.append(("/reindex", [], (await request.json()).get("parameters") or {}))
        return web.json_response({"ok": True})

    async def _collections(self, _: web.Request) -> web.Response:
        return web.json_response({"collections": []})

    async def _thumbnail(self, request: web.Request) -> web.Response:
        key = (request.query["collection"], request.query["id"])
        self.requests.append(("/thumbnail", [{"id": key[1]}], {}))
        if key in self.documents:
            return web.Response(body=THUMBNAIL + key[1].encode(), content_type="image/jpeg")
        return web.json_response({"error": _error("not_found", "no such picture")}, status=404)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            documents, parameters = await _read(request)
            self.times.append(time.monotonic())
            self.bodies.append(request.content_length or 0)
            self.authorizations.append(request.headers.get("Authorization", ""))
            self.requests.append((request.path, documents, parameters))
            self.request_ids.append(request.headers["X-Request-Id"])
            fault = self._fault_for(documents)
            await asyncio.sleep(self.delay_s + fault.delay_s)
            if fault.drop == "before" and request.transport is not None:
                request.transport.abort()
            if fault.drop == "before" or (fault.status and fault.body is None):
                return _refusal(fault)
            answer, status = self._execute(request.path, documents, parameters)
            if fault.drop == "after" and request.transport is not None:
                request.transport.abort()
            if fault.body is not None:
                return web.Response(text=fault.body, status=fault.status or 200)
            return web.json_response(answer, status=status)
        finally:
            self._in_flight -= 1

    def _fault_for(self, documents: list[dict[str, Any]]) -> Fault:
        ids = {doc["id"] for doc in documents if "id" in doc}
        for fault in self.standing_faults:
            if not fault.ids or fault.ids & ids:
                return fault
        return self.faults.popleft() if self.faults else Fault()

    def _execute(
        self, path: str, documents: list[dict[str, Any]], parameters: dict[str, Any]
    ) -> tuple[dict[str, Any], int]:
        collection = parameters.get("collection", "images")
        if "like" in parameters:
            documents = [{"id": parameters["like"]}]
        if {"terms", "weights"} & set(parameters):
            documents = [{"id": "all of them"}]
        data = [getattr(self, f"_{path[1:]}_one")(doc, collection, parameters) for doc in documents]
        errors = [each["error"] for each in data if each["error"]]
        info = {
            "shards": {"total": 1, "answered": 1},
            "partial": False,
            "failed": len(errors),
            "took_ms": {"total": 1.0},
        }
        status = 200 if len(errors) < len(data) else errors[0]["status"]
        return {"data": data, "parameters": info}, status

    def _index_one(self, doc: dict[str, Any], collection: str, _: dict[str, Any]) -> dict[str, Any]:
        if doc.get("blob", b"x").startswith(b"bad"):
            error = _error("undecodable_image", "the pixels can't be read", 422)
            return {"id": doc["id"], "result": None, "version": None, "error": error}
        key = (collection, doc["id"])
        known = self.documents.get(key)
        result = "created" if known is None else "unchanged" if known == doc else "replaced"
        self.documents[key] = doc
        self.versions[key] = self._clock.next()
        return {"id": doc["id"], "result": result, "version": self.versions[key], "error": None}

    def _search_one(self, doc: dict[str, Any], collection: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if doc.get("blob", b"x").startswith(b"bad"):
            return {"id": doc["id"], "matches": [], "error": _error("undecodable_image", "damaged", 422)}
        ids = sorted(id_ for of, id_ in self.documents if of == collection)[: parameters.get("limit", 10)]
        matches = [
            {"id": each, "score": 1 - n / 10, "uri": f"label of {each}", "tags": {"n": n}, "parent": None, "box": None}
            for n, each in enumerate(ids)
        ]
        return {"id": doc["id"], "tags": {}, "matches": matches, "error": None}

    def _get_one(self, doc: dict[str, Any], collection: str, parameters: dict[str, Any]) -> dict[str, Any]:
        found = self.documents.get((collection, doc["id"]))
        if found is None:
            return {"id": doc["id"], "error": _error("not_found", f"no document {doc['id']!r}", 404)}
        kept = {"id": doc["id"], "collection": collection, "uri": found.get("uri"), "tags": found.get("tags", {})}
        vector = {"embedding": _vector(found)} if "embedding" in parameters.get("with", []) else {}
        version = self.versions.get((collection, doc["id"]))
        return {**kept, **vector, "model_id": "tiny@1", "version": version, "error": None}

    def _delete_one(self, doc: dict[str, Any], collection: str, _: dict[str, Any]) -> dict[str, Any]:
        found = self.documents.pop((collection, doc["id"]), None)
        version = self._clock.next()
        return {"id": doc["id"], "result": "deleted" if found else "not_found", "version": version, "error": None}

    def _update_one(self, doc: dict[str, Any], collection: str, _: dict[str, Any]) -> dict[str, Any]:
        self.documents[collection, doc["id"]]["tags"] = doc.get("tags", {})
        self.versions[collection, doc["id"]] = self._clock.next()
        return {"id": doc["id"], "result": "updated", "version": self.versions[collection, doc["id"]], "error": None}

    def _embed_one(self, doc: dict[str, Any], *_: Any) -> dict[str, Any]:
        return {"id": doc["id"], "embedding": _vector(doc), "model_id": "tiny@1", "error": None}


@contextmanager
def wire_service() -> Iterator[WireService]:
    """A service on a port of its own, in a thread of its own."""
    service = WireService()
    started = threading.Event()
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(service.application(), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield service
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _read(request: web.Request) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Documents and parameters, read by aiohttp's own parser of forms."""
    if request.content_type != "multipart/form-data":
        body = await request.json()
        documents = [dict(doc) for doc in body.get("data") or []]
        for doc in documents:
            if "blob" in doc:
                doc["blob"] = base64.b64decode(doc["blob"])
        return documents, body.get("parameters") or {}
    fields: dict[str, Any] = {}
    files: list[tuple[str, bytes]] = []
    reader = await request.multipart()
    async for part in reader:
        assert isinstance(part, BodyPartReader)
        content = bytes(await part.read())
        if part.name == "file":
            files.append((part.filename or "", content))
        else:
            fields[str(part.name)] = json.loads(content)
    tags = fields.get("tags") or [{}] * len(files)
    documents = [
        {"id": fields["ids"][n], "blob": content, "uri": name, "tags": tags[n]}
        for n, (name, content) in enumerate(files)
    ]
    return documents, fields.get("parameters", {})


def _vector(document: dict[str, Any]) -> list[float]:
    """A vector that only the same picture has."""
    return [each / 255 for each in hashlib.sha256(document.get("blob") or b"").digest()[:8]]


def _error(code: str, message: str, status: int = 0) -> dict[str, Any]:
    return {"code": code, "message": message, "details": {}, **({"status": status} if status else {})}


def _refusal(fault: Fault) -> web.Response:
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    error = {"code": fault.code, "message": f"refused with {fault.status}", "details": {"limit": 5}}
    return web.json_response({"error": error}, status=fault.status or 500, headers=headers)
