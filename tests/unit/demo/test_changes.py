from __future__ import annotations

import numpy as np
import pytest

from executors.demo.changes import (
    CHANGES,
    brighten,
    crop,
    frame_as_screenshot,
    mirror,
    read_upright,
    rotate,
    scale,
    with_orientation,
    write_across,
)
from executors.errors import VisualSearchError
from executors.preprocess.header import read_header
from tests.support.pictures.pictures import encode, scene

IMAGE = scene(1, 240, 360)
BLOB = encode(IMAGE)


def test_the_changes_of_the_recall_table_are_all_there() -> None:
    assert list(CHANGES) == [
        "recompressed at quality 40",
        "scaled to 25 %",
        "scaled to 10 %",
        "cropped by 20 %",
        "cropped by 50 %",
        "rotated by EXIF",
        "rotated by 20°",
        "brightened",
        "mirrored",
        "text across",
        "screenshot's frame",
    ]


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("size", [(240, 360), (1, 1), (3, 700), (50, 40)])
def test_every_change_makes_another_jpeg_and_always_the_same(name: str, size: tuple[int, int]) -> None:
    blob = encode(scene(2, *size), ".png")
    changed = CHANGES[name](blob)
    assert changed == CHANGES[name](blob)
    assert changed != blob
    assert read_header(changed).format == "jpeg"
    assert read_upright(changed).size > 0


@pytest.mark.parametrize("name", CHANGES)
def test_what_can_not_be_decoded_can_not_be_changed(name: str) -> None:
    with pytest.raises(VisualSearchError):
        CHANGES[name](b"no picture")


@pytest.mark.parametrize(("share", "area"), [(0.2, 0.8), (0.5, 0.5)])
def test_a_crop_cuts_a_share_of_the_area_off_the_middle_kept_shape(share: float, area: float) -> None:
    cut = crop(IMAGE, share)
    assert cut.shape[0] * cut.shape[1] / (240 * 360) == pytest.approx(area, abs=0.01)
    assert cut.shape[1] / cut.shape[0] == pytest.approx(1.5, abs=0.02)
    top, left = (240 - cut.shape[0]) // 3, (360 - cut.shape[1]) // 3
    np.testing.assert_array_equal(cut, IMAGE[top : top + cut.shape[0], left : left + cut.shape[1]])


def test_the_copy_rotated_by_exif_lies_in_the_file_and_stands_on_the_screen() -> None:
    changed = CHANGES["rotated by EXIF"](BLOB)
    header = read_header(changed)
    assert (header.orientation, header.width, header.height) == (6, 240, 360)
    assert np.abs(read_upright(changed).astype(int) - read_upright(BLOB)).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_written_as_readers_expect_it(orientation: int) -> None:
    assert read_header(with_orientation(BLOB, orientation)).orientation == orientation


def test_scaling_keeps_the_shape() -> None:
    assert scale(IMAGE, 0.25).shape == (60, 90, 3)
    assert scale(IMAGE, 0.1).shape == (24, 36, 3)


def test_rotation_keeps_every_corner_on_a_larger_canvas() -> None:
    marked = np.zeros((100, 200, 3), np.uint8)
    turned = rotate(marked, 20)
    assert turned.shape == (162, 222, 3)
    dark = (turned < 128).all(axis=2).sum()
    assert dark == pytest.approx(100 * 200, rel=0.02)
    np.testing.assert_array_equal(turned[0, 0], [255, 255, 255])


def test_brightening_clips_and_never_wraps() -> None:
    values = np.array([[[0, 100, 250]]], np.uint8)
    np.testing.assert_array_equal(brighten(values), [[[25, 155, 255]]])


def test_mirroring_twice_is_nothing() -> None:
    assert not np.array_equal(mirror(IMAGE), IMAGE)
    np.testing.assert_array_equal(mirror(mirror(IMAGE)), IMAGE)


@pytest.mark.parametrize("size", [(240, 360), (60, 400), (400, 60)])
def test_text_goes_across_the_middle_and_leaves_the_rest(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 120, np.uint8)
    changed = (write_across(image) != image).any(axis=2)
    columns = np.flatnonzero(changed.any(axis=0))
    assert columns[-1] - columns[0] > 0.75 * size[1]
    rows = np.flatnonzero(changed.any(axis=1))
    assert abs((rows[0] + rows[-1]) / 2 - size[0] / 2) < 0.1 * size[0] + 2
    assert changed.mean() < 0.7
    assert (image == 120).all()


def test_a_screenshot_holds_the_picture_whole() -> None:
    page = frame_as_screenshot(IMAGE)
    assert page.shape[0] > 240
    assert page.shape[1] > 360
    unit = (page.shape[1] - 360) // 10
    np.testing.assert_array_equal(page[7 * unit : 7 * unit + 240, 5 * unit : 5 * unit + 360], IMAGE)
