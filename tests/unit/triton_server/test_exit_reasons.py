"""The reason why a server ended, read from lines that Triton 2.51 wrote."""

from __future__ import annotations

import pytest

from executors.triton_server.exit_reasons import why_it_ended

NO_GPU = 'E1121 08:11:53.975281 2777 server.cc:241] "CudaDriverHelper has not been initialized."'
GOOD = "I1121 08:11:59.373261 2946 model_lifecycle.cc:839] \"successfully loaded 'efficientnet-lite0'\""
SAID = "lite/1/model.onnx can't be loaded: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF"
DAMAGED = f"""{NO_GPU}
I1121 08:11:54.228997 2777 pb_stub.cc:366] "Failed to initialize Python stub: TritonModelException: {SAID}\\n\\nAt:\\n"
E1121 08:11:54.368686 2777 backend_model.cc:692] "ERROR: Failed to create instance: TritonModelException: {SAID}\\n\\nAt:\\n"
E1121 08:11:54.390584 2777 model_lifecycle.cc:642] "failed to load 'lite' version 2: Internal: TritonModelException: {SAID}\\n"
error: creating server: Invalid argument - load failed for model 'lite': version 2 is at UNAVAILABLE state: Internal: …

At:
  /x.py(1): initialize
;
"""


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("", ""),
        (f"{NO_GPU}\n{GOOD}\nSignal (15) received.\n", ""),
        (DAMAGED, f"model 'lite' version 2: {SAID}"),
        (
            f"{NO_GPU}\nE1121 08:11:55.683115 2859 model_repository_manager.cc:1415] "
            "\"failed to poll model 'nope': model not found in any model repository.\"\n",
            "failed to poll model 'nope': model not found in any model repository.",
        ),
        (
            'E1121 08:31:23.983698 25412 main.cc:245] "failed to start GRPC service: Unavailable - Socket '
            "'127.0.0.1:41033' already in use \"\n",
            "failed to start GRPC service: Unavailable - Socket '127.0.0.1:41033' already in use",
        ),
        (
            "/env/tritonserver: error while loading shared libraries: libcudart-0.so: cannot open shared object file\n",
            "/env/tritonserver: error while loading shared libraries: libcudart-0.so: cannot open shared object file",
        ),
        (
            "--- 2026-11-21T08:31:22+0000 start: lite on cpu\n"
            "--- 2026-11-21T08:31:22+0000 the server can't be started: Permission denied\n",
            "the server can't be started: Permission denied",
        ),
    ],
)
def test_the_line_that_tells_a_person_why(log: str, why: str) -> None:
    assert why_it_ended(log) == why


def test_how_the_life_before_ended_is_not_why_this_one_did() -> None:
    note = "--- 2026-11-21T08:31:22+0000 restart 1 (terminate called after x; the server can't be started): lite on cpu"
    assert why_it_ended(f"{note}\nbash: line 1: /x: not found\n") == "bash: line 1: /x: not found"


def test_a_long_complaint_is_cut() -> None:
    assert len(why_it_ended("error: " + "x" * 5000)) <= 400


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (
            "bash: line 1: /opt/backends/stub: Permission denied\n",
            "bash: line 1: /opt/backends/stub: Permission denied",
        ),
        ("/bin/sh: 1: exec: /opt/stub: not found\n", "/bin/sh: 1: exec: /opt/stub: not found"),
        (
            "terminate called after throwing an instance of 'std::invalid_argument'\n  what():  stol\n",
            "terminate called after throwing an instance of 'std::invalid_argument': stol",
        ),
        ("Fatal Python error: no module named 'encodings'\n", "Fatal Python error: no module named 'encodings'"),
    ],
)
def test_what_keeps_a_stub_from_starting(lines: str, why: str) -> None:
    assert why_it_ended(f"{NO_GPU}\n{lines}") == why
