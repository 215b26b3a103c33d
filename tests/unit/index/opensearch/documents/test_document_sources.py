"""Sources of documents: everything that is put comes back from the fields that are read, and every field has a mapping."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import orjson
import pytest

from executors.index.encoding import encode_record
from executors.index.opensearch.cluster.layout import IndexOptions, collection_index
from executors.index.opensearch.documents.document_sources import (
    document_source,
    faults_of,
    fields_read,
    stored_document,
)
from executors.index.records import Record
from executors.index.write_rules import Held
from tests.contracts.store_writes import CHANGES, KEYS
from tests.support.stores.records import DIMENSION, MODEL, record

CONTENT: dict[str, Any] = {name: value for changes in CHANGES for name, value in changes.items()}
FULL = record("a", **CONTENT)


def source_of(given: Record) -> dict[str, Any]:
    """The source of a document as OpenSearch gives it back."""
    encoded = encode_record(given)
    held = Held(True, given.version, "put", "created", encoded.digest.hex(), encoded.content_digest.hex())
    written = orjson.dumps(document_source(encoded, held, frozenset()), option=orjson.OPT_SERIALIZE_NUMPY)
    read: dict[str, Any] = orjson.loads(written)
    return read


def test_every_field_comes_back_from_the_fields_that_are_read() -> None:
    source = source_of(FULL)
    read = {name: source[name] for name in fields_read(embedding=True, thumbnail=True) if name in source}
    document = stored_document(read, FULL.collection, MODEL, embedding=True, thumbnail=True)
    for name in (each.name for each in fields(document)):
        np.testing.assert_array_equal(getattr(document, name), getattr(FULL, name), name)


def test_every_field_has_a_mapping() -> None:
    body = collection_index(IndexOptions(), "images", MODEL, DIMENSION)
    assert set(source_of(FULL)) <= set(body["mappings"]["properties"])


@pytest.mark.parametrize("name", sorted({each.name for each in fields(Record)} - KEYS - {"tags"}))
def test_a_content_that_differs_from_its_digest_is_a_fault(name: str) -> None:
    source = source_of(FULL)
    assert faults_of(source, DIMENSION, frozenset()) == []
    other = source_of(replace(FULL, **{name: getattr(record("a", seed=5, uri="another"), name)}))
    damaged = {**other, "content": source["content"], "digest": source["digest"]}
    assert faults_of(damaged, DIMENSION, frozenset()) == ["its content does not match its digest"]
