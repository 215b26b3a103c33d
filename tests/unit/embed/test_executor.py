from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from docarray import DocList

from executors.documents import ImageDoc
from executors.embed.executor import ImageEmbedder
from executors.errors import VisualSearchError
from executors.models.repository import TOKENIZER_FILE
from executors.settings import settings
from tests.support.models.models import TINY, TINY_SIDE, tiny_model, write_entry
from tests.support.models.text_models import TINY_TEXT, write_towers

COLOURS = {"red": 0, "green": 1, "blue": 2}


@pytest.fixture
def models_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty model repository from which an executor takes its model."""
    monkeypatch.setenv("VS_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("VS_MODEL", TINY)
    monkeypatch.delenv("VS_EMBED_BACKEND", raising=False)
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def make(**options: Any) -> ImageEmbedder:
    # What Jina hands to every executor.
    return ImageEmbedder(runtime_args={"name": "embed/rep-1", "replicas": 3}, **options)


@pytest.fixture
def embedder(models_dir: Path) -> Iterator[ImageEmbedder]:
    """With a text tower."""
    write_towers(models_dir)
    made = make()
    yield made
    made.close()


@pytest.fixture
def without_text(models_dir: Path) -> Iterator[ImageEmbedder]:
    write_entry(models_dir, tiny_model())
    made = make()
    yield made
    made.close()


def picture(colour: str, **fields: Any) -> ImageDoc:
    tensor = np.zeros((TINY_SIDE, TINY_SIDE, 3), np.uint8)
    tensor[..., COLOURS[colour]] = 250
    return ImageDoc.from_values(id=colour, tensor=tensor, **fields)


def text(words: str) -> ImageDoc:
    return ImageDoc.from_values(id=words, text=words)


def query(embedder: ImageEmbedder, *documents: ImageDoc) -> list[ImageDoc]:
    return list(asyncio.run(embedder.query(DocList[ImageDoc](documents))))


def codes(documents: list[ImageDoc]) -> list[str | None]:
    return [each.error.code if each.error else None for each in documents]


def vectors(documents: list[ImageDoc]) -> np.ndarray[Any, Any]:
    return np.stack([np.asarray(each.embedding) for each in documents])


def test_texts_and_pictures_of_one_request_get_vectors_of_one_space(embedder: ImageEmbedder) -> None:
    documents = [picture("red"), text("a red car"), text("Blue"), picture("blue"), text("green"), picture("green")]
    answers = query(embedder, *documents)
    assert codes(answers) == [None] * 6
    cosines = vectors(answers) @ vectors(answers).T
    assert [int(row.argsort()[-2:].sum()) for row in cosines] == [1, 1, 5, 5, 9, 9], "each is nearest to its like"
    np.testing.assert_allclose(np.linalg.norm(vectors(answers), axis=1), 1, atol=1e-6)


def test_a_texts_vector_bears_the_image_models_name(embedder: ImageEmbedder) -> None:
    answers = query(embedder, picture("red"), text("red"))
    assert answers[0].model_id == answers[1].model_id
    assert str(answers[1].model_id).startswith(f"{TINY}@")


def test_bad_documents_cost_no_other(embedder: ImageEmbedder) -> None:
    black = ImageDoc.from_values(id="black", tensor=np.zeros((TINY_SIDE, TINY_SIDE, 3), np.uint8))
    small = ImageDoc.from_values(id="small", tensor=np.zeros((TINY_SIDE, TINY_SIDE - 1, 3), np.uint8))
    floats = ImageDoc.from_values(id="floats", tensor=np.zeros((TINY_SIDE, TINY_SIDE, 3), np.float32))
    short = ImageDoc.from_values(id="short", embedding=np.ones(2))
    documents = [
        picture("red"), black, small, floats, short, ImageDoc.from_values(id="none"),
        text("red"), text(" "), text("a " * 9), text("rain"), text("green"),
    ]  # fmt: skip
    answers = query(embedder, *documents)
    assert codes(answers) == [
        None, "embedding_failed", "invalid_tensor", "invalid_tensor", "dimension_mismatch", "no_content",
        None, "invalid_text", "invalid_text", "embedding_failed", None,
    ]  # fmt: skip
    assert [each.id for each in answers] == [each.id for each in documents]
    assert all((each.embedding is None) == (each.error is not None) for each in answers if each.id != "short")
    assert answers[8].error is not None
    assert answers[8].error.details == {"tokens": 11, "limit": 8}


def test_what_an_earlier_stage_refused_is_left_alone(embedder: ImageEmbedder) -> None:
    refused = query(embedder, text(""))[0].error
    document = ImageDoc.from_values(id="x", text="red", error=refused)
    assert query(embedder, document)[0].error == refused
    assert document.embedding is None


def test_a_ready_vector_wins_over_a_text(embedder: ImageEmbedder) -> None:
    (answer,) = query(embedder, ImageDoc.from_values(id="x", text="red", embedding=np.array([0.0, 3.0, 0.0])))
    np.testing.assert_array_equal(answer.embedding, [0, 1, 0])


def test_a_text_that_is_indexed_was_read_in_a_picture_and_is_no_content(embedder: ImageEmbedder) -> None:
    documents = DocList[ImageDoc]([picture("red", text="blue"), text("blue")])
    answers = list(asyncio.run(embedder.index(documents)))
    assert codes(answers) == [None, "no_content"]
    assert answers[0].text == "blue"
    np.testing.assert_allclose(vectors(answers[:1]), vectors(query(embedder, picture("red"))))


def test_a_model_that_takes_no_texts_says_so_and_takes_pictures(without_text: ImageEmbedder) -> None:
    answers = query(without_text, text("red"), picture("red"), text(""))
    assert codes(answers) == ["text_not_supported", None, "text_not_supported"]
    assert answers[0].error is not None
    assert answers[0].error.details == {"model": TINY}


def test_many_texts_at_once_get_their_own_vectors(embedder: ImageEmbedder) -> None:
    async def ask(words: str) -> np.ndarray[Any, Any]:
        answers = await embedder.query(DocList[ImageDoc]([text(words)] * 3))
        return vectors(list(answers))

    async def all_at_once() -> list[np.ndarray[Any, Any]]:
        return await asyncio.gather(*(ask(words) for words in ("red", "green", "blue") * 20))

    alone = vectors(query(embedder, text("red"), text("green"), text("blue")))
    for n, together in enumerate(asyncio.run(all_at_once())):
        np.testing.assert_allclose(together, np.stack([alone[n % 3]] * 3), atol=1e-6)


def test_the_status_names_both_towers(embedder: ImageEmbedder) -> None:
    query(embedder, text("red"), picture("red"))
    (answer,) = asyncio.run(embedder.status(DocList[ImageDoc]([ImageDoc(id="status")])))
    report = orjson.loads(answer.hits or b"")
    assert (report["name"], report["text"], report["dimension"]) == (TINY, TINY_TEXT, 3)
    assert (report["replica"], report["replica_count"]) == ("embed/rep-1", 3)
    assert (report["backend"], report["ready"], report["images"]) == ("onnx", True, 2)


def test_the_status_of_an_image_model_has_no_text_tower(without_text: ImageEmbedder) -> None:
    (answer,) = asyncio.run(without_text.status(DocList[ImageDoc]([ImageDoc(id="status")])))
    assert orjson.loads(answer.hits or b"")["text"] is None


def test_a_text_tower_without_its_tokenizer_keeps_the_stage_from_starting(models_dir: Path) -> None:
    write_towers(models_dir)
    (models_dir / TINY_TEXT / TOKENIZER_FILE).unlink()
    with pytest.raises(VisualSearchError) as caught:
        make()
    assert caught.value.code == "model_missing"


def test_the_flow_files_backend_is_used_unless_the_environment_names_one(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entry(models_dir, tiny_model())
    with pytest.raises(VisualSearchError, match="not one of onnx"):
        make(backend="no-such-backend")
    with pytest.raises(VisualSearchError, match="VS_TRITON_URLS"):
        make(backend="triton")
    monkeypatch.setenv("VS_EMBED_BACKEND", "onnx")
    settings.cache_clear()
    made = make(backend="triton")
    (answer,) = asyncio.run(made.status(DocList[ImageDoc]([ImageDoc(id="status")])))
    assert orjson.loads(answer.hits or b"")["backend"] == "onnx"
    made.close()
