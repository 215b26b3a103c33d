from __future__ import annotations

import base64
import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.cli.transfer.format import (
    FORMAT,
    CollectionLine,
    End,
    Header,
    document_line,
    end_line,
    header_line,
    parse_line,
)
from executors.client import Document, FoundDocument
from executors.errors import VisualSearchError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "id": texts.filter(bool),
    "collection": st.sampled_from(["images", "a.b"]),
    "uri": st.none() | texts,
    "tags": st.dictionaries(texts, json_values, max_size=3),
    "parent": st.none() | texts,
    "box": st.none() | st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4),
    "text": st.none() | texts,
    "model_id": st.just("m@1"),
    "version": st.just("v1"),
    "embedding": st.lists(floats, min_size=1, max_size=6),
    "thumbnail": st.none() | st.binary(max_size=9),
    "error": st.none(),
    "thumbnail_url": st.none(),
}


def test_every_field_is_tried() -> None:
    assert set(FIELDS) == {each.name for each in fields(FoundDocument)}


@given(st.builds(FoundDocument, **FIELDS))
def test_a_document_comes_back_as_it_was_and_its_vector_to_the_bit(found: FoundDocument) -> None:
    line = document_line(found)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    document = parse_line(line[:-1])
    assert isinstance(document, Document)
    for name in {each.name for each in fields(Document)} - {"blob", "embedding"}:
        assert getattr(document, name) == getattr(found, name), name
    assert np.asarray(document.embedding, np.float32).tobytes() == np.asarray(found.embedding, np.float32).tobytes()


def test_the_vector_is_base64_of_little_endian_float32() -> None:
    line = json.loads(document_line(FoundDocument("a", embedding=[1.0, -2.0])))
    assert base64.b64decode(line["embedding_f32"]) == bytes.fromhex("0000803f 000000c0")


def test_what_a_store_keeps_for_itself_is_not_exported() -> None:
    assert "version" not in json.loads(document_line(FoundDocument("a", version="v1", embedding=[1.0])))


def test_header_and_end_come_back() -> None:
    header = Header([CollectionLine("a", "m", 3, 7)], "uuid", {"k": 1})
    assert parse_line(header_line(header)) == header
    assert parse_line(end_line(12)) == End(12)


def test_a_line_that_others_wrote_needs_only_id_and_vector() -> None:
    document = parse_line(b'{"id": "a", "embedding": [0.5, 1]}')
    assert document == Document(id="a", embedding=[0.5, 1])


def packed(*numbers: float) -> str:
    return base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("{", "invalid_document", "not JSON"),
        ("[1]", "invalid_document", "not a JSON object"),
        ('{"id": "\\ud800", "embedding": [1]}', "invalid_document", "not JSON"),
        ('{"id": "a", "embedding": [1], "tags": {"x": 1, "x": 2}}', "invalid_document", "the key 'x' twice"),
        ({"embedding": [1]}, "invalid_id", "no id"),
        ({"id": "", "embedding": [1]}, "invalid_id", "no id"),
        ({"id": 5, "embedding": [1]}, "invalid_id", "`id`"),
        ({"id": "a"}, "no_content", "embedding"),
        ({"id": "a", "embedding": [1], "embedding_f32": "AACAPw=="}, "invalid_embedding", "both"),
        ({"id": "a", "embedding": []}, "invalid_embedding", "list"),
        ({"id": "a", "embedding": [True]}, "invalid_embedding", "list"),
        ({"id": "a", "embedding": "AACAPw=="}, "invalid_embedding", "list"),
        ({"id": "a", "embedding_f32": "AAC="}, "invalid_embedding", "2 bytes"),
        ({"id": "a", "embedding_f32": ""}, "invalid_embedding", "0 bytes"),
        ({"id": "a", "embedding_f32": "no!"}, "invalid_base64", "embedding_f32"),
        ({"id": "a", "embedding_f32": [1.0]}, "invalid_base64", "embedding_f32"),
        ({"id": "a", "embedding_f32": packed(1, float("nan"))}, "invalid_embedding", "NaN"),
        ({"id": "a", "embedding": [1], "tags": [1]}, "invalid_tags", "tags"),
        ({"id": "a", "embedding": [1], "box": [1, 2, 3]}, "invalid_document", "box"),
        ({"id": "a", "embedding": [1], "thumbnail": "x"}, "invalid_base64", "thumbnail"),
        ({"id": "a", "embedding": [1], "colour": "red"}, "invalid_document", "'colour'"),
        ({"id": "a", "embedding": [1], "model_id": 5}, "invalid_document", "`model_id`"),
        ({"format": "visual-search-export/2", "collections": []}, "malformed_body", FORMAT),
        ({"format": FORMAT, "collections": [{"name": "a"}]}, "malformed_body", "header"),
        ({"format": FORMAT}, "malformed_body", "header"),
    ],
    ids=str,
)
def test_a_bad_line_is_told_for_what_it_is(line: Any, code: str, says: str) -> None:
    content = line if isinstance(line, str) else json.dumps(line)
    with pytest.raises(VisualSearchError) as raised:
        parse_line(content.encode())
    assert raised.value.code == code
    assert says in raised.value.message
