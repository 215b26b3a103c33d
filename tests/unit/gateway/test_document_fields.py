"""A field of a document is known at every place that takes documents, keeps them or gives them back.

A caller's field that one of these places lacks would be lost without an error.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from executors.client import Document
from executors.client.answers import FoundDocument, found_from_json
from executors.client.requests import encode_request
from executors.document_bytes import encode_documents
from executors.document_faults import FAULT
from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway import answers, document_checks
from executors.gateway.flow.chunks import Answer
from executors.gateway.http import bodies
from executors.gateway.http.openapi_schemas import DOCUMENT
from executors.gateway.rendering import FOUND, answer_to_json
from executors.index.records import ShardIdentity, StoredDocument
from executors.index.wire.documents import record_of, stored_answer

# Of `ImageDoc`: what only gRPC callers can send, what only answers have, and what travels between stages.
NOT_IN_JSON = {"tensor"}
ONLY_ANSWERED = {"version", "result", "error", "matches", "hits", "shards_total", "shards_answered"}
SENT = set(ImageDoc.model_fields) - ONLY_ANSWERED - NOT_IN_JSON
# Pictures are not stored.
STORED = {each.name for each in fields(StoredDocument)}
VALUES: dict[str, Any] = {
    "embedding": np.array([0.6, 0.8], np.float32),
    "tags": {"a": 1},
    "box": [1.0, 2.0, 3.0, 4.0],
    "blob": b"\x00picture",
    "thumbnail": b"\xff\xd8\xffjpeg",
    "collection": "images",
}


def value_of(name: str) -> Any:
    """A value of the field; that of a text is its name."""
    return VALUES.get(name, f"<{name}>")


def test_bodies_their_description_and_the_client_know_the_same_fields() -> None:
    described: Any = DOCUMENT["properties"]
    assert set(bodies._KNOWN_FIELDS) == set(described) == {each.name for each in fields(Document)} == SENT


@pytest.mark.parametrize("name", sorted(SENT))
def test_a_field_that_the_client_is_given_arrives(name: str) -> None:
    body = encode_request([Document(**{"text": value_of("text"), name: value_of(name)})], {})
    (document,), _ = bodies.parse_json(body.content, 1_000_000)
    assert document.error is None
    np.testing.assert_array_equal(getattr(document, name), value_of(name))


@pytest.mark.parametrize("name", sorted(SENT - {"id", "blob", "uri", "tags"}))
def test_a_picture_with_a_field_that_a_form_lacks_is_sent_as_json(name: str) -> None:
    document = Document(**{"id": "a", "blob": b"picture", name: value_of(name)})
    assert encode_request([document], {}).content_type == "application/json"


def test_update_refuses_every_field_that_it_does_not_change() -> None:
    assert set(document_checks._NOT_UPDATED) == (SENT | NOT_IN_JSON) - {"id", "collection", "tags", "model_id"}


@pytest.mark.parametrize("name", sorted(SENT - {"id", "tags", "box", "embedding", "blob", "thumbnail"}))
def test_a_text_that_is_not_unicode_is_refused_where_it_is_made_and_named_where_it_is_sent(name: str) -> None:
    broken: dict[str, Any] = {name: "\ud800"}
    with pytest.raises(ValueError, match=name):
        ImageDoc(**broken)
    with pytest.raises(VisualSearchError, match=name):
        Document(**broken)
    document = ImageDoc.from_values(id="a")
    document.__dict__[name] = "\ud800"
    (fault,) = [message for message in map(bytes, encode_documents([document])) if FAULT.encode() in message]
    assert name.encode() in fault


def test_every_field_is_stored_read_answered_and_read_by_the_client() -> None:
    sent = ImageDoc.from_values(**{name: value_of(name) for name in STORED})
    record = record_of(sent)
    assert {each.name for each in fields(record)} == STORED
    stored = StoredDocument(**{name: getattr(record, name) for name in STORED})
    answered = ImageDoc.from_protobuf(stored_answer(sent, stored, ShardIdentity("u", 0, 1)).to_protobuf())
    (rendered,) = answer_to_json(FOUND, Answer([answered]))["data"]
    assert set(rendered) == set(answers.FoundDocument.model_fields) == {each.name for each in fields(FoundDocument)}
    found = found_from_json(rendered)
    for name in STORED:
        np.testing.assert_array_equal(getattr(found, name), value_of(name), name)
