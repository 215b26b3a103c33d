from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers, processors

from executors.embed.tokens import Tokenizer
from executors.errors import VisualSearchError
from executors.models.spec import TextSpec

LENGTH = 12
START, END, PADDING = 256, 257, 0
UNKNOWN = "\ufffd"
SPEC = TextSpec("tiny-text", "tiny-text@0123456789ab", 3, LENGTH, "INT32")


def write_tokenizer(folder: Path, *, padding: int | None = LENGTH, truncation: int | None = None) -> Path:
    """A tokenizer like CLIP's, whose tokens are single bytes: the start, a token a byte, the end, padding.

    It drops one character, as tokenizers do that clean what they are given.
    """
    vocabulary = {character: n for n, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    library = Library(models.BPE({**vocabulary, "<start>": START, "<end>": END}, []))
    library.normalizer = normalizers.Replace(UNKNOWN, "")
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.add_special_tokens(["<start>", "<end>"])
    library.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", START), ("<end>", END)]
    )
    if padding is not None:
        library.enable_padding(length=padding, pad_id=PADDING)
    if truncation is not None:
        library.enable_truncation(truncation)
    path = folder / "tokenizer.json"
    library.save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer(write_tokenizer(tmp_path_factory.mktemp("tokenizer")), SPEC)


def tokens_of(tokenizer: Tokenizer, text: str) -> list[int]:
    (tokens,) = tokenizer.encode([text])
    assert isinstance(tokens, np.ndarray)
    return list(tokens)


def refused(tokenizer: Tokenizer, text: str) -> VisualSearchError:
    (error,) = tokenizer.encode([text])
    assert isinstance(error, VisualSearchError)
    assert error.code == "invalid_text"
    return error


def test_a_text_becomes_tokens_between_start_and_end_padded_to_the_models_length(tokenizer: Tokenizer) -> None:
    tokens = tokens_of(tokenizer, "red")
    assert (tokens[0], tokens[4]) == (START, END)
    assert tokens[5:] == [PADDING] * (LENGTH - 5)
    assert tokens[1:4] != tokens_of(tokenizer, "der")[1:4]


@pytest.mark.parametrize("kind", ["INT32", "INT64"])
def test_tokens_are_of_the_type_that_the_model_takes(tmp_path: Path, kind: str) -> None:
    spec = TextSpec("t", "t@0123456789ab", 3, LENGTH, kind)  # type: ignore[arg-type]  # a parameter is a plain string
    (tokens,) = Tokenizer(write_tokenizer(tmp_path), spec).encode(["red"])
    assert isinstance(tokens, np.ndarray)
    assert (tokens.dtype, tokens.shape) == (np.dtype(kind.lower()), (LENGTH,))


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u2003\u00a0"])
def test_an_empty_or_blank_text_is_refused(tokenizer: Tokenizer, text: str) -> None:
    assert "empty" in refused(tokenizer, text).message


def test_a_text_of_which_nothing_is_left_is_refused(tokenizer: Tokenizer) -> None:
    assert refused(tokenizer, UNKNOWN * 3).details == {"tokens": 0}
    assert tokens_of(tokenizer, f"{UNKNOWN}a{UNKNOWN}") == tokens_of(tokenizer, "a")


def test_the_longest_text_is_taken_and_one_token_more_is_refused_with_the_counts(tokenizer: Tokenizer) -> None:
    assert tokens_of(tokenizer, "x" * (LENGTH - 2))[-1] == END
    assert refused(tokenizer, "x" * (LENGTH - 1)).details == {"tokens": LENGTH + 1, "limit": LENGTH}


def test_a_text_is_never_cut_even_if_the_file_says_so(tmp_path: Path) -> None:
    cutting = Tokenizer(write_tokenizer(tmp_path, truncation=LENGTH), SPEC)
    assert refused(cutting, "x" * 50).details == {"tokens": 52, "limit": LENGTH}


@pytest.mark.parametrize("text", ["🐈", "שלום", "日本", "a\0b", "e\u0301", "\u200b", "\uffff", "\U0010ffff"])
def test_any_unicode_is_taken(tokenizer: Tokenizer, text: str) -> None:
    assert tokens_of(tokenizer, text).index(END) == len(text.encode()) + 1


def test_what_is_no_unicode_is_refused(tokenizer: Tokenizer) -> None:
    refused(tokenizer, "half a pair: \ud83d")


def test_a_text_that_spells_the_tokenizers_own_marks_is_a_text(tokenizer: Tokenizer) -> None:
    assert tokens_of(tokenizer, "<start>")[:3] == [START, START, END]


def test_bad_texts_cost_no_other(tokenizer: Tokenizer) -> None:
    texts = ["red", "", "green", "x" * 99, "blue", "\ud800"]
    kinds = [isinstance(each, np.ndarray) for each in tokenizer.encode(texts)]
    assert kinds == [True, False, True, False, True, False]


@given(st.lists(st.text(max_size=20), max_size=5))
def test_a_text_alone_and_among_others_has_the_same_tokens(tokenizer: Tokenizer, texts: list[str]) -> None:
    for text, together in zip(texts, tokenizer.encode(texts), strict=True):
        (alone,) = tokenizer.encode([text])
        if isinstance(alone, np.ndarray):
            np.testing.assert_array_equal(alone, _array(together))
        else:
            assert str(alone) == str(together)


def _array(tokens: object) -> NDArray[np.generic]:
    assert isinstance(tokens, np.ndarray)
    return tokens


@pytest.mark.parametrize("padding", [None, LENGTH + 1])
def test_a_tokenizer_of_another_length_than_the_models_is_refused_at_start(tmp_path: Path, padding: int | None) -> None:
    with pytest.raises(VisualSearchError) as caught:
        Tokenizer(write_tokenizer(tmp_path, padding=padding), SPEC)
    assert caught.value.code == "model_invalid"
    assert caught.value.details["expected"] == LENGTH


def test_a_missing_tokenizer_is_a_missing_model_and_a_damaged_one_is_invalid(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for content, code in ((None, "model_missing"), (b"{}", "model_invalid"), (b"\xff\0", "model_invalid")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(VisualSearchError) as caught:
            Tokenizer(path, SPEC)
        assert caught.value.code == code
        assert str(tmp_path) not in caught.value.message


def test_without_the_library_the_error_names_the_extra_and_importing_needs_nothing(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path)
    program = f"""
import sys
sys.modules["tokenizers"] = None
from pathlib import Path
from executors.embed.tokens import Tokenizer
from executors.errors import VisualSearchError
from executors.models.spec import TextSpec
try:
    Tokenizer(Path({str(path)!r}), TextSpec("t", "t@0123456789ab", 3, {LENGTH}))
except VisualSearchError as error:
    print(error.code, error.details["extra"], "visual-search-flows[text]" in error.message)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["package_missing", "text", "True"]


def test_others_go_on_while_a_long_text_is_read(tokenizer: Tokenizer) -> None:
    """An event loop with other requests runs meanwhile: it has to get its turns, not one at the end."""
    turns, done = [], threading.Event()

    def count() -> None:
        while not done.is_set():
            turns.append(time.perf_counter())

    counter = threading.Thread(target=count)
    counter.start()
    started = time.perf_counter()
    tokenizer.encode(["é" * 1_000_000])
    ended = time.perf_counter()
    done.set()
    counter.join()
    middle = [turn for turn in turns if started + 0.1 * (ended - started) < turn < started + 0.9 * (ended - started)]
    assert middle
