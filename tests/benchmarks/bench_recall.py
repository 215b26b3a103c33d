"""Recall@1 on photos that were changed, among as many distractor crops as photos; the failures are shown.

Each photo is indexed, and one random crop of each as a distractor (15 % of its area, so that none of them is a copy). Each
changed photo is then searched: it is right when the best hit is the photo it was made from. The other side of each
figure is the same search with the unchanged photo.

    python -m tests.benchmarks.bench_recall [--photos DIR] [--failures 5]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from tests.benchmarks.support.common import photo_files, print_table

DISTRACTOR_AREA = 0.15


def distractor(blob: bytes, seed: int) -> bytes:
    """A crop of the picture of 15 % of its area, at a random place, as JPEG."""
    image = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    height, width = (max(1, round(side * DISTRACTOR_AREA**0.5)) for side in image.shape[:2])
    random = np.random.default_rng(seed)
    top = int(random.integers(0, image.shape[0] - height + 1))
    left = int(random.integers(0, image.shape[1] - width + 1))
    return bytes(cv2.imencode(".jpg", image[top : top + height, left : left + width])[1])


def main() -> None:
    """Measure and print."""
    from docarray import DocList
    from jina import Client

    from executors.demo.changes import CHANGES
    from executors.documents import ImageDoc
    from tests.support.flows.flow import running_flow

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--failures", type=int, default=5, help="how many failures of each change to name")
    options = parser.parse_args()
    files = photo_files(options.photos)
    blobs = [path.read_bytes() for path in files]
    rows: list[list[str]] = []
    failures: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder, running_flow(Path(folder)) as flow:
        client = Client(port=flow.grpc_port, protocol="grpc")

        def post(endpoint: str, documents: list[ImageDoc]) -> DocList[ImageDoc]:
            parameters = {"limit": 1} if endpoint == "/search" else {}
            answers = client.post(
                endpoint,
                DocList[ImageDoc](documents),
                return_type=DocList[ImageDoc],
                parameters=parameters,
                request_size=32,
            )
            assert all(answer.error is None for answer in answers), [a.error for a in answers if a.error][:3]
            return answers

        post("/index", [ImageDoc(id=path.name, blob=blob) for path, blob in zip(files, blobs, strict=True)])
        post(
            "/index",
            [
                ImageDoc(id=f"crop of {path.name}", blob=distractor(blob, n))
                for n, (path, blob) in enumerate(zip(files, blobs, strict=True))
            ],
        )
        for name, change in {"unchanged": lambda blob: blob, **CHANGES}.items():
            found = post(
                "/search", [ImageDoc(id=path.name, blob=change(blob)) for path, blob in zip(files, blobs, strict=True)]
            )
            wrong = [(each.id, each.matches[0].id) for each in found if each.matches[0].id != each.id]
            rows.append([name, f"{1 - len(wrong) / len(files):.3f}", str(len(wrong))])
            failures += [[name, str(query), str(match)] for query, match in wrong[: options.failures]]
    title = f"Recall@1, {len(files)} photos among {len(files)} distractor crops"
    print_table(title, ["change", "recall@1", "failures"], rows)
    print_table("Failures", ["change", "photo", "found instead"], failures)


if __name__ == "__main__":
    main()
