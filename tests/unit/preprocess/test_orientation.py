"""Each EXIF orientation puts the stored corners where the standard says."""

import numpy as np
import pytest

from executors.preprocess.orientation import apply_orientation

# The stored picture is A B C over D E F.
STORED = "ABC/DEF"
# CIPA DC-008, 4.6.5.1: where the 0th row and 0th column of the stored picture are seen.
UPRIGHT = {
    1: "ABC/DEF",
    2: "CBA/FED",
    3: "FED/CBA",
    4: "DEF/ABC",
    5: "AD/BE/CF",
    6: "DA/EB/FC",
    7: "FC/EB/DA",
    8: "CF/BE/AD",
}


def pixels(letters: str) -> np.ndarray:
    rows = [[(ord(letter), 2, 3) for letter in row] for row in letters.split("/")]
    return np.array(rows, np.uint8)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_corners_come_where_the_standard_puts_them(orientation: int) -> None:
    assert np.array_equal(apply_orientation(pixels(STORED), orientation), pixels(UPRIGHT[orientation]))
