"""Errors carry a stable code, a status and no stack trace, also between processes."""

import pickle
import re
from typing import get_args

import pytest

from executors.errors import ERRORS, ErrorCode, VisualSearchError, as_error, error_from_json, known_code


def test_an_error_knows_its_status_and_its_json() -> None:
    error = VisualSearchError("image_too_large", "too large", limit=1)
    assert error.status == 413
    assert error.to_json() == {"code": "image_too_large", "message": "too large", "details": {"limit": 1}}
    assert str(error) == "image_too_large: too large"


def test_an_unknown_code_is_a_defect() -> None:
    with pytest.raises(KeyError):
        VisualSearchError("no_such_code", "message")  # type: ignore[arg-type]


def test_the_list_of_codes_and_the_table_of_their_meanings_are_the_same() -> None:
    assert get_args(ErrorCode) == tuple(ERRORS)


def test_an_error_survives_pickling_and_json() -> None:
    sent = VisualSearchError("not_found", "gone", id="a")
    sent.details["code"] = "a detail of the same name"
    for error in (pickle.loads(pickle.dumps(sent)), error_from_json(sent.to_json())):
        assert (error.code, error.message, error.details, error.status) == ("not_found", "gone", sent.details, 404)


@pytest.mark.parametrize("code", ["too_wonderful", None, 5, ["not_found"]])
def test_a_code_of_a_newer_version_is_an_internal_error_that_names_it(code: object) -> None:
    assert known_code(code) is None
    error = error_from_json({"code": code, "message": "m", "details": {"n": 1}})
    assert (error.code, error.message) == ("internal", f"{code}: m")
    assert error.details == {"n": 1, "service_code": str(code)}


def test_a_defect_is_logged_in_full_and_told_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    known = VisualSearchError("not_found", "gone")
    assert as_error(known, "index") is known
    error = as_error(ZeroDivisionError("secret"), "index")
    assert (error.code, error.details) == ("internal", {"stage": "index"})
    assert "secret" not in str(error)
    assert "secret" in caplog.text


def test_codes_are_lower_case_words_with_a_meaning() -> None:
    for code, kind in ERRORS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", code)
        assert 400 <= kind.status < 600
        assert kind.meaning
