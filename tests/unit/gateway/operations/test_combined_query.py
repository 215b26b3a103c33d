"""A search with several terms: one query, the weighted sum of their vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.rendering import SEARCHED, answer_to_json
from tests.support.flows.local_index import Caller

AXES = np.eye(4, dtype=np.float32)


async def filled(call: Caller) -> Caller:
    for n, name in enumerate("xyzw"):
        await call.index(name, shard=n, embedding=AXES[n], tags={"axis": name, "odd": n % 2})
    await call.index("xy", shard=1, embedding=AXES[0] + AXES[1], tags={"axis": "xy", "odd": 0})
    await call.index("-x", shard=2, embedding=-AXES[0], tags={"axis": "x", "odd": 1})
    return call


def query(vector: Any, **fields: Any) -> ImageDoc:
    return ImageDoc.from_values(embedding=np.asarray(vector, dtype=np.float32), **fields)


async def ranked(call: Caller, *documents: ImageDoc, **parameters: Any) -> dict[str, float]:
    body = answer_to_json(SEARCHED, await call("/search", *documents, **parameters))
    assert len(body["data"]) == 1
    return {match["id"]: match["score"] for match in body["data"][0]["matches"]}


async def test_the_query_is_the_weighted_sum_of_unit_vectors(call: Caller) -> None:
    await filled(call)
    terms = [
        {"like": "x", "weight": 1.5},
        {"embedding": [0, 7, 0, 0], "weight": -0.5},
        {"data": 0},
        {"data": 0, "weight": 0.25},
    ]
    scores = await ranked(call, query(100 * AXES[2]), terms=terms)
    total = np.array([1.5, -0.5, 1.25, 0])
    total /= np.linalg.norm(total)
    expected = {"x": total[0], "y": total[1], "z": total[2], "w": 0.0, "xy": (total[0] + total[1]) / 2**0.5}
    assert scores == pytest.approx(expected | {"-x": -total[0]}, abs=1e-6)
    assert next(iter(scores)) == "x"


async def test_a_single_term_searches_as_a_query_of_its_own(call: Caller) -> None:
    await filled(call)
    assert await ranked(call, terms=[{"like": "xy", "weight": 0.1}]) == pytest.approx(await ranked(call, like="xy"))
    away = await ranked(call, terms=[{"like": "x", "weight": -1}])
    assert next(iter(away)) == "-x"


async def test_weights_make_one_query_of_all_documents(call: Caller) -> None:
    await filled(call)
    scores = await ranked(call, query(AXES[0]), query(AXES[1]), weights=[1, -1], limit=2)
    assert scores == pytest.approx({"x": 0.5**0.5, "w": 0.0}, abs=1e-6)
    with pytest.raises(VisualSearchError, match=r"invalid_parameter: weights: has 1 numbers for 2 documents"):
        await ranked(call, query(AXES[0]), query(AXES[1]), weights=[1])


async def test_the_other_parameters_go_on_working(call: Caller) -> None:
    await filled(call)
    terms = [{"like": "x"}, {"like": "y"}]
    assert list(await ranked(call, terms=terms, limit=2)) == ["xy", "x"]
    assert list(await ranked(call, terms=terms, limit=2, offset=1)) == ["x", "y"]
    assert list(await ranked(call, terms=terms, limit=2, exclude_self=True)) == ["xy", "w"]
    assert list(await ranked(call, terms=terms, filter={"odd": 1})) == ["y", "w", "-x"]
    assert list(await ranked(call, terms=terms, group_by="odd")) == ["xy", "y"]
    assert list(await ranked(call, terms=terms, threshold=0.5)) == ["xy", "x", "y"]
    assert list(await ranked(call, terms=terms, score_min=0.5, score_max=0.9)) == ["x", "y"]
    assert list(await ranked(call, terms=terms, score_max=0.9, limit=1, offset=1)) == ["y"]
    assert list(await ranked(call, terms=terms, score_max=0.9, group_by="odd", exact=True)) == ["x", "y"]
    answer = await call("/search", terms=terms, fields=["tags.axis"], explain=True, limit=1)
    assert answer_to_json(SEARCHED, answer)["data"][0]["matches"][0]["tags"] == {"axis": "xy"}
    assert len(answer.info()["explain"]) == 1


@pytest.mark.parametrize(
    ("parameters", "documents", "code", "message"),
    [
        ({"terms": []}, 0, "invalid_parameter", "terms: "),
        ({"terms": [{"like": "x"}] * 101}, 0, "invalid_parameter", "terms: "),
        ({"terms": [{}]}, 0, "invalid_parameter", "terms.0: needs exactly one of like, text, embedding, data"),
        ({"terms": [{"like": "x", "data": 0}]}, 1, "invalid_parameter", "terms.0: needs exactly one"),
        ({"terms": [{"like": "x"}, {"like": "y", "weight": 0}]}, 0, "invalid_parameter", "terms.1.weight: must be"),
        ({"terms": [{"like": "x", "weight": 1.51}]}, 0, "invalid_parameter", "terms.0.weight: must be"),
        ({"terms": [{"like": "x", "weight": float("nan")}]}, 0, "invalid_parameter", "terms.0.weight: must be"),
        ({"terms": [{"like": "x", "weight": "1"}]}, 0, "invalid_parameter", "terms.0.weight: must be a number"),
        ({"terms": [{"like": "x", "weight": True}]}, 0, "invalid_parameter", "terms.0.weight: must be a number"),
        ({"terms": [{"like": "x", "wait": 1}]}, 0, "invalid_parameter", "terms.0.wait: "),
        ({"terms": [{"like": 5}]}, 0, "invalid_parameter", "terms.0.like: "),
        ({"terms": [{"text": 5}]}, 0, "invalid_parameter", "terms.0.text: "),
        ({"terms": ["x"]}, 0, "invalid_parameter", "terms.0: "),
        ({"terms": {"like": "x"}}, 0, "invalid_parameter", "terms: "),
        ({"terms": [{"embedding": "x"}]}, 0, "invalid_parameter", "terms.0.embedding: must be a list of numbers"),
        ({"terms": [{"embedding": [True, 1]}]}, 0, "invalid_parameter", "terms.0.embedding: must be a list of numbers"),
        ({"terms": [{"embedding": []}]}, 0, "invalid_parameter", "terms.0.embedding: must have 1 to"),
        ({"terms": [{"embedding": [0, 0, 0, 0]}]}, 0, "invalid_embedding", "terms.0: "),
        ({"terms": [{"embedding": [float("nan"), 0, 0, 0]}]}, 0, "invalid_embedding", "terms.0: "),
        ({"terms": [{"like": "x"}, {"embedding": [1, 2]}]}, 0, "dimension_mismatch", "terms.1: "),
        ({"terms": [{"data": 1}]}, 1, "invalid_parameter", "terms.0.data: is 1, but the request has 1 documents"),
        ({"terms": [{"data": -1}]}, 1, "invalid_parameter", "terms.0.data: must be the position"),
        ({"terms": [{"data": 0.5}]}, 1, "invalid_parameter", "terms.0.data: must be the position"),
        ({"terms": [{"data": 0}]}, 2, "invalid_parameter", "data.1: no term names this document"),
        ({"terms": [{"like": "x"}]}, 1, "invalid_parameter", "data.0: no term names this document"),
        ({"terms": [{"like": "x"}, {"like": "nothing"}]}, 0, "not_found", "terms.1.like: "),
        ({"terms": [{"like": "ü" * 300}]}, 0, "invalid_id", "terms.0.like: "),
        ({"terms": [{"text": " "}]}, 0, "invalid_text", "terms.0: "),
        ({"terms": [{"text": "x" * 9000}]}, 0, "invalid_text", "terms.0: "),
        ({"terms": [{"like": "x"}, {"like": "x", "weight": -1}]}, 0, "zero_query", "the weighted terms"),
        ({"terms": [{"like": "x"}, {"embedding": [-3, 0, 0, 0]}]}, 0, "zero_query", "the weighted terms"),
        ({"terms": [{"like": "x"}], "like": "x"}, 0, "invalid_parameter", "like and terms can't be combined"),
        ({"terms": [{"data": 0}], "weights": [1]}, 1, "invalid_parameter", "terms and weights can't be combined"),
        ({"like": "x", "weights": [1]}, 0, "invalid_parameter", "like and weights can't be combined"),
        ({"weights": [1]}, 0, "empty_request", ""),
        ({"weights": [0]}, 1, "invalid_parameter", "weights.0: must be"),
        ({"weights": [1, -1]}, 2, "zero_query", "the weighted terms"),
        ({"terms": [{"data": 0}], "exclude_self": True}, 1, "invalid_parameter", "exclude_self needs"),
        ({"like": "x", "threshold": 0, "score_min": 0}, 0, "invalid_parameter", "threshold and score_min"),
        ({"like": "x", "score_min": 0.5, "score_max": 0.4}, 0, "invalid_parameter", "score_max must be at least"),
        ({"like": "x", "threshold": 0.5, "score_max": 0.4}, 0, "invalid_parameter", "score_max must be at least"),
        ({"like": "x", "score_max": 1.1}, 0, "invalid_parameter", "score_max: "),
        ({"like": "x", "score_max": float("nan")}, 0, "invalid_parameter", "score_max: "),
    ],
)
async def test_wrong_input_is_refused_with_its_place(
    call: Caller, parameters: dict[str, Any], documents: int, code: str, message: str
) -> None:
    await filled(call)
    with pytest.raises(VisualSearchError) as refused:
        await call("/search", *(query(AXES[0]) for _ in range(documents)), **parameters)
    assert refused.value.code == code
    assert refused.value.message.startswith(message) or f"; {message}" in refused.value.message, refused.value.message


async def test_vectors_of_another_model_are_not_added(call: Caller) -> None:
    await filled(call)
    with pytest.raises(VisualSearchError, match=r"model_mismatch: terms\.1: "):
        await call("/search", query([1, 0, 0, 0], model_id="other@1"), terms=[{"like": "x"}, {"data": 0}])
    with pytest.raises(VisualSearchError, match=r"model_mismatch: data\.1: "):
        await call("/search", query(AXES[0]), query([1, 2], model_id="other@1"), weights=[1, 1])


async def test_a_faulty_document_is_named_by_the_term_that_uses_it(call: Caller) -> None:
    await filled(call)
    with pytest.raises(VisualSearchError, match=r"invalid_embedding: terms\.1: ") as refused:
        await call("/search", query([0, 0, 0, 0]), terms=[{"like": "x"}, {"data": 0}])
    assert refused.value.details["place"] == "terms.1"


async def test_an_unknown_collection_counts_as_for_any_search(call: Caller) -> None:
    await filled(call)
    body = answer_to_json(SEARCHED, await call("/search", query(AXES[0]), weights=[1], collection="nothing"))
    assert body["data"][0]["error"]["code"] == "collection_not_found"
