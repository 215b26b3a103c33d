"""Makes the demo's photo library: pictures from the package scikit-image, and tiles that are cut from them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from executors.demo.changes import Image, read_upright, write_jpeg
from executors.errors import VisualSearchError

_TILE_QUALITY: Final = 92
# A tile with a smaller standard deviation (of 255) is sky or black, and looks like many others.
_LEAST_CONTRAST: Final = 12.0

# The file in the package, the name of the picture, and the rows and columns of tiles. Not included: a second chessboard,
# the other half of a stereo pair, and pictures of a few pixels.
_PICTURES: Final = (
    ("astronaut.png", "astronaut", 4, 4),
    ("brick.png", "brick", 3, 3),
    ("camera.png", "photographer", 4, 4),
    ("cell.png", "cell", 0, 0),
    ("chelsea.png", "cat", 3, 4),
    ("chessboard_RGB.png", "chessboard", 0, 0),
    ("clock_motion.png", "clock", 0, 0),
    ("coffee.png", "coffee", 4, 5),
    ("coins.png", "coins", 3, 4),
    ("color.png", "colours", 0, 0),
    ("grass.png", "grass", 3, 3),
    ("gravel.png", "gravel", 3, 3),
    ("horse.png", "horse", 0, 0),
    ("hubble_deep_field.jpg", "galaxies", 4, 4),
    ("ihc.png", "tissue", 4, 4),
    ("logo.png", "logo", 0, 0),
    ("moon.png", "moon", 3, 3),
    ("motorcycle_left.png", "motorcycle", 4, 5),
    ("page.png", "page", 2, 3),
    ("phantom.png", "phantom", 0, 0),
    ("retina.jpg", "retina", 4, 4),
    ("rocket.jpg", "rocket", 3, 4),
    ("text.png", "handwriting", 0, 0),
)


def make_library(folder: Path) -> list[Path]:
    """Write the pictures and their tiles, about 200 files, and return their paths in order.

    Nothing is downloaded: the files come with the installed package. The pictures go into `folder`, the tiles into its
    subfolder `tiles`.

    Raises:
        VisualSearchError: `unreadable_file` if scikit-image is not installed.
        OSError: the folder can't be written.
    """
    source = _package_data()
    (folder / "tiles").mkdir(parents=True, exist_ok=True)
    written = []
    for file, name, rows, columns in _PICTURES:
        blob = (source / file).read_bytes()
        image = read_upright(blob)
        whole = folder / f"{name}{Path(file).suffix if rows == 0 else '.jpg'}"
        whole.write_bytes(blob if rows == 0 else write_jpeg(image, _TILE_QUALITY))
        written.append(whole)
        for row, column, tile in _tiles(image, rows, columns):
            path = folder / "tiles" / f"{name}-{row + 1}-{column + 1}.jpg"
            path.write_bytes(write_jpeg(tile, _TILE_QUALITY))
            written.append(path)
    return written


def _tiles(image: Image, rows: int, columns: int) -> Iterator[tuple[int, int, Image]]:
    """Cut a picture into a grid, and yield the cells that show something."""
    for row in range(rows):
        for column in range(columns):
            height, width = image.shape[0] // rows, image.shape[1] // columns
            tile = image[row * height : (row + 1) * height, column * width : (column + 1) * width]
            if float(np.std(tile)) >= _LEAST_CONTRAST:
                yield row, column, tile


def _package_data() -> Path:
    """The folder of pictures in the package scikit-image, without importing it."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise VisualSearchError(
            "unreadable_file",
            "scikit-image is not installed; run `pip install 'visual-search-flows[demo]'`, or use --photos DIR",
        )
    return Path(found.origin).with_name("data")
