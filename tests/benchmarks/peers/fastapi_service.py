"""Picture search as FastAPI, ONNX Runtime and numpy give it: one process, endpoints in its pool of threads."""

from __future__ import annotations

import os

import numpy as np
import uvicorn
from fastapi import FastAPI, Form, UploadFile
from fastapi.responses import ORJSONResponse
from pydantic import BaseModel

from tests.benchmarks.peers.numpy_index import NumpyIndex
from tests.benchmarks.peers.picture_model import PictureModel, decode, decode_all

app = FastAPI(default_response_class=ORJSONResponse)
model = PictureModel(threads=os.cpu_count() or 1)
index = NumpyIndex()


class VectorQuery(BaseModel):
    """A search by vector."""

    embedding: list[float]
    limit: int = 10


class Pictures(BaseModel):
    """Pictures to index, in base64."""

    ids: list[str]
    pictures: list[str]


@app.get("/")
def ready() -> dict[str, bool]:
    """Answer as soon as the model and the vectors are loaded."""
    return {"ready": True}


@app.post("/search_vector")
def search_vector(query: VectorQuery) -> dict[str, object]:
    """Return the hits of a vector."""
    return {"matches": index.search(np.array(query.embedding, np.float32), query.limit)}


@app.post("/search")
def search_picture(file: UploadFile, limit: int = Form(10)) -> dict[str, object]:
    """Return the hits of a picture."""
    (vector,) = model.embed(decode(file.file.read())[None])
    return {"matches": index.search(vector, limit)}


@app.post("/index")
def index_pictures(given: Pictures) -> dict[str, object]:
    """Add pictures."""
    index.add(given.ids, model.embed(decode_all(given.pictures)))
    return {"indexed": len(given.ids)}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PEER_PORT"]), log_level="warning")
