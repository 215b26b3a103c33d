"""Writes PyTorch checkpoints of the legacy format by hand, sound ones and hostile ones, without torch."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
PROTOCOL = pickle.dumps(1001, 2)
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)


def opcodes(value: Any) -> bytes:
    """A plain value as pickle opcodes, to be put into a larger pickle."""
    return pickle.dumps(value, 2)[2:-1]


def tensor_opcodes(
    key: str, count: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, storage: bytes = b"Float"
) -> bytes:
    """A tensor as torch pickles it: a call of `_rebuild_tensor_v2` on a persistent id."""
    pid = b"(" + opcodes("storage") + b"ctorch\n" + storage + b"Storage\n"
    pid += opcodes(key) + opcodes("cpu") + opcodes(count) + b"NtQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    geometry = opcodes(offset) + opcodes(size) + opcodes(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + geometry + b"\x89" + hooks + b"tR"


def state_pickle(tensors: Mapping[str, bytes]) -> bytes:
    """A pickled ordered dictionary of the given tensors."""
    items = b"".join(opcodes(name) + code for name, code in tensors.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."


def checkpoint(state: bytes, storages: Mapping[str, NDArray[Any]]) -> bytes:
    """A whole file."""
    data = b"".join(
        storage.size.to_bytes(8, "little", signed=True) + storage.tobytes() for storage in storages.values()
    )
    return MAGIC + PROTOCOL + SYSTEM + state + pickle.dumps(list(storages), 2) + data


def small_checkpoint() -> tuple[bytes, dict[str, NDArray[Any]]]:
    """A sound file and what it holds: a plain tensor, a transposed one, a view into a storage, and a scalar."""
    plain = np.arange(6, dtype="<f4")
    steps = np.array([42], "<i8")
    state = state_pickle(
        {
            "plain": tensor_opcodes("a", 6, (2, 3), (3, 1)),
            "transposed": tensor_opcodes("a", 6, (3, 2), (1, 3)),
            "view": tensor_opcodes("a", 6, (2,), (1,), offset=4),
            "steps": tensor_opcodes("b", 1, (), (), storage=b"Long"),
        }
    )
    expected = {
        "plain": plain.reshape(2, 3),
        "transposed": plain.reshape(2, 3).T,
        "view": plain[4:],
        "steps": steps.reshape(()),
    }
    return checkpoint(state, {"a": plain, "b": steps}), expected
