from __future__ import annotations

import pytest

from executors.cli.index.selection import EXCLUDED, HIDDEN, SYSTEM, Selection, excludes


@pytest.mark.parametrize(
    ("pattern", "name", "is_folder", "matches"),
    [
        ("*.png", "a.png", False, True),
        ("*.png", "deep/er/a.png", False, True),
        ("*.png", "a.PNG", False, False),
        ("*.png", "a.png.jpg", False, False),
        ("drafts", "2019/drafts", True, True),
        ("drafts/", "2019/drafts", True, True),
        ("drafts/", "2019/drafts", False, False),
        ("2019/*", "2019/a.jpg", False, True),
        ("2019/*", "2019/sub/a.jpg", False, False),
        ("2019/*", "old/2019/a.jpg", False, False),
        ("2019/**", "2019/sub/a.jpg", False, True),
        ("**/raw/*.tif", "raw/a.tif", False, True),
        ("**/raw/*.tif", "x/y/raw/a.tif", False, True),
        ("/top.jpg", "top.jpg", False, True),
        ("/top.jpg", "sub/top.jpg", False, False),
        ("IMG_[0-4]?.jpg", "IMG_42.jpg", False, True),
        ("IMG_[!0-4]?.jpg", "IMG_42.jpg", False, False),
        ("[.jpg", "[.jpg", False, True),
        (r"\[a\].jpg", "[a].jpg", False, True),
        (r"\*.jpg", "a.jpg", False, False),
        (r"\*.jpg", "*.jpg", False, True),
        ("[!a-].jpg", "b.jpg", False, True),
        ("[!a-].jpg", "-.jpg", False, False),
        ("[!-a].jpg", "b.jpg", False, True),
        ("[!]].jpg", "a.jpg", False, True),
        ("[!].jpg", "[!].jpg", False, True),
        ("x[+-9]y", "x/y", False, False),
        ("[a&&b].jpg", "&.jpg", False, True),
        ("a+(b).jpg", "a+(b).jpg", False, True),
        ("*.jpg", "new\nline.jpg", False, True),
    ],
)
def test_patterns_match_as_in_gitignore(pattern: str, name: str, is_folder: bool, matches: bool) -> None:
    assert excludes(pattern, name, is_folder=is_folder) is matches


def test_the_reason_is_told_and_what_is_excluded_stays_so_with_all() -> None:
    selection = Selection(["*.png"])
    assert selection.reason_against("a.png", is_folder=False) == EXCLUDED
    assert selection.reason_against("x/.a.jpg", is_folder=False) == HIDDEN
    assert selection.reason_against("x/#RECYCLE", is_folder=True) == SYSTEM
    assert selection.reason_against("x/lost+found", is_folder=False) is None
    everything = Selection(["*.png"], everything=True)
    assert everything.reason_against("a.png", is_folder=False) == EXCLUDED
    assert everything.reason_against(".a.jpg", is_folder=False) is None
