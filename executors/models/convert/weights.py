"""Reads PyTorch checkpoints of the legacy format (before torch 1.6) without torch, and without trusting them.

Layout, after torch.serialization's `_legacy_save`: four pickles (magic number, protocol version, system information, the
object itself, whose tensors point to storages by key), a pickled list of the storages' keys, then for each key a
little-endian int64 count of elements and the raw data.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_MOST_DIMENSIONS: Final = 8


@dataclass(frozen=True, slots=True)
class _StorageType:
    """Stands in for a torch storage class."""

    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class _Storage:
    """A storage as the pickle names it; its data follow later in the file."""

    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor as the pickle describes it; offset and strides count elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _describe_tensor(storage: _Storage, offset: int, size: Any, stride: Any, *_: object) -> _Tensor:
    """Replaces `torch._utils._rebuild_tensor_v2`; gradients and hooks, the further arguments, are dropped."""
    return _Tensor(storage, offset, tuple(size), tuple(stride))


# Any other name in a pickle could run its author's code.
_ALLOWED: Final[dict[tuple[str, str], Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "FloatStorage"): _StorageType(np.dtype("<f4")),
    ("torch", "LongStorage"): _StorageType(np.dtype("<i8")),
    ("torch._utils", "_rebuild_tensor_v2"): _describe_tensor,
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Resolves the names in `_ALLOWED` and no others."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which is not allowed") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, count, view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or view is not None:
            raise pickle.UnpicklingError("it refers to something that is not a plain storage")
        return _Storage(str(key), storage_type.dtype, int(count))


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """Read a state dict: the tensors of a network by name, as C-contiguous float32 or int64 arrays.

    Raises:
        VisualSearchError: `model_missing` when there is no such file, `model_invalid` when it is damaged, is of another
            format, or contains names that a state dict does not need.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VisualSearchError("model_missing", f"the weights {path.name!r} can't be read: {error.strerror}") from None
    try:
        return _parse(data)
    except Exception as error:  # a damaged pickle may raise anything (documentation of pickle.UnpicklingError)
        message = f"the weights {path.name!r} are damaged or not a legacy PyTorch checkpoint: {error}"
        raise VisualSearchError("model_invalid", message, file=path.name) from None


def _parse(data: bytes) -> dict[str, NDArray[Any]]:
    stream = BytesIO(data)
    if _unpickle(stream) != _MAGIC:
        raise ValueError("it does not start with the format's magic number")
    if (protocol := _unpickle(stream)) != _PROTOCOL:
        raise ValueError(f"protocol {protocol}, expected {_PROTOCOL}")
    if _unpickle(stream).get("little_endian") is not True:
        raise ValueError("it is not little-endian")
    state = _unpickle(stream)
    if not isinstance(state, Mapping) or not all(isinstance(value, _Tensor) for value in state.values()):
        raise ValueError("it does not hold a dictionary of tensors")
    storages = _read_storages(stream, _unpickle(stream), {value.storage.key: value.storage for value in state.values()})
    if stream.tell() != len(data):
        raise ValueError(f"{len(data) - stream.tell()} bytes too many")
    return {str(name): _array(value, storages[value.storage.key]) for name, value in state.items()}


def _unpickle(stream: BytesIO) -> Any:
    return _RestrictedUnpickler(stream).load()


def _read_storages(stream: BytesIO, keys: Sequence[str], declared: Mapping[str, _Storage]) -> dict[str, NDArray[Any]]:
    """Read the raw data that follow the pickles, each storage as a one-dimensional array."""
    if sorted(keys) != sorted(declared):
        raise ValueError("the list of storages does not fit the tensors")
    storages = {}
    for key in keys:
        storage = declared[key]
        count = int.from_bytes(stream.read(8), "little", signed=True)
        if count != storage.count:
            raise ValueError(f"storage {key} has {count} elements, expected {storage.count}")
        raw = stream.read(count * storage.dtype.itemsize)
        if len(raw) != count * storage.dtype.itemsize:
            raise ValueError(f"it ends within storage {key}")
        storages[key] = np.frombuffer(raw, storage.dtype)
    return storages


def _array(tensor: _Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    """Copy a tensor out of its storage; bounds are checked here, since `as_strided` does not."""
    geometry = (tensor.offset, *tensor.size, *tensor.stride)
    if len(tensor.size) != len(tensor.stride) or len(tensor.size) > _MOST_DIMENSIONS or min(geometry) < 0:
        raise ValueError("a tensor has an impossible shape")
    count = int(np.prod(tensor.size, dtype=object))
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.size, tensor.stride, strict=True))
    if count > storage.size or (count and last >= storage.size):
        raise ValueError("a tensor reaches beyond its storage")
    strides = tuple(stride * storage.itemsize for stride in tensor.stride)
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides, writeable=False).copy("C")
