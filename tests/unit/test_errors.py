"""Errors carry a stable code, a status and no stack trace, also between processes."""

import pickle
import re

import pytest

from executors.errors import ERRORS, VisualSearchError


def test_an_error_knows_its_status_and_its_json() -> None:
    error = VisualSearchError("image_too_large", "too large", limit=1)
    assert error.status == 413
    assert error.to_json() == {"code": "image_too_large", "message": "too large", "details": {"limit": 1}}
    assert str(error) == "image_too_large: too large"


def test_an_unknown_code_is_a_defect() -> None:
    with pytest.raises(KeyError):
        VisualSearchError("no_such_code", "message")


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(VisualSearchError("not_found", "gone", id="a")))
    assert (error.code, error.message, error.details, error.status) == ("not_found", "gone", {"id": "a"}, 404)


def test_codes_are_lower_case_words_with_a_meaning() -> None:
    for code, kind in ERRORS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", code)
        assert 400 <= kind.status < 600
        assert kind.meaning
