"""With CLIP's own vocabulary, fetched as `visual-search models pull` does, texts become the tokens that CLIP gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from executors.errors import VisualSearchError
from executors.models.convert.clip_tokenizer import clip_tokenizer_json
from executors.models.fetch.sources import local_file, pull_model
from executors.models.manifest import ManifestFile, load_manifest
from tests.support.flows.services import missing

pytestmark = pytest.mark.services

EXPECTED: dict[str, list[int]] = json.loads(Path(__file__).with_name("clip_tokens.json").read_text("utf-8"))


class Quiet:
    """A listener for downloads that shows nothing."""

    def tell(self, line: str) -> None: ...

    def advance(self, file: ManifestFile, done: int, total: int | None) -> None: ...


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("models")
    model = load_manifest()["clip-vit-b32"]
    vocabulary = model.files["vocabulary"]
    try:
        pull_model(model.model_copy(update={"files": {"vocabulary": vocabulary}}), folder, Quiet())
    except VisualSearchError as error:
        missing("vocabulary", str(error))
    return tokenizers.Tokenizer.from_str(clip_tokenizer_json(local_file(vocabulary, folder), 77))


@pytest.mark.parametrize("text", EXPECTED)
def test_the_tokens_are_those_of_clips_own_tokenizer(tokenizer: Any, text: str) -> None:
    """The stored ids were made by `simple_tokenizer.py` of clip-server 0.8.3, with ftfy."""
    encoding = tokenizer.encode(text)
    assert encoding.ids[: sum(encoding.attention_mask)] == EXPECTED[text]
    assert len(encoding.ids) == 77
