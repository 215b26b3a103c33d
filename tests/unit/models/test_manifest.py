from __future__ import annotations

import base64
import csv
import os
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.models.manifest import MANIFEST_FILE, ManifestFile, find_model, load_manifest, parse_manifest

ENTRY = """
[models.mine]
kind = "clip"
licence = "MIT"
source = "https://example.org/mine"
dimension = 512
height = 224
width = 224
layout = "NCHW"
mean = [122.77, 116.75, 104.09]
scale = [68.5, 66.63, 70.32]
fit = "centre_crop"
context_length = 77
converter = "clip"

[models.mine.files.visual]
name = "visual.onnx"
checksum = "md5:00112233445566778899aabbccddeeff"
url = "https://example.org/visual.onnx"

[models.mine.files.textual]
name = "textual.onnx"
size = 1000
checksum = "md5:00112233445566778899aabbccddeeff"
url = "file:///srv/models/textual.onnx"

[models.mine.files.vocabulary]
name = "vocabulary.txt.gz"
checksum = "sha256:0011223344556677889900112233445566778899001122334455667788990011"
package = "some-package"
package_version = "1.2.3"
package_checksum = "sha256:0011223344556677889900112233445566778899001122334455667788990011"
package_path = "some_package/vocabulary.txt.gz"
"""


def refused(text: str) -> str:
    with pytest.raises(VisualSearchError) as caught:
        parse_manifest(text, "the file")
    assert caught.value.code == "invalid_setting"
    return caught.value.message


def test_an_entry_is_read_with_what_its_files_need_to_know() -> None:
    model = parse_manifest(ENTRY, "the file")["mine"]
    assert (model.name, model.kind, model.towers, model.dimension) == ("mine", "clip", ("image", "text"), 512)
    assert (model.crop_fraction, model.context_length, model.run_here) == (1.0, 77, False)
    visual = model.files["visual"]
    assert (visual.model, visual.role, visual.size) == ("mine", "visual", None)
    assert (visual.algorithm, visual.digest) == ("md5", "00112233445566778899aabbccddeeff")


def test_the_packages_own_models_are_complete() -> None:
    models = load_manifest()
    assert list(models) == ["efficientnet-lite0", "clip-vit-b32", "clip-vit-b32-laion2b"]
    assert [name for name, model in models.items() if model.run_here] == ["efficientnet-lite0"]
    assert all(model.note for model in models.values() if not model.run_here), "it has to be said why"
    assert all(model.licence_source for model in models.values())


def test_the_default_weights_checksum_is_the_one_that_their_package_publishes() -> None:
    file = load_manifest()["efficientnet-lite0"].files["weights"]
    assert file.package is not None
    distribution = metadata.distribution(file.package)
    assert distribution.version == file.package_version
    rows = {row[0]: row for row in csv.reader((distribution.read_text("RECORD") or "").splitlines())}
    _, digest, size = rows[str(file.package_path)]
    # RECORD has it in URL-safe base64 without padding (PEP 376).
    published = base64.urlsafe_b64decode(digest.removeprefix("sha256=") + "=").hex()
    assert (file.checksum, file.size) == (f"sha256:{published}", int(size))


