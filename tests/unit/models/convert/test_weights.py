from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.models.convert.weights import read_checkpoint
from executors.models.fetch.sources import local_file
from executors.models.manifest import load_manifest
from tests.support.models.checkpoints import (
    MAGIC,
    PROTOCOL,
    SYSTEM,
    checkpoint,
    small_checkpoint,
    state_pickle,
    tensor_opcodes,
)


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(VisualSearchError) as caught:
        read_checkpoint(path)
    assert caught.value.code == "model_invalid"
    return caught.value.message


def test_the_default_models_weights_are_read_without_torch() -> None:
    published = load_manifest()["efficientnet-lite0"].files["weights"]
    weights = read_checkpoint(local_file(published, Path("nowhere")))
    assert len(weights) == 296
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert weights["_conv_stem.weight"].dtype == np.float32
    assert weights["_bn0.num_batches_tracked"].dtype == np.int64
    assert all(tensor.flags.c_contiguous for tensor in weights.values())


def test_strides_and_offsets_are_followed(tmp_path: Path) -> None:
    data, expected = small_checkpoint()
    (tmp_path / "a.pth").write_bytes(data)
    found = read_checkpoint(tmp_path / "a.pth")
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    data, _ = small_checkpoint()
    for length in range(len(data)):
        refused(tmp_path / "cut.pth", data[:length])


def test_bytes_after_the_end_are_refused(tmp_path: Path) -> None:
    assert "1 bytes too many" in refused(tmp_path / "long.pth", small_checkpoint()[0] + b"\0")


def test_a_changed_byte_never_raises_anything_but_a_typed_error(tmp_path: Path) -> None:
    data, _ = small_checkpoint()
    refusals = 0
    for position in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= mask
            (tmp_path / "bad.pth").write_bytes(damaged)
            try:
                read_checkpoint(tmp_path / "bad.pth")
            except VisualSearchError as error:
                assert error.code == "model_invalid"  # noqa: PT017 - a changed number may also be read as another number
                refusals += 1
    assert refusals > len(data)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(
    "callable_name", [b"cos\nsystem\n", b"cposix\nsystem\n", b"csubprocess\ngetoutput\n", b"c__builtin__\neval\n"]
)
def test_a_pickle_that_calls_something_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, callable_name: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    code = b"open('ran','w').close()" if b"eval" in callable_name else b"touch ran"
    hostile = callable_name + b"(S'" + code.replace(b"'", b"\\'") + b"'\ntR."
    parts = [MAGIC, PROTOCOL, SYSTEM, state_pickle({})]
    parts[place] = hostile
    assert "not allowed" in refused(tmp_path / "hostile.pth", b"".join(parts) + pickle.dumps([], 2))
    assert not (tmp_path / "ran").exists()
    pickle.loads(hostile)  # the same bytes do run where nothing restricts them
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name",
    ["collections\nCounter", "collections\nOrderedDict.fromkeys", "torch\nload", "torch._utils\n_rebuild_parameter"],
)
def test_only_the_needed_names_of_a_module_are_allowed(tmp_path: Path, name: str) -> None:
    module, attribute = (part.encode() for part in name.split("\n"))
    texts = b"".join(b"\x8c" + bytes([len(part)]) + part for part in (module, attribute))
    hostile = b"\x80\x04" + texts + b"\x93)R."  # STACK_GLOBAL, which would follow a dotted name
    assert "not allowed" in refused(tmp_path / "hostile.pth", MAGIC + PROTOCOL + SYSTEM + hostile)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((2, 4), (4, 1), 0),
        ((2, 3), (3, 1), 1),
        ((2, 3), (4, 1), 0),
        ((6,), (1,), 1 << 60),
        ((6,), (-1,), 5),
        ((3,), (1,), -1),
        ((-1, -6), (1, 1), 0),
        ((1 << 40,), (0,), 0),
        ((2, 3), (1,), 0),
        ((1,) * 9, (1,) * 9, 0),
    ],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(
    tmp_path: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    storage = np.arange(6, dtype="<f4")
    state = state_pickle({"w": tensor_opcodes("a", 6, size, stride, offset)})
    assert "tensor" in refused(tmp_path / "beyond.pth", checkpoint(state, {"a": storage}))


def test_a_storage_that_promises_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    count = 1 << 50
    state = state_pickle({"w": tensor_opcodes("a", count, (1,), (1,))})
    data = MAGIC + PROTOCOL + SYSTEM + state + pickle.dumps(["a"], 2) + count.to_bytes(8, "little") + b"1234"
    assert "ends within" in refused(tmp_path / "short.pth", data)


def test_a_missing_file_is_told_apart_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(VisualSearchError) as caught:
        read_checkpoint(tmp_path / "none.pth")
    assert caught.value.code == "model_missing"
