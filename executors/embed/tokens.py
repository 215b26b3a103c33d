"""Tokenizer: texts to tokens. This is the only module that imports `tokenizers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.files.reading import open_plain
from executors.models.spec import DTYPES, TextSpec

if TYPE_CHECKING:
    from tokenizers import Encoding

_EXTRA: Final = "text"


class Tokenizer:
    """The tokenizer of one text tower. It never cuts a text: one that does not fit is refused."""

    def __init__(self, path: Path, spec: TextSpec) -> None:
        """Load the tokenizer.

        Args:
            path: a file in the format of the `tokenizers` library, with padding to the tower's context length.
            spec: the text tower.

        Raises:
            VisualSearchError: `package_missing` when the library is not installed, `model_missing` when there is no
                file, `model_invalid` when it can't be read or pads to another length.
        """
        self._spec = spec
        self._library = _load(path, spec)
        self._library.no_truncation()
        length = len(self._library.encode("a").ids)
        if length != spec.context_length:
            message = f"the tokenizer of {spec.name!r} pads to {length} tokens, the model takes {spec.context_length}"
            raise VisualSearchError("model_invalid", message, model=spec.name, expected=spec.context_length, got=length)

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any] | VisualSearchError]:
        """Turn texts into tokens.

        Args:
            texts: any Unicode.

        Returns:
            For each text its tokens (L of the tower's input type), or the error `invalid_text`: it is empty, blank, has
            no token in the model, or has more tokens than L.
        """
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> NDArray[Any] | VisualSearchError:
        limit = self._spec.context_length
        if not text.strip():
            return VisualSearchError("invalid_text", "`text` is empty")
        try:
            # The library releases the GIL for batches only. The batch has one text, since the library would encode
            # several in threads of its own, which would compete with those that compute.
            encoding = self._library.encode_batch_fast([text])[0]
        except TypeError:  # the library's error for text that is not Unicode, such as half a pair of UTF-16
            return VisualSearchError("invalid_text", "`text` is not valid Unicode")
        tokens = sum(encoding.attention_mask)
        if len(encoding.ids) > limit:
            message = f"`text` has {tokens} tokens; the model takes {limit}, start and end included"
            return VisualSearchError("invalid_text", message, tokens=tokens, limit=limit)
        if not _has_content(encoding):
            return VisualSearchError("invalid_text", "`text` has no token in the model", tokens=0)
        return np.asarray(encoding.ids, DTYPES[self._spec.input_type])


def _has_content(encoding: Encoding) -> bool:
    """Whether there is any token besides padding and those that the tokenizer adds around every text."""
    pairs = zip(encoding.attention_mask, encoding.special_tokens_mask, strict=True)
    return any(real and not added for real, added in pairs)


def _load(path: Path, spec: TextSpec) -> Any:
    try:
        import tokenizers
    except ImportError:
        message = (
            f"the model {spec.name!r} takes texts, for which the package `tokenizers` is needed: "
            f"pip install 'visual-search-flows[{_EXTRA}]'"
        )
        raise VisualSearchError("package_missing", message, model=spec.name, extra=_EXTRA) from None
    try:
        with open_plain(path) as stream:
            content = stream.readall().decode()
    except FileNotFoundError:
        message = f"the model {spec.name!r} has no {path.name}; `visual-search models build` makes it"
        raise VisualSearchError("model_missing", message, model=spec.name) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"the {path.name} of the model {spec.name!r} can't be read ({type(error).__name__})"
        raise VisualSearchError("model_invalid", message, model=spec.name) from None
    try:
        return tokenizers.Tokenizer.from_str(content)
    except Exception as error:  # the library raises `Exception` itself
        message = f"the {path.name} of the model {spec.name!r} is not a tokenizer: {error}"
        raise VisualSearchError("model_invalid", message, model=spec.name) from None
