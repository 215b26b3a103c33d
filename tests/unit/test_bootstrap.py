"""What a flow file imports first: nobody is told, nobody is asked, and the variables of the file are set."""

import os
import subprocess
import sys

PROGRAM = """
import os, socket, sys

asked = []

def refuse(*arguments, **_):
    asked.append(arguments)
    raise OSError("refused")

import executors.bootstrap
from jina import Flow

flow = Flow.load_config(sys.argv[1])
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
assert flow.address_public is None
assert asked == []
assert os.environ["JINA_OPTOUT_TELEMETRY"]
print(os.environ["VS_PORTS"], os.environ["VS_SHARDS"])
os.environ["VS_SHARDS"], os.environ["VS_HTTP_PORT"] = "3", "9999"
Flow.load_config(sys.argv[1])
print(os.environ["VS_PORTS"], os.environ["VS_SHARDS"])
"""


def test_a_flow_is_configured_anew_each_time_and_asks_no_public_address() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VS_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, "flows/image-search.yml"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-3:-1] == ["[54321, 8080] 2", "[54321, 9999] 3"]


OTHER_PROGRAM = """
import atexit, os, signal, sys
import executors.bootstrap

atexit.register(lambda: print("ended in its own way"))
os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_program_that_loads_a_flow_keeps_its_own_way_to_end() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OTHER_PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert "ended in its own way" in done.stdout
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode != 0
