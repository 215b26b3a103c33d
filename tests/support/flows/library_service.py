"""The wire's stand-in with collections that keep what they are given: vectors, thumbnails, pages, filters, graphs."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web

from executors.index.filters import matches, parse_filter
from tests.support.flows.wire_service import WireService

MODEL = "tiny@1"
DIMENSION = 4


@dataclass(slots=True)
class LibraryService(WireService):
    """A service of one shard whose vectors have four numbers.

    Attributes:
        bound: the collections by name, with model and dimension.
        graphs: what `/status` answers for the shard, one answer after the other; the last one stays.
        most_a_request: more documents in one request are refused as a whole.
        broken_after: from so many scrolled pages on, nothing is answered any more.
        refused: of documents with these ids, how often more they meet an error of the service.
    """

    bound: dict[str, tuple[str, int]] = field(default_factory=dict)
    graphs: list[list[dict[str, Any]]] = field(default_factory=list)
    most_a_request: int = 10_000
    broken_after: int | None = None
    refused: dict[str, int] = field(default_factory=dict)

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=1 << 30)
        for endpoint in ("/index", "/get", "/search", "/delete"):
            app.router.add_post(endpoint, self._handle_documents)
        app.router.add_post("/scroll", self._scroll)
        app.router.add_post("/count", self._count)
        app.router.add_post("/reindex", self._reindex)
        app.router.add_get("/status", self._library_status)
        app.router.add_get("/collections", self._list)
        app.router.add_put("/collections/{name}", self._create)
        app.router.add_get("/collections/{name}", self._describe)
        app.router.add_delete("/collections/{name}", self._drop)
        return app

    def put(self, collection: str, document_id: str, **fields: Any) -> None:
        """Have a document, with a vector that its id decides unless one is given."""
        self.bound.setdefault(collection, (MODEL, DIMENSION))
        seed = np.random.default_rng(list(document_id.encode()))
        vector = seed.standard_normal(DIMENSION).astype(np.float32)
        model = self.bound[collection][0]
        self.documents[collection, document_id] = {
            "id": document_id, "embedding": vector.tolist(), "tags": {}, "model_id": model, **fields
        }  # fmt: skip

    def _describe_json(self, name: str) -> dict[str, Any]:
        model, dimension = self.bound[name]
        documents = sum(of == name for of, _ in self.documents)
        return {"name": name, "model_id": model, "dimension": dimension, "documents": documents}

    async def _library_status(self, _: web.Request) -> web.Response:
        graphs = self.graphs.pop(0) if len(self.graphs) > 1 else self.graphs[0] if self.graphs else []
        index = {"uuid": self.uuid, "shards": [{"shard": 0, "graphs": graphs}], "missing": []}
        return web.json_response({"api": 1, "ready": True, "index": index, "model": {"model_id": MODEL}})

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"collections": [self._describe_json(name) for name in sorted(self.bound)]})

    async def _create(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await request.json()
        self.requests.append(("/collections/create", [], {"collection": name, **body}))
        wanted = (body.get("model_id", MODEL), body.get("dimension", DIMENSION))
        bound = self.bound.get(name)
        if bound is not None and bound[0] != wanted[0]:
            return _refuse(409, "model_mismatch", f"{name} is bound to {bound[0]}")
        self.bound[name] = wanted
        return web.json_response(
            {"collection": self._describe_json(name), "result": "unchanged" if bound else "created"}
        )

    async def _describe(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.bound:
            return _refuse(404, "collection_not_found", f"no collection {name!r}")
        return web.json_response({"collection": self._describe_json(name)})

    async def _drop(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.bound:
            return _refuse(404, "collection_not_found", f"no collection {name!r}")
        gone = [key for key in self.documents if key[0] == name]
        for key in gone:
            del self.documents[key]
        del self.bound[name]
        return web.json_response({"result": "deleted", "documents": len(gone)})

    def _matching(self, parameters: dict[str, Any]) -> list[tuple[str, str]]:
        collection = parameters.get("collection", "images")
        where = parse_filter(parameters.get("filter") or {})
        return sorted(
            key for key, doc in self.documents.items() if key[0] == collection and matches(where, doc["tags"])
        )

    async def _scroll(self, request: web.Request) -> web.Response:
        parameters = (await request.json()).get("parameters") or {}
        self.requests.append(("/scroll", [], parameters))
        await asyncio.sleep(self.delay_s)
        pages = sum(path == "/scroll" for path, _, _ in self.requests)
        if self.broken_after is not None and pages > self.broken_after:
            return _refuse(403, "forbidden_host", "not any more")
        after, limit = parameters.get("after", ""), parameters["limit"]
        keys = [key for key in self._matching(parameters) if key[1] > after]
        data = [self._whole(*key) for key in keys[:limit]]
        following = keys[limit - 1][1] if len(keys) > limit else None
        return web.json_response({"data": data, "parameters": {"next": following}})

    def _whole(self, collection: str, document_id: str) -> dict[str, Any]:
        doc = self.documents[collection, document_id]
        thumbnail = doc.get("thumbnail")
        encoded = thumbnail if isinstance(thumbnail, str) or thumbnail is None else base64.b64encode(thumbnail).decode()
        return {**doc, "collection": collection, "thumbnail": encoded, "version": "v1", "error": None}

    async def _count(self, request: web.Request) -> web.Response:
        parameters = (await request.json()).get("parameters") or {}
        if parameters.get("collection", "images") not in self.bound:
            return _refuse(404, "collection_not_found", "no such collection")
        return web.json_response({"data": [], "parameters": {"count": len(self._matching(parameters))}})

    async def _reindex(self, request: web.Request) -> web.Response:
        self.requests.append(("/reindex", [], (await request.json()).get("parameters") or {}))
        return web.json_response({"ok": True})

    async def _handle_documents(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/delete":
            return await self._delete_matching(request)
        if request.path == "/index" and self.most_a_request < len((await request.json())["data"]):
            return _refuse(413, "too_many_documents", "fewer, please")
        return await self._handle(request)

    async def _delete_matching(self, request: web.Request) -> web.StreamResponse:
        parameters = (await request.json()).get("parameters") or {}
        self.requests.append(("/delete", [], parameters))
        if "filter" not in parameters:
            return await self._handle(request)
        gone = self._matching(parameters)
        for key in gone:
            del self.documents[key]
        return web.json_response({"data": [], "parameters": {"deleted": len(gone)}})

    def _execute(
        self, path: str, documents: list[dict[str, Any]], parameters: dict[str, Any]
    ) -> tuple[dict[str, Any], int]:
        # `super()` needs the class by name: a dataclass with slots is another one than that which was written.
        answer, status = WireService._execute(self, path, documents, parameters)
        if parameters.get("explain"):
            answer["parameters"]["explain"] = [{"shards": [{"shard": 0, "plan": "graph"}]} for _ in answer["data"]]
        return answer, status

    def _search_one(self, doc: dict[str, Any], collection: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = WireService._search_one(self, doc, collection, parameters)
        for match in answer["matches"]:
            if "group_by" in parameters:
                match["group"] = self.documents[collection, match["id"]]["tags"].get(parameters["group_by"])
        return answer

    def _index_one(self, doc: dict[str, Any], collection: str, _: dict[str, Any]) -> dict[str, Any]:
        collection = doc.pop("collection", collection)
        if self.refused.get(doc["id"], 0) > 0:
            self.refused[doc["id"]] -= 1
            return _failed(doc["id"], "storage_unavailable", "the disk is full")
        model, dimension = self.bound.setdefault(collection, (doc.get("model_id", MODEL), len(doc["embedding"])))
        if doc.get("model_id", MODEL) != model:
            return _failed(doc["id"], "model_mismatch", f"{collection} is bound to {model}")
        if len(doc["embedding"]) != dimension:
            return _failed(doc["id"], "dimension_mismatch", f"{dimension} numbers, please")
        doc = {"tags": {}, "model_id": model} | doc
        known = self.documents.get((collection, doc["id"]))
        self.documents[collection, doc["id"]] = doc
        result = "created" if known is None else "unchanged" if known == doc else "replaced"
        return {"id": doc["id"], "result": result, "version": "v1", "error": None}

    def _get_one(self, doc: dict[str, Any], collection: str, _: dict[str, Any]) -> dict[str, Any]:
        if (collection, doc["id"]) not in self.documents:
            return _failed(doc["id"], "not_found", "no such document")
        return self._whole(collection, doc["id"])


@contextmanager
def library_service() -> Iterator[LibraryService]:
    """A service on a port of its own, in a thread of its own."""
    service = LibraryService()
    started, loop = threading.Event(), asyncio.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = web.AppRunner(service.application(), shutdown_timeout=0.1)
        loop.run_until_complete(runner.setup())
        loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield service
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _refuse(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message, "details": {}}}, status=status)


def _failed(document_id: str, code: str, message: str) -> dict[str, Any]:
    statuses = {"storage_unavailable": 503, "not_found": 404, "model_mismatch": 409}
    error = {"code": code, "message": message, "details": {}, "status": statuses.get(code, 400)}
    return {"id": document_id, "result": None, "version": None, "error": error}
