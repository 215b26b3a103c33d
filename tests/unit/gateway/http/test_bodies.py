"""Documents of JSON bodies: an invalid one gets an error, and the others are still read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest

from executors.embed.vectors import check_embedding
from executors.errors import VisualSearchError
from executors.gateway.document_checks import Takes, admit_documents
from executors.gateway.flow.chunks import Answer
from executors.gateway.http.bodies import parse_json
from executors.gateway.parameters import CountParameters, parse_parameters
from executors.gateway.rendering import FOUND, answer_to_json

LIMIT = 1_000_000


def codes_of(body: str) -> list[str | None]:
    """The code of each document's error, after the door; the answer can be written."""
    documents, _ = parse_json(body.encode(), LIMIT)
    admit_documents(documents, Takes.CONTENT, collection=None)
    orjson.dumps(answer_to_json(FOUND, Answer(documents)), option=orjson.OPT_SERIALIZE_NUMPY)
    return [document.error.code if document.error else None for document in documents]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("id", '"a\\udcff"', "invalid_id"),
        ("uri", '"\\ud800"', "invalid_document"),
        ("collection", '"\\udfff"', "invalid_document"),
        ("parent", '"\\ud800"', "invalid_document"),
        ("model_id", '"\\ud800"', "invalid_document"),
        ("text", '"\\ud83d"', "invalid_text"),
        ("blob", '"\\ud800"', "invalid_base64"),
        ("thumbnail", '"\\ud800"', "invalid_document"),
        ("\\udcff", "1", "invalid_document"),
        ("tags", '{"\\udcff": 1}', "invalid_tags"),
        ("tags", '{"a": [{"b": "\\udcff"}]}', "invalid_tags"),
        ("tags", '{"a": 1e999}', "invalid_tags"),
        ("tags", f'{{"a": {"9" * 400}}}', "invalid_tags"),
        ("tags", f'{{"a": -{"9" * 5000}}}', "invalid_tags"),
        ("embedding", "[1e999, 1]", "invalid_embedding"),
        ("embedding", f"[1, {10**309}]", "invalid_embedding"),
        ("box", "[0, 0, 1, 1e999]", "invalid_document"),
        ("id", "1e999", "invalid_id"),
    ],
)
def test_a_value_that_json_can_write_and_nothing_can_store_costs_its_document(
    field: str, value: str, code: str
) -> None:
    good = '{"id": "good", "embedding": [1, 2]}'
    bad = f'{{"id": "bad", "{field}": {value}}}' if field != "id" else f'{{"id": {value}}}'
    assert codes_of(f'{{"data": [{good}, {bad}, {good.replace("good", "other")}]}}') == [None, code, None]


@pytest.mark.parametrize(
    "body",
    [
        '{"data": [{"id": "a", "tags": {"n": NaN}}]}',
        '{"data": [{"id": "a", "embedding": [-Infinity]}]}',
        '{"data": [{"id": "\\ud800"}], "parameters": {"limit": 1e999}}',
        '{"data": [], "parameters": {"filter": {"a": "\\ud800"}}}',
        '{"data": [], "parameters": {"\\ud800": 1}}',
        '{"\\ud800": 1}',
        '{"data": [{"id": "\\ud800", "id": "b"}]}',
        '{"data": [{"id": "\\ud800"}]',
        '{"data": [{"id": "a\tb"}, "\\ud800"]}',
    ],
)
def test_what_is_wrong_with_the_request_is_told_of_the_request(body: str) -> None:
    with pytest.raises(VisualSearchError) as refused:
        parse_json(body.encode(), LIMIT)
    assert refused.value.code == "malformed_body"
    orjson.dumps(refused.value.to_json())


def test_what_is_nested_deep_is_left_to_its_own_check() -> None:
    for deep in ('{"$not":' * 900 + "{}" + "}" * 900, "[" * 900 + "]" * 900):
        _, parameters = parse_json(f'{{"parameters": {{"filter": {deep}}}}}'.encode(), LIMIT)
        with pytest.raises(VisualSearchError, match="invalid_filter"):
            parse_parameters(CountParameters, parameters)


@pytest.mark.parametrize("scale", [1e300, 1e39, 1.0, 1e-20, 1e-40, 1e-46, 1e-300])
def test_a_vector_of_any_length_is_taken(scale: float) -> None:
    """As over gRPC: only its direction is kept."""
    values: list[Any] = [3 * scale, 4 * scale]
    (document,), _ = parse_json(json.dumps({"data": [{"embedding": values}]}).encode(), LIMIT)
    assert np.allclose(check_embedding(document.embedding, 2), [0.6, 0.8])


def test_vectors_that_fit_stay_single_precision() -> None:
    (document,), _ = parse_json(b'{"data": [{"embedding": [0.1, 0, -1e-40]}]}', LIMIT)
    assert document.embedding is not None
    assert np.asarray(document.embedding).dtype == np.float32
