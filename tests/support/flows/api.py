"""A thin caller of the HTTP API for tests: what curl would send, nothing that hides an answer."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import requests


class Api:
    """Calls one flow over HTTP; each instance has a collection of its own, so that tests don't meet."""

    def __init__(self, url: str, collection: str | None = None) -> None:
        self.url = url
        self.collection = collection or f"c-{uuid.uuid4().hex[:10]}"

    def post(self, endpoint: str, data: Any = None, **parameters: Any) -> requests.Response:
        parameters = {"collection": self.collection} | parameters
        body = {"parameters": parameters} if data is None else {"data": data, "parameters": parameters}
        return requests.post(self.url + endpoint, json=body, timeout=60)

    def ok(self, endpoint: str, data: Any = None, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.post(endpoint, data, **parameters)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    def index_vectors(self, vectors: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
        data = [{"id": key, "embedding": np.asarray(value).tolist(), **fields} for key, value in vectors.items()]
        answers = self.ok("/index", data)
        assert all(answer["error"] is None for answer in answers), answers
        return answers

    def search_vector(self, vector: Any, **parameters: Any) -> list[dict[str, Any]]:
        fields = {"embedding": np.asarray(vector).tolist()}
        return list(self.ok("/search", [fields], **parameters)[0]["matches"])

    def told(self, endpoint: str, data: Any = None, **parameters: Any) -> dict[str, Any]:
        """The parameters of an answer."""
        answer = self.post(endpoint, data, **parameters)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["parameters"])

    def scroll(self, **parameters: Any) -> list[dict[str, Any]]:
        """All documents, in pages of five."""
        found: list[dict[str, Any]] = []
        after: str | None = parameters.pop("after", "")
        while after is not None:
            body = self.post("/scroll", after=after, **({"limit": 5} | parameters)).json()
            found += body["data"]
            after = body["parameters"]["next"]
        return found

    def refused(self, endpoint: str, data: Any = None, **parameters: Any) -> tuple[int, str]:
        """Status and code of a request that fails as a whole."""
        answer = self.post(endpoint, data, **parameters)
        body = answer.json()
        assert set(body) == {"error"}, body
        assert set(body["error"]) == {"code", "message", "details"}
        assert "Traceback" not in answer.text
        return answer.status_code, body["error"]["code"]


def unit_vectors(count: int, dimension: int = 1280, seed: int = 0) -> np.ndarray[Any, Any]:
    """`count` x `dimension` float32 of unit length."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
