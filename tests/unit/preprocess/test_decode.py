"""Every format, colour model and orientation gives the picture that a person sees, or one coded error."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageOps

from executors.preprocess.decode import configure_opencv, decode, reduction
from executors.preprocess.header import read_header
from executors.preprocess.resize import scale_to
from tests.support.pictures.image_files import (
    GIF_PALETTE,
    bmp,
    by_pillow,
    distance,
    exif,
    gif,
    gif_frame,
    jpeg_segment,
    jpeg_with,
    photo,
    pillow,
    png,
    png_chunk,
    tiff,
    transparent_photo,
    webp_animation,
)
from tests.support.pictures.image_samples import SAMPLES, sample


@pytest.fixture(autouse=True, scope="module")
def _quiet_opencv() -> None:
    configure_opencv()


def picture(data: bytes, at_least: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    return decode(data, read_header(data), at_least)


def on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    opacity = rgba[..., 3:].astype(float) / 255
    return np.rint(rgba[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)


@pytest.mark.parametrize("name", SAMPLES)
def test_pixels_are_those_that_pillow_finds(name: str) -> None:
    data = sample(name)
    image = picture(data)
    assert image.dtype == np.uint8
    assert distance(image, by_pillow(data)) <= 1


@pytest.mark.parametrize("name", ["png rgba", "webp rgba", "tiff rgba"])
def test_invisible_pixels_are_white(name: str) -> None:
    image = picture(sample(name))
    assert (image[:, -1] == 255).all()
    assert distance(image, on_white(transparent_photo())) <= 1


def test_sixteen_bits_are_scaled_to_eight() -> None:
    grey = np.array([[0, 255, 256, 32_768, 40_000, 65_535]], np.uint16)
    colours = np.dstack([grey, grey[:, ::-1], grey])
    for samples, colour in ((grey, 0), (colours, 2)):
        eight = np.rint((samples if samples.ndim == 3 else np.dstack([samples] * 3)) / 257)
        assert distance(picture(png(6, 1, 16, colour, samples)), eight) <= 1
    options: dict[str, Any] = {"bits": 16, "photometric": 1, "samples": 1}
    eight = np.rint(np.dstack([grey] * 3) / 257)
    assert distance(picture(tiff(6, 1, [grey.tobytes()], **options)), eight) <= 1
    assert distance(picture(tiff(6, 1, [grey.astype(">u2").tobytes()], order=">", **options)), eight) <= 1
    assert distance(picture(tiff(6, 1, [grey.tobytes()], **(options | {"photometric": 0}))), 255 - eight) <= 1
    assert distance(picture(tiff(6, 1, [colours.tobytes()], bits=16)), np.rint(colours / 257)) <= 1


def test_sixteen_bits_with_alpha_are_laid_on_white() -> None:
    rgba = transparent_photo(8, 12)
    deep = rgba.astype(np.uint16) * 257
    assert distance(picture(png(12, 8, 16, 6, deep)), on_white(rgba)) <= 1
    grey_alpha = np.ascontiguousarray(deep[..., [0, 3]])
    assert distance(picture(png(12, 8, 16, 4, grey_alpha)), on_white(rgba[..., [0, 0, 0, 3]])) <= 1
    for extra in (None, 2):
        tags = [] if extra is None else [(338, 3, [extra])]
        data = tiff(12, 8, [deep.tobytes()], bits=16, samples=4, tags=tags)
        assert distance(picture(data), on_white(rgba)) <= 1
    multiplied = (deep[..., :3].astype(float) * deep[..., 3:] / 65_535).astype(np.uint16)
    data = tiff(12, 8, [np.dstack([multiplied, deep[..., 3]]).tobytes()], bits=16, samples=4, tags=[(338, 3, [1])])
    # Pillow takes the multiplication back in 8 bits.
    assert distance(picture(data), on_white(rgba)) <= 2


@pytest.mark.parametrize("extra", [None, 0, 1, 2])
def test_the_fourth_sample_of_a_tiff_is_what_its_tag_says(extra: int | None) -> None:
    rgba = transparent_photo(8, 12)
    stored = rgba
    if extra == 1:
        colours = np.rint(rgba[..., :3].astype(float) * rgba[..., 3:] / 255).astype(np.uint8)
        stored = np.dstack([colours, rgba[..., 3]])
    tags = [] if extra is None else [(338, 3, [extra])]
    image = picture(tiff(12, 8, [stored.tobytes()], samples=4, tags=tags))
    assert distance(image, rgba[..., :3] if extra == 0 else on_white(rgba)) <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_white(bits: int) -> None:
    levels = min(1 << bits, 256)
    row = np.arange(levels, dtype=np.uint64)
    packed = "".join(f"{int(level):0{bits}b}" for level in row)
    data = int(packed.ljust(-(-len(packed) // 8) * 8, "0"), 2).to_bytes(-(-len(packed) // 8), "big")
    transparent = levels // 2
    chunk = png_chunk(b"tRNS", transparent.to_bytes(2, "big"))
    image = picture(png(levels, 1, bits, 0, b"\0" + data, chunk))
    expected = np.rint(row * 255 / ((1 << bits) - 1))
    expected[transparent] = 255
    assert distance(image, np.dstack([expected[None]] * 3)) <= 1


def test_an_alpha_mask_of_a_bmp_counts_and_a_reserved_byte_does_not() -> None:
    rgba = transparent_photo(8, 12)
    masked = cv2.imencode(".bmp", rgba[..., [2, 1, 0, 3]])[1].tobytes()
    assert distance(picture(masked), on_white(rgba)) <= 1
    assert distance(picture(bmp(12, -8, 32, rgba[..., [2, 1, 0, 3]].tobytes())), rgba[..., :3]) == 0


def test_a_gif_frame_lies_on_its_first_colour_or_on_white_if_it_may_be_transparent() -> None:
    palette = np.frombuffer(GIF_PALETTE, np.uint8).reshape(-1, 3)
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5) % 4
    expected = np.tile(palette[0], (8, 10, 1))
    expected[3:7, 2:7] = palette[pixels]
    assert distance(picture(gif((10, 8), (2, 3, 5, 4), pixels)), expected) == 0
    expected[:] = 255
    expected[3:7, 2:7] = palette[pixels]
    expected[3:7, 2:7][pixels == 1] = 255
    assert distance(picture(gif((10, 8), (2, 3, 5, 4), pixels, transparent=1)), expected) == 0


def test_a_gif_frame_beyond_its_screen_widens_the_picture() -> None:
    pixels = np.ones((4, 5), np.uint8)
    for screen in ((3, 3), (0, 0)):
        image = picture(gif(screen, (1, 2, 5, 4), pixels))
        assert image.shape == (6, 6, 3)
        assert image[-1, -1].tolist() == [200, 100, 50]
        assert image[0, 0].tolist() == [10, 20, 30]


def test_later_frames_of_a_gif_do_not_matter() -> None:
    pixels = np.ones((4, 5), np.uint8)
    still = picture(gif((5, 4), (0, 0, 5, 4), pixels))
    for more in (gif_frame((0, 0, 5, 4), pixels + 1), gif_frame((0, 0, 5, 4), pixels)[:-4], b"garbage"):
        assert distance(picture(gif((5, 4), (0, 0, 5, 4), pixels, more=more)), still) == 0


def test_a_webp_animation_begins_with_its_first_frame_on_white() -> None:
    frame = photo(20, 30)
    image = picture(webp_animation(40, 30, [(4, 6, frame), (0, 0, photo(30, 40))]))
    expected = np.full((30, 40, 3), 255, np.uint8)
    expected[6:26, 4:34] = frame
    assert distance(image, expected) == 0


def test_a_png_animation_begins_with_its_default_image() -> None:
    assert distance(picture(sample("png animated")), photo()) == 0


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_exactly_once(image_format: str, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    data = pillow(photo(), image_format, exif=tags, **lossless)
    image = picture(data)
    assert image.shape[:2] == read_header(data).upright_size
    assert distance(image, by_pillow(data)) <= 1
    if image_format in ("PNG", "TIFF"):
        bare = Image.fromarray(photo())
        bare.getexif()[0x0112] = orientation
        assert distance(image, np.asarray(ImageOps.exif_transpose(bare))) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["png rgba", "png grey transparent", "webp rgba"])
def test_transparent_pictures_are_turned_too(name: str, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    image = Image.fromarray(transparent_photo())
    data = pillow(
        image, name[:4].strip().upper(), exif=tags, **({"lossless": True, "exact": True} if "webp" in name else {})
    )
    assert distance(picture(data), by_pillow(data)) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_and_transparent_tiffs_are_turned_too(orientation: int) -> None:
    rgba = transparent_photo(8, 12)
    expected = Image.fromarray(on_white(rgba))
    expected.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(expected))
    tags = [(338, 3, [2]), (274, 3, [orientation])]
    assert distance(picture(tiff(12, 8, [rgba.tobytes()], samples=4, tags=tags)), upright) <= 1
    deep = (rgba.astype(np.uint16) * 257).tobytes()
    assert distance(picture(tiff(12, 8, [deep], bits=16, samples=4, tags=tags)), upright) <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (7, 3)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_extreme_shapes_are_pictures(image_format: str, size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.full((height, width, 3), 60, np.uint8)
    assert distance(picture(pillow(Image.fromarray(pixels), image_format), at_least=(256, 256)), pixels) <= 2


def test_only_a_jpeg_much_larger_than_needed_is_reduced() -> None:
    large = jpeg_with(pillow(np.zeros((800, 1_600), np.uint8), "JPEG"))
    header = read_header(large)
    assert reduction(header, None) == 1
    assert reduction(header, (101, 101)) == 4
    assert reduction(header, (100, 200)) == 8
    assert reduction(header, (100, 201)) == 4
    assert reduction(header, (400, 800)) == 2
    assert reduction(header, (401, 100)) == 1
    turned = read_header(jpeg_with(large, jpeg_segment(0xE1, b"Exif\0\0" + exif(6))))
    assert reduction(turned, (200, 100)) == 8
    assert reduction(turned, (100, 200)) == 4
    assert picture(sample("png"), at_least=(1, 1)).shape == (96, 160, 3)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_reduced_picture_is_the_full_one_made_smaller(name: str, factor: int, options: dict[str, Any]) -> None:
    pixels = getattr(skimage.data, name)()
    height, width = (side // 32 * 32 for side in pixels.shape[:2])
    pixels = pixels[:height, :width]
    tags = Image.Exif()
    tags[0x0112] = 6
    data = pillow(pixels, "JPEG", quality=90, exif=tags, **options)
    full = picture(data)
    reduced = picture(data, at_least=(full.shape[0] // factor, full.shape[1] // factor))
    assert reduced.shape == (full.shape[0] // factor, full.shape[1] // factor, 3)
    difference = scale_to(full, 24, 24).astype(int) - scale_to(reduced, 24, 24)
    assert np.abs(difference).mean() < 2.5


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True, "exact": True}),
        ("TIFF", {}),
        ("AVIF", {"quality": 95}),
        ("JPEG2000", {}),
    ],
)
def test_what_is_laid_on_white_is_made_smaller_on_the_way(
    factor: int, orientation: int, image_format: str, options: dict[str, Any]
) -> None:
    pixels = skimage.data.astronaut()
    fade = np.tile(np.linspace(255, 0, 512).astype(np.uint8), (512, 1))
    tags = Image.Exif()
    tags[0x0112] = orientation
    data = pillow(np.dstack([pixels, fade])[:480], image_format, exif=tags, **options)
    full = picture(data)
    reduced = picture(data, at_least=(full.shape[0] // factor, full.shape[1] // factor))
    assert reduced.shape == (full.shape[0] // factor, full.shape[1] // factor, 3)
    difference = scale_to(full, 24, 24).astype(int) - scale_to(reduced, 24, 24)
    assert np.abs(difference).mean() < 2.5
    assert (reduced[-1, -1] >= 250).all() or orientation != 1


@pytest.mark.parametrize("resolutions", [1, 2, 6])
def test_a_jpeg_2000_of_few_resolutions_is_made_smaller_too(resolutions: int) -> None:
    data = pillow(skimage.data.astronaut(), "JPEG2000", num_resolutions=resolutions)
    assert picture(data, at_least=(64, 64)).shape == (64, 64, 3)


@pytest.mark.parametrize("bits", [1, 16])
def test_deep_and_grey_pictures_are_made_smaller_on_the_way(bits: int) -> None:
    deep = skimage.data.astronaut()[:480, ::-1].astype(np.uint16) * 257
    if bits == 16:
        alpha = np.full((480, 512, 1), 65_535, np.uint16)
        data = png(512, 480, 16, 6, np.concatenate([deep, alpha], axis=2))
    else:
        data = pillow(Image.fromarray((deep >> 8).astype(np.uint8)).convert("1"), "PNG")
    full = picture(data)
    reduced = picture(data, at_least=(120, 128))
    assert reduced.shape == (120, 128, 3)
    assert np.abs(scale_to(full, 24, 24).astype(int) - scale_to(reduced, 24, 24)).mean() < 2.5


@pytest.mark.parametrize("name", SAMPLES)
def test_a_decode_is_expected_to_take_at_least_what_its_result_takes(name: str) -> None:
    header = read_header(sample(name))
    assert header.decoded_bytes >= 3 * header.width * header.height