def test_a_file_of_ones_own_adds_models(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(ENTRY)
    models = load_manifest(tmp_path / "ours.toml")
    assert list(models) == [*load_manifest(), "mine"]


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(ENTRY.replace("models.mine", "models.clip-vit-b32"))
    with pytest.raises(VisualSearchError, match=r"VS_MODELS_MANIFEST \(ours.toml\): clip-vit-b32: this name is taken"):
        load_manifest(tmp_path / "ours.toml")


@pytest.mark.parametrize(
    "make",
    [
        lambda file: None,
        lambda file: file.mkdir(),
        lambda file: file.write_bytes(b"\xff"),
        os.mkfifo,
        lambda file: file.symlink_to("/dev/zero"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, make: Callable[[Path], object]) -> None:
    file = tmp_path / "ours.toml"
    make(file)
    with pytest.raises(VisualSearchError, match=r"unreadable_file: VS_MODELS_MANIFEST \(ours.toml\) can't be read: "):
        load_manifest(file)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('licence = "MIT"\n', "", "models.mine.licence: Field required"),
        ('"MIT"', '"see the page"', "models.mine.licence: "),
        ("dimension = 512", "dimension = 0", "models.mine.dimension: "),
        ("dimension = 512", "dimensions = 512", "models.mine.dimensions: Extra inputs"),
        ('"NCHW"', '"CHWN"', "models.mine.layout: "),
        ("68.5,", "0.0,", "models.mine.scale.0: "),
        ("68.5,", "nan,", "models.mine.scale.0: "),
        (", 104.09]", "]", "models.mine.mean"),
        ('"centre_crop"', '"crop"', "models.mine.fit: "),
        ("context_length = 77\n", "", 'models.mine: context_length belongs to kind "clip"'),
        ('kind = "clip"', 'kind = "image"', "models.mine: the converter clip makes models of kind clip"),
        ('converter = "clip"', 'converter = "torch"', "models.mine.converter: "),
        ("files.visual]", "files.image]", "models.mine: the converter clip takes the files textual, visual, vocabulary"),
        ("md5:00112233445566778899aabbccddeeff", "md5:0011", "models.mine.files.visual.checksum: "),
        ("md5:00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff", "models.mine.files.visual.checksum: "),
        ('"visual.onnx"', '"../visual.onnx"', "models.mine.files.visual.name: "),
        ('"https://example.org/visual.onnx"', '"ftp://example.org/v"', "models.mine.files.visual.url: the scheme is 'ftp'"),
        ('"https://example.org/visual.onnx"', '"https:///v"', "models.mine.files.visual.url: it names no host"),
        ('"https://example.org/visual.onnx"', '"https://example.org:99999/v"', "files.visual.url: its port is not a number"),
        ('"file:///srv', '"file://srv', "models.mine.files.textual.url: a file's address is file:///absolute/path"),
        ("size = 1000", "size = 0", "models.mine.files.textual.size: "),
        ('url = "file:///srv/models/textual.onnx"', "", "models.mine.files.textual: it needs either url or package"),
        ("size = 1000", 'package = "p"', "models.mine.files.textual: it needs either url or package"),
        ('package_version = "1.2.3"\n', "", "models.mine.files.vocabulary: package, package_version, package_checksum"),
        ('"some_package/v', '"../v', "models.mine.files.vocabulary.package_path: it is not a path inside"),
        ("[models.mine]", "[models.-mine]", "models.-mine.name: "),
        ("[models.mine.files.visual]\n", "[model.visual]\n", "model: there is no such key"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_entry_and_key(old: str, new: str, said: str) -> None:
    assert old in ENTRY
    assert said in refused(ENTRY.replace(old, new, 1))


@pytest.mark.parametrize(
    "text", ["models = 3", "[models]\nmine = 3", "[models.mine]\nfiles = 3", "not toml", "[models.m"]
)
def test_what_is_no_manifest_at_all_is_refused(text: str) -> None:
    assert refused(text).startswith("the file")


def test_all_faults_are_named_at_once() -> None:
    message = refused(ENTRY.replace("dimension = 512", "dimension = 0").replace('"NCHW"', '"CHWN"'))
    assert "models.mine.dimension" in message
    assert "models.mine.layout" in message


def test_an_unknown_model_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(VisualSearchError, match="known models: efficientnet-lite0, clip-vit-b32"):
        find_model(load_manifest(), "resnet")


def test_no_address_of_a_package_index_is_written_down() -> None:
    """The package index is a setting of pip, and differs from place to place."""
    files = [file for model in load_manifest().values() for file in model.files.values()]
    assert all(isinstance(file, ManifestFile) and (file.url or file.package) for file in files)
    text = (Path(__file__).resolve().parents[3] / "executors" / "models" / MANIFEST_FILE).read_text()
    assert not re.search(r"pypi|pythonhosted|/simple/", text)


def test_a_model_that_is_called_like_anothers_text_tower_is_refused(tmp_path: Path) -> None:
    both = ENTRY + ENTRY.replace("models.mine", 'models."mine-text"')
    assert "models.mine-text: this name is that of the text tower of the model mine" in refused(both)
    (tmp_path / "ours.toml").write_text(ENTRY.replace("models.mine", 'models."clip-vit-b32-text"'))
    with pytest.raises(VisualSearchError, match=r"text tower of the model clip-vit-b32$") as caught:
        load_manifest(tmp_path / "ours.toml")
    assert caught.value.code == "invalid_setting"
