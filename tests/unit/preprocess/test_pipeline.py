"""The pipeline: from bytes, or from pixels, to the tensor and the thumbnail."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import skimage.data
from PIL import Image

from executors.errors import VisualSearchError
from executors.models.spec import Fit, ModelSpec
from executors.preprocess.decode import configure_opencv
from executors.preprocess.header import ImageLimits, read_header
from executors.preprocess.pipeline import ImagePipeline
from tests.support.pictures.image_files import jpeg_declaring, photo, pillow
from tests.support.pictures.image_samples import FORMATS, SAMPLES, sample

LIMITS = ImageLimits(max_bytes=2_000_000, max_pixels=1_000_000, max_side=12_000)


@pytest.fixture(autouse=True, scope="module")
def _quiet_opencv() -> None:
    configure_opencv()


def pipeline(how: Fit = "centre_crop", side: int = 224, thumbnails: bool = True) -> ImagePipeline:
    return ImagePipeline(ModelSpec("m", "m@1", 4, side, side, how, 0.875), LIMITS, thumbnails=thumbnails)


def refusal(blob: bytes) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as caught:
        pipeline().prepare(blob)
    return caught.value


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_picture_is_prepared(name: str) -> None:
    data = sample(name)
    prepared = pipeline().prepare(data)
    header = read_header(data)
    assert prepared.tensor.shape == (224, 224, 3)
    assert prepared.tensor.dtype == np.uint8
    assert prepared.tensor.flags.c_contiguous
    assert prepared.thumbnail is not None
    assert Image.open(io.BytesIO(prepared.thumbnail)).size == (header.width, header.height)


@pytest.mark.parametrize("how", ["centre_crop", "letterbox", "squash"])
def test_the_thumbnail_has_the_shape_of_the_upright_picture(how: Fit) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    data = pillow(skimage.data.rocket(), "JPEG", exif=tags)
    prepared = pipeline(how, side=32).prepare(data)
    assert prepared.thumbnail is not None
    assert Image.open(io.BytesIO(prepared.thumbnail)).size == (171, 256)


@pytest.mark.parametrize("how", ["centre_crop", "letterbox", "squash"])
def test_the_same_pixels_give_the_same_tensor_as_a_file_and_as_an_array(how: Fit) -> None:
    for pixels in (photo(), skimage.data.coffee(), photo(1, 160)):
        from_file = pipeline(how).prepare(pillow(pixels, "PNG"))
        from_array = pipeline(how).prepare_tensor(pixels)
        assert np.array_equal(from_file.tensor, from_array.tensor)
        assert from_file.thumbnail == from_array.thumbnail


def test_arrays_of_any_layout_are_taken_as_they_are_seen() -> None:
    pixels = photo()
    expected = pipeline().prepare_tensor(pixels).tensor
    read_only = pixels.copy()
    read_only.flags.writeable = False
    turned = np.asfortranarray(pixels)
    reversed_view = pixels[:, ::-1].copy()[:, ::-1]
    for array in (read_only, turned, reversed_view):
        assert np.array_equal(pipeline().prepare_tensor(array).tensor, expected)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((3, 10, 10), np.uint8),
        np.zeros((1, 10, 10, 3), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((10, 10, 3), np.int8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 0, 3), np.uint8),
        np.zeros(3, np.uint8),
        np.array(5, np.uint8),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused(array: np.ndarray) -> None:
    with pytest.raises(VisualSearchError) as caught:
        pipeline().prepare_tensor(array)
    assert caught.value.code == "invalid_tensor"
    assert caught.value.details == {"shape": list(array.shape), "dtype": str(array.dtype)}


def test_the_limits_hold_for_files_and_arrays() -> None:
    assert refusal(bytes(LIMITS.max_bytes + 1)).code == "image_too_large"
    assert refusal(jpeg_declaring(sample("jpeg"), 1_001, 1_000)).code == "image_too_many_pixels"
    assert refusal(jpeg_declaring(sample("jpeg"), 12_001, 1)).code == "image_too_many_pixels"
    for shape in ((1_001, 1_000, 3), (1, 12_001, 3)):
        with pytest.raises(VisualSearchError) as caught:
            pipeline().prepare_tensor(np.zeros(shape, np.uint8))
        assert caught.value.code == "image_too_many_pixels"
        assert caught.value.details["height"] == shape[0]


def test_a_picture_turned_upright_keeps_within_the_same_limits() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    tall = pillow(np.zeros((12_000, 2, 3), np.uint8), "JPEG", exif=tags)
    assert pipeline().prepare(tall).tensor.shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("blob", "code"),
    [
        (b"", "unsupported_format"),
        (b"<html></html>", "unsupported_format"),
        (np.random.default_rng(0).bytes(10_000), "unsupported_format"),
        (sample("jpeg")[:2_000], "undecodable_image"),
        (sample("png")[:2_000], "undecodable_image"),
    ],
)
def test_what_is_no_picture_is_a_coded_error(blob: bytes, code: str) -> None:
    assert refusal(blob).code == code


def test_thumbnails_are_made_only_where_they_are_wanted() -> None:
    data = sample("jpeg")
    assert pipeline(thumbnails=False).prepare(data).thumbnail is None
    assert pipeline(thumbnails=False).prepare_tensor(photo()).thumbnail is None
    assert pipeline().prepare(data, thumbnail=False).thumbnail is None
    assert pipeline().prepare_tensor(photo(), thumbnail=False).thumbnail is None
    with_thumbnail = pipeline().prepare(data)
    assert with_thumbnail.thumbnail is not None
    assert np.array_equal(with_thumbnail.tensor, pipeline().prepare(data, thumbnail=False).tensor)


def test_a_thumbnail_is_never_made_of_a_picture_smaller_than_itself() -> None:
    pixels = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((1_000, 1_000)))
    prepared = pipeline("squash", side=8).prepare(pillow(pixels, "JPEG"))
    assert prepared.thumbnail is not None
    assert Image.open(io.BytesIO(prepared.thumbnail)).size == (256, 256)


def test_one_bad_picture_among_many_spoils_none_whatever_the_threads_do() -> None:
    stage = pipeline()
    good = [sample(name) for name in SAMPLES if name.startswith(tuple(FORMATS))]
    blobs = [*good, *good][:63]
    blobs.insert(31, sample("jpeg")[:1_500])
    alone = [stage.prepare(blob) for blob in good]

    def attempt(blob: bytes) -> object:
        try:
            return stage.prepare(blob)
        except VisualSearchError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(attempt, blobs))
    errors = [(index, result) for index, result in enumerate(results) if isinstance(result, VisualSearchError)]
    assert [(index, error.code) for index, error in errors] == [(31, "undecodable_image")]
    del results[31]
    for index, result in enumerate(results):
        expected = alone[index % len(good)]
        assert np.array_equal(result.tensor, expected.tensor)  # type: ignore[attr-defined] # not an error: see above
        assert result.thumbnail == expected.thumbnail  # type: ignore[attr-defined]
