from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from docarray import DocList

from executors.documents import ImageDoc
from executors.preprocess.cost import cost_of
from executors.preprocess.executor import ImagePreprocessor
from executors.scheduling.fair_threads import Cost
from executors.settings import settings
from tests.support.models.models import TINY, TINY_SIDE, tiny_model, write_entry
from tests.support.models.text_models import write_towers
from tests.support.pictures.pictures import encode, scene

PICTURE = encode(scene(1, 40, 60))


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start the stage with a model that takes texts, or with one that does not."""
    monkeypatch.setenv("VS_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("VS_MODEL", TINY)
    settings.cache_clear()
    started = []

    def run(*, texts: bool) -> ImagePreprocessor:
        if texts:
            write_towers(tmp_path)
        else:
            write_entry(tmp_path, tiny_model())
        started.append(ImagePreprocessor(runtime_args={"name": "preprocess"}))
        return started[-1]

    yield run
    for each in started:
        each.close()
    settings.cache_clear()


@pytest.fixture
def stage(start: Any) -> ImagePreprocessor:
    made: ImagePreprocessor = start(texts=True)
    return made


def document(**fields: Any) -> ImageDoc:
    return ImageDoc.from_values(id="x", **fields)


def query(stage: ImagePreprocessor, *documents: ImageDoc) -> list[ImageDoc]:
    return list(asyncio.run(stage.query(DocList[ImageDoc](documents))))


def index(stage: ImagePreprocessor, *documents: ImageDoc) -> list[ImageDoc]:
    return list(asyncio.run(stage.index(DocList[ImageDoc](documents))))


def codes(documents: list[ImageDoc]) -> list[str | None]:
    return [each.error.code if each.error else None for each in documents]


def test_a_query_in_words_passes_untouched_beside_pictures(stage: ImagePreprocessor) -> None:
    answers = query(stage, document(blob=PICTURE), document(text="a red car"), document(blob=b"no picture"))
    assert codes(answers) == [None, None, "unsupported_format"]
    assert np.asarray(answers[0].tensor).shape == (TINY_SIDE, TINY_SIDE, 3)
    assert (answers[1].text, answers[1].tensor, answers[1].blob) == ("a red car", None, None)


def test_a_model_that_takes_no_texts_refuses_them_and_takes_pictures(start: Any) -> None:
    stage = start(texts=False)
    answers = query(stage, document(text="a red car"), document(blob=PICTURE), document(text="a red car", blob=PICTURE))
    assert codes(answers) == ["text_not_supported", None, None]
    assert answers[0].error is not None
    assert (answers[0].error.stage, answers[0].error.details) == ("preprocess", {"model": TINY})


def test_a_query_without_any_content_is_told_what_it_may_hold(stage: ImagePreprocessor) -> None:
    (answer,) = query(stage, document(uri="https://example.com/a.jpg"))
    assert answer.error is not None
    assert answer.error.code == "no_content"
    for field in ("blob", "tensor", "embedding", "text"):
        assert f"`{field}`" in answer.error.message


def test_a_text_is_no_content_of_an_indexed_document_but_is_kept_with_its_picture(stage: ImagePreprocessor) -> None:
    answers = index(stage, document(text="was read"), document(text="was read", blob=PICTURE))
    assert codes(answers) == ["no_content", None]
    assert answers[0].error is not None
    assert "`text`" in answers[0].error.message
    assert answers[1].text == "was read"
    assert answers[1].thumbnail is not None


@pytest.mark.parametrize("text", [None, "a label"])
def test_a_ready_vector_needs_no_picture(stage: ImagePreprocessor, text: str | None) -> None:
    vector = np.ones(3, np.float32)
    searched = query(stage, document(embedding=vector, text=text), document(embedding=vector, blob=PICTURE))
    assert codes(searched) == [None, None]
    assert [each.blob for each in searched] == [None, None]
    indexed = index(stage, document(embedding=vector, text=text), document(embedding=vector, blob=PICTURE))
    assert codes(indexed) == [None, None]
    assert [each.thumbnail is not None for each in indexed] == [False, True]
    assert all(each.tensor is None for each in indexed)


@pytest.mark.parametrize("send", [index, query], ids=["index", "query"])
def test_a_picture_beside_a_ready_vector_is_checked_like_any_other(
    stage: ImagePreprocessor, send: Callable[..., list[ImageDoc]]
) -> None:
    vector = np.ones(3, np.float32)
    answers = send(
        stage,
        document(embedding=vector, blob=b"no picture"),
        document(embedding=vector, blob=PICTURE[: len(PICTURE) // 3]),
        document(embedding=vector, tensor=np.zeros((4, 4), np.uint8)),
        document(embedding=vector, tensor=np.zeros((4, 4, 3), np.uint8)),
    )
    assert codes(answers) == ["unsupported_format", "undecodable_image", "invalid_tensor", None]


def test_what_the_gateway_refused_is_left_alone(stage: ImagePreprocessor) -> None:
    refused = query(stage, document())[0].error
    (answer,) = query(stage, document(blob=PICTURE, error=refused))
    assert (answer.error, answer.tensor) == (refused, None)


def test_the_headers_of_one_request_do_not_keep_another_waiting(
    stage: ImagePreprocessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def count_together(*arguments: Any, **options: Any) -> Cost:
        both.wait(10)
        return cost_of(*arguments, **options)

    async def two() -> None:
        await asyncio.gather(*(stage.query(DocList[ImageDoc]([document(blob=PICTURE)])) for _ in range(2)))

    monkeypatch.setattr("executors.preprocess.executor.cost_of", count_together)
    asyncio.run(two())
