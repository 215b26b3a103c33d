"""Responses with a JSON body."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.responses import JSONResponse, Response

from executors.errors import VisualSearchError


class Json(JSONResponse):
    """A JSON response that orjson encodes; it may contain numpy arrays."""

    def render(self, content: Any) -> bytes:
        """Encode the body."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def error_response(error: VisualSearchError) -> Response:
    """Return the response to a request that failed as a whole."""
    headers = {"Retry-After": str(error.details["retry_after_s"])} if "retry_after_s" in error.details else None
    if error.status == 503 and headers is None:
        headers = {"Retry-After": "1"}
    if error.code == "unauthenticated":
        headers = {"WWW-Authenticate": "Bearer"}
    if error.code == "body_timeout":
        # Don't wait for the rest of the body.
        headers = {"Connection": "close"}
    return Json({"error": error.to_json()}, error.status, headers)
