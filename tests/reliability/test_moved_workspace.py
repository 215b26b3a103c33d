"""The workspace is moved, or a backup put in its place, while the flow runs: nothing that is acknowledged is lost by it."""

import shutil
import threading
from pathlib import Path

import requests

from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import RunningFlow, running_flow


def health(flow: RunningFlow) -> tuple[int, str]:
    full = requests.get(f"{flow.http_url}/health/full", timeout=30)
    return full.status_code, str(full.json()["stages"]["index"].get("error"))


def test_what_was_acknowledged_is_where_the_next_start_looks(tmp_path: Path, models_dir: Path) -> None:
    """A backup takes the workspace's place beside writes: after that nothing is acknowledged, and the backup is untouched."""
    vectors = unit_vectors(4)
    acknowledged: list[str] = []
    refused: set[tuple[int, str]] = set()
    moved = threading.Event()
    with running_flow(tmp_path) as flow:
        workspace = Path(flow.environment["VS_WORKSPACE"])
        api = Api(flow.http_url, "images")
        api.index_vectors({"in the backup": vectors[0]})
        api.index_vectors({"in the backup, too": vectors[1]})
        shutil.copytree(workspace, tmp_path / "backup")
        late: list[str] = []

        def write() -> None:
            for number in range(10_000):
                known = moved.is_set()
                answer = Api(flow.http_url, "images").post(
                    "/index", [{"id": f"{number}", "embedding": vectors[2].tolist()}]
                )
                if answer.status_code == 200:
                    (late if known else acknowledged).append(f"{number}")
                else:
                    refused.add((answer.status_code, answer.json()["error"]["code"]))
                    if known:
                        return

        writer = threading.Thread(target=write)
        writer.start()
        while len(acknowledged) < 20:
            assert writer.is_alive()
        workspace.rename(tmp_path / "moved")
        (tmp_path / "backup").rename(workspace)
        moved.set()
        writer.join(60)
        assert (late, refused) == ([], {(503, "storage_unavailable")})
        status, error = health(flow)
        assert status == 503
        assert "storage_unavailable" in error
        assert str(workspace) in error
        for endpoint in ("/search", "/delete", "/update"):
            data = [{"embedding": vectors[0].tolist()}] if endpoint == "/search" else [{"id": "in the backup"}]
            assert api.refused(endpoint, data) == (503, "storage_unavailable"), endpoint
        assert requests.post(f"{flow.http_url}/verify", json={}, timeout=30).status_code == 503
        shown = requests.get(f"{flow.http_url}/status", timeout=30).json()["index"]
        assert shown["error"]["code"] == "storage_unavailable"

    with running_flow(tmp_path) as flow:
        assert sorted(each["id"] for each in Api(flow.http_url, "images").scroll()) == [
            "in the backup",
            "in the backup, too",
        ]
    with running_flow(tmp_path, VS_WORKSPACE=str(tmp_path / "moved")) as flow:
        held = {each["id"] for each in Api(flow.http_url, "images").scroll()}
        assert held >= set(acknowledged)
