"""`python -m executors.demo`, what `make demo` runs: from nothing to a page, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.flows.flow import ROOT, processes_of_group
from tests.support.pictures.pictures import encode, scene

pytestmark = pytest.mark.usefixtures("models_dir")


def start_demo(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, "-m", "executors.demo", "--output", str(tmp_path / "out"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    )


def processes_of_the_demo(tmp_path: Path) -> list[int]:
    """Every living process whose index is in this test's folder: the flow and its pods, with any parent."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"VS_WORKSPACE={tmp_path}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def assert_nothing_left(tmp_path: Path) -> None:
    assert processes_of_the_demo(tmp_path) == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_demo_shows_that_search_works_and_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = start_demo(tmp_path)
    out, err = demo.communicate(timeout=110)
    assert demo.returncode == 0, out + err
    assert re.search(r"index: 2\d\d pictures in [\d.]+ s", out)
    rows = [line.split() for line in out.splitlines()]
    recall = {
        " ".join(row[:-2]): float(row[-1]) for row in rows if len(row) > 2 and re.fullmatch(r"[01]\.\d{3}", row[-1])
    }
    assert recall["whole"] == 1
    assert min(recall[name] for name in ("cropped by 20 %", "rotated by EXIF", "recompressed at quality 40")) >= 0.95
    assert recall["text across"] >= 0.8
    assert "flow: stopped, no process left" in out
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<img ") >= 15 * 6
    assert "found first" in page
    assert_nothing_left(tmp_path)


def test_own_photos_with_a_damaged_one_end_with_1_and_a_reason(tmp_path: Path) -> None:
    photos = tmp_path / "my photos"
    (photos / "sub").mkdir(parents=True)
    for n in range(5):
        (photos / "sub" / f"{n}.jpg").write_bytes(encode(scene(n)))
    (photos / "damaged.jpg").write_bytes(encode(scene(9))[:600])
    demo = start_demo(tmp_path, "--photos", str(photos))
    out, err = demo.communicate(timeout=110)
    assert demo.returncode == 1
    assert "damaged.jpg" in out
    assert err.strip().splitlines() == ["error: internal: 1 picture could not be indexed"]
    assert (tmp_path / "out" / "index.html").exists()
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    demo = start_demo(tmp_path)
    deadline = time.monotonic() + 60
    while len(processes_of_the_demo(tmp_path)) < 5:
        assert time.monotonic() < deadline
        assert demo.poll() is None
        time.sleep(0.05)
    (main, *_) = sorted(processes_of_the_demo(tmp_path))
    demo.send_signal(number)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "Traceback" not in err
    assert processes_of_group(main) == []
    assert_nothing_left(tmp_path)


def test_a_flow_that_cannot_start_is_explained(tmp_path: Path) -> None:
    flow = tmp_path / "wrong.yml"
    flow.write_text((ROOT / "flows" / "image-search.yml").read_text().replace("uses_after:", "uses_aftr:"))
    demo = start_demo(tmp_path, "--flow", str(flow))
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "did you mean 'uses_after'?" in err
    assert "Traceback" not in err
    assert_nothing_left(tmp_path)
