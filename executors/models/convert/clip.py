"""Makes entries of the model repository from a CLIP-like pair of ONNX files, an image tower and a text tower.

The original graph keeps its nodes and its operator set; nodes are added before and behind it. Pictures are given as N x
height x width x 3 uint8 and are normalised inside, (x - mean) / scale, and both towers give vectors of unit length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from executors.errors import VisualSearchError
from executors.models.spec import TensorType

IMAGE_INPUT: Final = "image"
TEXT_INPUT: Final = "tokens"
OUTPUT: Final = "embedding"

# Every name of the original gets this prefix, so that none equals one of ours.
_PREFIX: Final = "original/"

# The oldest operator set that ONNX Runtime promises to run has all operators that this module adds. Of these, only
# ReduceL2 has changed since: its axes became an input in 18.
_LEAST_OPSET: Final = 7
_AXES_AS_INPUT: Final = 18
# From 4 on, constants need not be inputs as well.
_LEAST_IR: Final = 4
# The maximum size of a protobuf, less a megabyte for the added nodes.
_MOST_BYTES: Final = 2**31 - 2**20

_FLOATS: Final = (TensorProto.FLOAT, TensorProto.FLOAT16)
_TOKENS: Final[dict[int, TensorType]] = {TensorProto.INT32: "INT32", TensorProto.INT64: "INT64"}
_MASKS: Final = (TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT)


def convert_visual(
    source: Path, *, height: int, width: int, dimension: int, mean: Sequence[float], scale: Sequence[float]
) -> bytes:
    """Make the image tower: `image` N x height x width x 3 uint8 RGB to `embedding` N x D float32 of unit length.

    Args:
        source: a model that takes N x 3 x height x width normalised float32 or float16, and gives N x D.
        height, width, dimension: the sizes of the axes; used where the file leaves a size open, and compared where it
            gives one.
        mean, scale: normalisation of red, green, blue, for values from 0 to 255.

    Raises:
        VisualSearchError: `model_invalid`, naming the mismatch.
    """
    graph = _Original(source)
    (entry,) = graph.require_inputs(1)
    graph.require(entry, _FLOATS, [3, height, width])
    result = graph.require_output(dimension)
    before = [
        *(_constant(name, np.reshape(values, (1, 3, 1, 1)).astype(np.float32)) for name, values in _named(mean, scale)),
        helper.make_node("Transpose", [IMAGE_INPUT], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["normalised"]),
        helper.make_node("Cast", ["normalised"], [entry.name], to=entry.type.tensor_type.elem_type),
    ]
    declared = helper.make_tensor_value_info(IMAGE_INPUT, TensorProto.UINT8, ["batch", height, width, 3])
    return graph.wrap(before, declared, result, dimension)


def convert_textual(source: Path, *, context_length: int, dimension: int) -> tuple[bytes, TensorType]:
    """Make the text tower: `tokens` N x L to `embedding` N x D float32 of unit length.

    A second input, the attention mask of some exports, is computed: 1 up to the end token, which has the highest id.

    Args:
        source: a model that takes N x L int32 or int64, and gives N x D.
        context_length, dimension: L and D; used where the file leaves a size open, and compared where it gives one.

    Returns:
        The model, and the type of its tokens, which is the original's.

    Raises:
        VisualSearchError: `model_invalid`, naming the mismatch.
    """
    graph = _Original(source)
    tokens, *masks = graph.require_inputs(1, 2)
    if masks and "mask" in tokens.name.lower():
        tokens, masks = masks[0], [tokens]
    graph.require(tokens, tuple(_TOKENS), [context_length])
    for mask in masks:
        graph.require(mask, _MASKS, [context_length])
    result = graph.require_output(dimension)
    kind = tokens.type.tensor_type.elem_type
    before = [helper.make_node("Identity", [TEXT_INPUT], [tokens.name])]
    for mask in masks:
        before += [
            _constant("places", np.arange(context_length, dtype=np.float32)[None]),
            # Token ids are compared as floats, which every runtime supports; ids are exact in them.
            helper.make_node("Cast", [TEXT_INPUT], ["ids"], to=TensorProto.FLOAT),
            helper.make_node("ArgMax", ["ids"], ["end"], axis=1, keepdims=1),
            helper.make_node("Cast", ["end"], ["last"], to=TensorProto.FLOAT),
            helper.make_node("Greater", ["places", "last"], ["behind"]),
            helper.make_node("Not", ["behind"], ["real"]),
            helper.make_node("Cast", ["real"], [mask.name], to=mask.type.tensor_type.elem_type),
        ]
    declared = helper.make_tensor_value_info(TEXT_INPUT, kind, ["batch", context_length])
    return graph.wrap(before, declared, result, dimension), _TOKENS[kind]


class _Original:
    """A model as it was published, and the checks that it fits."""

    def __init__(self, source: Path) -> None:
        self._file = source.name
        self._model = self._load(source)
        graph = self._model.graph
        constants = {each.name for each in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
        self._inputs = [each for each in graph.input if each.name not in constants]
        versions = [each.version for each in self._model.opset_import if each.domain in ("", "ai.onnx")]
        self._opset = max(versions, default=0)
        if self._opset < _LEAST_OPSET:
            raise self._invalid(f"its operator set is {self._opset}, expected at least {_LEAST_OPSET}; export it again")

    def require_inputs(self, least: int, most: int | None = None) -> list[Any]:
        """The inputs that are not constants."""
        if not least <= len(self._inputs) <= (most or least):
            names = ", ".join(each.name.removeprefix(_PREFIX) for each in self._inputs) or "none"
            raise self._invalid(f"its inputs are {names}, expected {least if most is None else f'{least} or {most}'}")
        return self._inputs

    def require(self, value: Any, types: Sequence[int], dims: list[int]) -> None:
        """Refuse an input or output of another type, or of other dims behind the batch axis; a name stands for any size."""
        name = value.name.removeprefix(_PREFIX)
        tensor = value.type.tensor_type
        if tensor.elem_type not in types:
            expected = " or ".join(TensorProto.DataType.Name(each) for each in types)
            raise self._invalid(f"{name!r} is {TensorProto.DataType.Name(tensor.elem_type)}, expected {expected}")
        if not tensor.HasField("shape"):
            return
        found = [axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim]
        pairs = zip(found[1:], dims, strict=False)
        if len(found) != len(dims) + 1 or any(got is not None and got != want for got, want in pairs):
            shape = ["?" if each is None else each for each in found]
            raise self._invalid(f"{name!r} has the shape {shape}, expected {['batch', *dims]}")

    def require_output(self, dimension: int) -> str:
        """The name of the output with the vectors: the only one, or the only one with N x D floats."""
        outputs = list(self._model.graph.output)
        if len(outputs) > 1:
            outputs = [each for each in outputs if self._shape_of(each)[1:] == [dimension]]
        if len(outputs) != 1:
            names = ", ".join(each.name.removeprefix(_PREFIX) for each in self._model.graph.output)
            raise self._invalid(f"it is unclear which of its outputs ({names}) is the vector of {dimension} numbers")
        self.require(outputs[0], _FLOATS, [dimension])
        return str(outputs[0].name)

    def wrap(self, before: list[Any], entry: Any, result: str, dimension: int) -> bytes:
        """Put nodes around the graph: `before` leads from `entry` to the inputs, and `result` is scaled to unit length."""
        graph = self._model.graph
        axes: dict[str, Any] = {"axes": [1]}
        behind = [helper.make_node("Cast", [result], ["vectors"], to=TensorProto.FLOAT)]
        if self._opset >= _AXES_AS_INPUT:
            axes = {}
            behind.append(_constant("axes", np.array([1], np.int64)))
        sources = ["vectors"] if axes else ["vectors", "axes"]
        behind += [
            helper.make_node("ReduceL2", sources, ["length"], keepdims=1, **axes),
            helper.make_node("Div", ["vectors", "length"], [OUTPUT]),
        ]
        original = [*graph.node]
        del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
        graph.node.extend([*before, *original, *behind])
        graph.input.append(entry)
        graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", dimension]))
        self._model.ir_version = max(self._model.ir_version, _LEAST_IR)
        # Metadata about the original, such as where it was made, does not apply to the new model.
        del self._model.metadata_props[:]
        self._model.producer_name, self._model.producer_version = "visual-search-flows", ""
        return bytes(self._model.SerializeToString(deterministic=True))

    def _load(self, source: Path) -> Any:
        try:
            size = source.stat().st_size
            if size > _MOST_BYTES:
                raise self._invalid(f"it has {size / 1e9:.1f} GB; an ONNX file of more than 2 GB can't be converted")
            model = onnx.load(str(source), load_external_data=False)
            if any(each.data_location == TensorProto.EXTERNAL for each in model.graph.initializer):
                raise self._invalid("its weights are in files of their own; save it as one file")
            if not model.graph.node:
                raise self._invalid("it holds no graph")
            _add_prefix(model.graph)
            return model
        except VisualSearchError:
            raise
        except OSError as error:
            raise self._invalid(f"it can't be read: {error.strerror}") from None
        except Exception as error:  # protobuf's and onnx's errors have no base class of their own
            raise self._invalid(f"it is not an ONNX model ({type(error).__name__})") from None

    def _invalid(self, what: str) -> VisualSearchError:
        return VisualSearchError("model_invalid", f"{self._file!r} does not fit: {what}", file=self._file)

    @staticmethod
    def _shape_of(value: Any) -> list[Any]:
        return [axis.dim_value or axis.dim_param for axis in value.type.tensor_type.shape.dim]


def _add_prefix(graph: Any) -> None:
    """Rename every value of a graph and of its subgraphs in the same way, so that all references stay valid.

    `onnx.compose.add_prefix` loses the values that a subgraph takes from the graph around it.
    """
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = _PREFIX + value.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = _PREFIX + sparse.values.name
    del graph.quantization_annotation[:]
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [_PREFIX + name if name else "" for name in names]
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _add_prefix(inner)


def _named(mean: Sequence[float], scale: Sequence[float]) -> list[tuple[str, Any]]:
    return [("mean", np.asarray(mean, np.float64)), ("scale", np.asarray(scale, np.float64))]


def _constant(name: str, value: Any) -> Any:
    """A constant as a node, not as an initialiser, which in old files would have to be an input as well."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
