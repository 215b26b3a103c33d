"""A pair of towers that is as small as can be: pictures by their mean colour, texts by the colours that they name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from executors.models.pbtxt import tower_from_pbtxt, with_parameter
from executors.models.repository import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE, load_towers, model_id_of
from executors.models.spec import Towers
from tests.support.models.models import TINY, TINY_DIMENSION, tiny_config, tiny_model, write_entry

TINY_TEXT = "tiny-text"
CONTEXT_LENGTH = 8
MAX_BATCH_SIZE = 16
# The first three stand for a colour, in the order of a picture's channels; the others have no meaning.
WORDS = ("red", "green", "blue", "a", "car", "in", "the", "rain")
_MARKS = ("<padding>", "<start>", "<end>", "<unknown>")
_VOCABULARY = {word: n for n, word in enumerate((*_MARKS, *WORDS))}


def write_towers(models_dir: Path, *, seed: int = 0) -> Towers:
    """Write both entries: what `tiny_model` makes of a red picture, the text tower makes of «red».

    A text that names no colour gives zeros, a black picture NaN.
    """
    _write_text_entry(models_dir, seed)
    text = tower_from_pbtxt((models_dir / TINY_TEXT / CONFIG_FILE).read_text(), TINY_TEXT)
    config = with_parameter(tiny_config(), "text_model", TINY_TEXT)
    write_entry(models_dir, tiny_model(seed=seed), with_parameter(config, "text_model_id", text.model_id))
    return load_towers(models_dir, TINY)


def tiny_tokenizer(*, padding: int | None = CONTEXT_LENGTH) -> Tokenizer:
    """Makes one token of each word, in any case, between a start and an end token."""
    tokenizer = Tokenizer(models.WordLevel(_VOCABULARY, unk_token="<unknown>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(list(_MARKS[:3]))
    ends = [(mark, _VOCABULARY[mark]) for mark in ("<start>", "<end>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    if padding is not None:
        tokenizer.enable_padding(length=padding, pad_id=0, pad_token="<padding>")
    return tokenizer


def _write_text_entry(models_dir: Path, seed: int) -> None:
    folder = models_dir / TINY_TEXT
    (folder / MODEL_FILE).parent.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(_text_model(seed))
    tiny_tokenizer().save(str(folder / TOKENIZER_FILE))
    config = f"""name: "{TINY_TEXT}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH_SIZE}
input {{ name: "tokens" data_type: TYPE_INT64 dims: [ {CONTEXT_LENGTH} ] }}
output {{ name: "embedding" data_type: TYPE_FP32 dims: [ {TINY_DIMENSION} ] }}
parameters {{ key: "kind" value {{ string_value: "text" }} }}
"""
    model_id = model_id_of(tower_from_pbtxt(config, TINY_TEXT), folder / MODEL_FILE)
    (folder / CONFIG_FILE).write_text(with_parameter(config, "model_id", model_id), "utf-8")


def _text_model(seed: int) -> bytes:
    """Adds up the vectors of a text's words: for a colour the one of a picture of that colour, else zeros."""
    # The same numbers as in `tiny_model`.
    mixer = np.random.default_rng(seed).uniform(0.5, 1.0, (3, TINY_DIMENSION)).astype(np.float32)
    meanings = np.zeros((len(_VOCABULARY), TINY_DIMENSION), np.float32)
    meanings[_VOCABULARY["red"] : _VOCABULARY["red"] + 3] = mixer
    nodes = [
        helper.make_node("Gather", ["meanings", "tokens"], ["words"]),
        helper.make_node("ReduceSum", ["words", "axis"], ["embedding"], keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(meanings, "meanings"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    inputs = [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", CONTEXT_LENGTH])]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", TINY_DIMENSION])]
    graph = helper.make_graph(nodes, "tiny-text", inputs, outputs, constants)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
