"""CLIP's tokenizer as a file of the `tokenizers` library, made from CLIP's published vocabulary.

The tokens are those of `simple_tokenizer.py` in github.com/openai/CLIP (Radford et al., 2021): byte-level BPE over
lower-case words that end in `</w>`. CLIP cleans texts with the library ftfy first; this file does the part of it that
matters for typed texts: curly quotes, ligatures, full-width characters, control characters, NFC. Text that was decoded
with a wrong encoding is not repaired, and HTML entities are not decoded.
"""

from __future__ import annotations

import gzip
import json
import unicodedata
import zlib
from pathlib import Path
from typing import Any, Final

from executors.errors import VisualSearchError

START: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"

# CLIP reads only this many merges of the file (`simple_tokenizer.py`).
_MOST_MERGES: Final = 49_152 - 256 - 2
_END_OF_WORD: Final = "</w>"
_MOST_BYTES: Final = 64_000_000

# From simple_tokenizer.py.
_WORDS: Final = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_LIGATURES: Final = {
    each[0]: each[1:]
    for each in (
        *("ĲIJ", "ĳij", "ŉ'n", "ǱDZ", "ǲDz", "ǳdz", "ǄDŽ", "ǅDž", "ǆdž", "ǇLJ", "ǈLj", "ǉlj", "ǊNJ", "ǋNj", "ǌnj"),
        *("ﬀff", "ﬁfi", "ﬂfl", "ﬃffi", "ﬄffl", "ﬅſt", "ﬆst"),
    )
}
_FULL_WIDTH: Final = range(0xFF01, 0xFF5F)


def clip_tokenizer_json(vocabulary: Path, context_length: int) -> str:
    """Make the text of a tokenizer.json: start and end added, nothing cut, padded with 0 to the context length.

    Args:
        vocabulary: `bpe_simple_vocab_16e6.txt.gz`, or a file like it: a header, then one merge a line.
        context_length: tokens of one text.

    Raises:
        VisualSearchError: `model_invalid` when the file is damaged or no such vocabulary.
    """
    merges = _read_merges(vocabulary)
    alphabet = list(byte_characters().values())
    tokens = [*alphabet, *(each + _END_OF_WORD for each in alphabet), *("".join(pair) for pair in merges), START, END]
    ids = {token: index for index, token in enumerate(tokens)}
    if len(ids) != len(tokens) or any(part not in ids for pair in merges for part in pair):
        raise _invalid(vocabulary, "a token occurs twice, or a merge has a part that is not a token")
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": {
                "strategy": {"Fixed": context_length},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": tokens[0],
            },
            "added_tokens": [_special_token(ids[token], token) for token in (START, END)],
            "normalizer": {"type": "Sequence", "normalizers": _normalizers()},
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": _WORDS}, "behavior": "Removed", "invert": True},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
                ],
            },
            "post_processor": _around(ids),
            "decoder": None,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": "",
                "end_of_word_suffix": _END_OF_WORD,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": ids,
                "merges": [" ".join(pair) for pair in merges],
            },
        },
        ensure_ascii=False,
    )


def byte_characters() -> dict[int, str]:
    """The printable character that represents each byte, in the order of CLIP's vocabulary (`bytes_to_unicode`)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def _read_merges(vocabulary: Path) -> list[tuple[str, str]]:
    try:
        with gzip.open(vocabulary) as stream:
            content = stream.read(_MOST_BYTES)
        lines = content.decode("utf-8").split("\n")[1 : _MOST_MERGES + 1]
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise _invalid(vocabulary, f"it can't be read ({type(error).__name__})") from None
    merges = [tuple(line.split()) for line in lines if line.strip()]
    pairs = [(merge[0], merge[1]) for merge in merges if len(merge) == 2]
    if not pairs or len(pairs) != len(merges):
        raise _invalid(vocabulary, "its lines are not pairs of tokens")
    return pairs


def _normalizers() -> list[dict[str, Any]]:
    """The changes to a text before it is split into words, in ftfy's order."""
    full_width = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in _FULL_WIDTH}
    single_characters = _LIGATURES | full_width
    return [
        *(_replace({"String": each}, plain) for each, plain in single_characters.items()),
        _replace({"Regex": "[\u201c-\u201f]"}, '"'),
        _replace({"Regex": "[\u02bc\u2018-\u201b]"}, "'"),
        _replace({"Regex": r"[\x00-\x08\x0b\x0e-\x1f\x7f\x{206a}-\x{206f}\x{feff}\x{fff9}-\x{fffc}]"}, ""),
        {"type": "NFC"},
        # The library lower-cases letter by letter, but a capital sigma at the end of a word has its own lower-case
        # form.
        _replace({"Regex": r"(?<=[\p{Lu}\p{Ll}\p{Lt}])Σ(?![\p{Lu}\p{Ll}\p{Lt}])"}, "ς"),
        {"type": "Lowercase"},
    ]


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _special_token(index: int, content: str) -> dict[str, Any]:
    # `normalized`: also matches the token in a text that writes it in capitals, as CLIP's own tokenizer does.
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    return {"id": index, "content": content, **plain, "special": True}


def _around(ids: dict[str, int]) -> dict[str, Any]:
    """Wrap a text's tokens in start and end."""
    return {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": START, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": END, "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (START, END)},
    }


def _invalid(vocabulary: Path, what: str) -> VisualSearchError:
    message = f"{vocabulary.name!r} is not a vocabulary of CLIP: {what}"
    return VisualSearchError("model_invalid", message, file=vocabulary.name)
