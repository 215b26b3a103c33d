from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.models.convert.clip_tokenizer import END, START, byte_characters, clip_tokenizer_json
from tests.support.models.two_towers import CONTEXT_LENGTH, merges, write_vocabulary


def load(vocabulary: Path, context_length: int) -> Any:
    library = pytest.importorskip("tokenizers", reason="the extra `text` is not installed")
    return library.Tokenizer.from_str(clip_tokenizer_json(vocabulary, context_length))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "tiny.txt.gz"), CONTEXT_LENGTH)


def pieces(tokenizer: Any, text: str) -> list[str]:
    encoding = tokenizer.encode(text)
    return [token for token, real in zip(encoding.tokens, encoding.attention_mask, strict=True) if real][1:-1]


def test_a_text_is_framed_and_padded_with_zeros(tiny: Any) -> None:
    ids = tiny.encode("red car").ids
    end = tiny.token_to_id(END)
    assert end == max(ids) == 512 + len(merges()) + 1
    assert ids[:4] == [tiny.token_to_id(START), tiny.token_to_id("red</w>"), tiny.token_to_id("car</w>"), end]
    assert ids[4:] == [0] * (CONTEXT_LENGTH - 4)


def test_a_text_that_is_too_long_is_not_cut(tiny: Any) -> None:
    assert len(tiny.encode("red " * 50).ids) == 52


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RED Car", ["red</w>", "car</w>"]),
        ("  red\t\n car ", ["red</w>", "car</w>"]),
        ("red,car!", ["red</w>", ",</w>", "car</w>", "!</w>"]),
        ("red’s “car”", ["red</w>", "'", "s</w>", '"</w>', "car</w>", '"</w>']),
        ("ｒｅｄ　ｃａｒ", ["red</w>", "car</w>"]),
        ("\ufeffr\x00ed", ["red</w>"]),
        ("re\u0301d", ["r", "Ã", "©", "d</w>"]),
        ("42", ["4</w>", "2</w>"]),
        ("ΑΣ", ["Î", "±", "Ï", "Ĥ</w>"]),
        ("🐱", ["ð", "Ł", "Ĳ", "±</w>"]),
    ],
    ids=["case", "spaces", "punctuation", "quotes", "width", "control", "composed", "digits", "final sigma", "emoji"],
)
def test_texts_are_cleaned_and_split_as_clip_does_it(tiny: Any, text: str, expected: list[str]) -> None:
    assert pieces(tiny, text) == expected


def test_every_byte_has_a_character_of_its_own() -> None:
    assert sorted(byte_characters()) == list(range(256))
    assert len(set(byte_characters().values())) == 256
    assert not any(each.isspace() for each in byte_characters().values())


@pytest.mark.parametrize(
    "content",
    [
        b"not gzip",
        gzip.compress(b"#version: 0.2\na b c\n"),
        gzip.compress(b"#version: 0.2\n"),
        gzip.compress(b"#version: 0.2\nlong words\n"),
        gzip.compress(b"#version: 0.2\n\xff \xfe\n"),
        gzip.compress(b"#version: 0.2\na b\n")[:-6],
    ],
    ids=["not gzip", "three parts", "empty", "unknown parts", "not text", "cut"],
)
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vocabulary.txt.gz").write_bytes(content)
    with pytest.raises(VisualSearchError, match="vocabulary") as caught:
        clip_tokenizer_json(tmp_path / "vocabulary.txt.gz", 77)
    assert caught.value.code == "model_invalid"
