"""EfficientNet-Lite0 as an ONNX graph: uint8 pictures in, unit vectors out.

Network: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019), in the Lite variant
of the TensorFlow authors: no squeeze-and-excitation, ReLU6, stem and head of fixed width. Each batch norm is folded into
the convolution before it: w' = w g / sqrt(v + e), b' = b - m g / sqrt(v + e) (Ioffe & Szegedy, 2015, at inference).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from executors.errors import VisualSearchError

SIDE: Final = 224
DIMENSION: Final = 1280
CLASSES: Final = 1000
MEAN: Final = 127.0
SCALE: Final = 128.0
INPUT_NAME: Final = "image"
OUTPUT_NAME: Final = "embedding"
PROBABILITIES_NAME: Final = "probabilities"

# onnxruntime has read this version since 1.12, and so does every Triton container of 2024 and later.
IR_VERSION: Final = 8
OPSET: Final = 17

_BATCH_NORM_EPSILON: Final = 1e-3
_STEM_WIDTH: Final = 32


@dataclass(frozen=True, slots=True)
class _Stage:
    """A run of equal blocks; only the first one strides and changes the width."""

    expand: int
    kernel: int
    stride: int
    narrow: int
    wide: int
    repeats: int


_STAGES: Final = (
    _Stage(1, 3, 1, 32, 16, 1),
    _Stage(6, 3, 2, 16, 24, 2),
    _Stage(6, 5, 2, 24, 40, 2),
    _Stage(6, 3, 2, 40, 80, 3),
    _Stage(6, 5, 1, 80, 112, 3),
    _Stage(6, 5, 2, 112, 192, 4),
    _Stage(6, 3, 1, 192, 320, 1),
)


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" padding of one axis, before and after: the odd pixel goes to the end."""
    outputs = -(-side // stride)
    total = max((outputs - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def build_graph(weights: Mapping[str, NDArray[Any]], *, classifier: bool = False) -> onnx.ModelProto:
    """Build the model from the network's state dict.

    Args:
        weights: tensors by the names of the PyTorch package.
        classifier: add the output `probabilities` (N x 1000 float32, ImageNet's classes), to prove the conversion.

    Returns:
        A checked model: `image` N x 224 x 224 x 3 uint8 RGB to `embedding` N x 1280 float32 of unit length. The same
        weights give the same bytes when it is serialised deterministically.

    Raises:
        VisualSearchError: `model_invalid` when a tensor is missing, of another shape, or not finite.
    """
    graph = _Graph(weights)
    features = _network(graph)
    graph.add("ReduceL2", [features], "length", axes=[1], keepdims=1)
    graph.add("Div", [features, "length"], OUTPUT_NAME)
    outputs = [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["batch", DIMENSION])]
    if classifier:
        matrix = graph.constant("classifier.weight", graph.weight("_fc.weight", (CLASSES, DIMENSION)))
        bias = graph.constant("classifier.bias", graph.weight("_fc.bias", (CLASSES,)))
        graph.add("Gemm", [features, matrix, bias], "logits", transB=1)
        graph.add("Softmax", ["logits"], PROBABILITIES_NAME, axis=1)
        outputs.append(helper.make_tensor_value_info(PROBABILITIES_NAME, TensorProto.FLOAT, ["batch", CLASSES]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "efficientnet-lite0",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
            outputs,
            graph.constants,
        ),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="visual-search-flows",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """The nodes and constants of a graph under construction."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self._weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def weight(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """A tensor of the state dict in double precision."""
        try:
            value = np.asarray(self._weights[name], np.float64)
        except KeyError:
            raise VisualSearchError("model_invalid", f"the weights hold no tensor {name!r}") from None
        if value.shape != shape:
            message = f"the weights' tensor {name!r} has the shape {list(value.shape)}, expected {list(shape)}"
            raise VisualSearchError("model_invalid", message)
        if not np.isfinite(value).all():
            raise VisualSearchError("model_invalid", f"the weights' tensor {name!r} is not finite")
        return value

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant as float32."""
        self.constants.append(numpy_helper.from_array(value.astype("<f4"), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output of the same name."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def convolution(self, source: str, name: str, conv: str, norm: str, shape: tuple[int, ...], **spatial: Any) -> str:
        """Add a convolution with its batch norm folded in; `shape` is out x in / groups x kernel x kernel."""
        kernel = self.weight(f"{conv}.weight", shape)
        gain, offset, mean, variance = (
            self.weight(f"{norm}.{part}", shape[:1]) for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / np.sqrt(variance + _BATCH_NORM_EPSILON)
        inputs = [
            source,
            self.constant(f"{name}.weight", kernel * scale[:, None, None, None]),
            self.constant(f"{name}.bias", offset - mean * scale),
        ]
        return self.add("Conv", inputs, name, kernel_shape=list(shape[2:]), **spatial)

    def relu6(self, source: str) -> str:
        """Add the activation min(max(x, 0), 6)."""
        return self.add("Clip", [source, "zero", "six"], f"{source}.relu6")


def _network(graph: _Graph) -> str:
    """Everything between the picture and the pooled features (N x 1280)."""
    for name, value in (("mean", MEAN), ("scale", 1.0 / SCALE), ("zero", 0.0), ("six", 6.0)):
        graph.constant(name, np.array(value))
    graph.add("Transpose", [INPUT_NAME], "planes", perm=[0, 3, 1, 2])
    graph.add("Cast", ["planes"], "floats", to=TensorProto.FLOAT)
    graph.add("Sub", ["floats", "mean"], "centred")
    graph.add("Mul", ["centred", "scale"], "normalised")

    spatial = _same(SIDE, 3, 2)
    shape = (_STEM_WIDTH, 3, 3, 3)
    x = graph.relu6(graph.convolution("normalised", "stem", "_conv_stem", "_bn0", shape, **spatial))
    side = SIDE // 2
    for index, block in enumerate(_blocks()):
        x = _add_block(graph, x, index, block, side)
        side = -(-side // block.stride)
    shape = (DIMENSION, _STAGES[-1].wide, 1, 1)
    x = graph.relu6(graph.convolution(x, "head", "_conv_head", "_bn1", shape))
    graph.add("GlobalAveragePool", [x], "pooled")
    return graph.add("Flatten", ["pooled"], "features", axis=1)


def _blocks() -> Iterator[_Stage]:
    """The stages unrolled into single blocks."""
    for stage in _STAGES:
        yield stage
        for _ in range(stage.repeats - 1):
            yield _Stage(stage.expand, stage.kernel, 1, stage.wide, stage.wide, 1)


def _add_block(graph: _Graph, source: str, index: int, block: _Stage, side: int) -> str:
    """An inverted residual (Sandler et al., "MobileNetV2", 2018) whose input is `side` pixels high and wide."""
    theirs, ours = f"_blocks.{index}", f"block{index}"
    width = block.narrow * block.expand
    x = source
    if block.expand != 1:
        conv, norm = f"{theirs}._expand_conv", f"{theirs}._bn0"
        x = graph.relu6(graph.convolution(x, f"{ours}.expand", conv, norm, (width, block.narrow, 1, 1)))
    conv, norm = f"{theirs}._depthwise_conv", f"{theirs}._bn1"
    shape = (width, 1, block.kernel, block.kernel)
    spatial = _same(side, block.kernel, block.stride)
    x = graph.relu6(graph.convolution(x, f"{ours}.depthwise", conv, norm, shape, group=width, **spatial))
    conv, norm = f"{theirs}._project_conv", f"{theirs}._bn2"
    x = graph.convolution(x, f"{ours}.project", conv, norm, (block.wide, width, 1, 1))
    if block.stride == 1 and block.narrow == block.wide:
        x = graph.add("Add", [x, source], f"{ours}.sum")
    return x


def _same(side: int, kernel: int, stride: int) -> dict[str, list[int]]:
    """Strides and explicit pads of a square convolution; ONNX lists the pads of both axes before, then after."""
    before, after = same_padding(side, kernel, stride)
    return {"strides": [stride, stride], "pads": [before, before, after, after]}
