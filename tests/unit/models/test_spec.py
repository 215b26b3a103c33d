from __future__ import annotations

from executors.models.spec import ModelSpec, text_not_supported


def test_a_model_that_takes_no_texts_is_named() -> None:
    error = text_not_supported(ModelSpec("tiny", "tiny@0123456789ab", 3, 8, 8, "squash"))
    assert (error.code, error.status, error.details) == ("text_not_supported", 400, {"model": "tiny"})
    assert "models list" in error.message
