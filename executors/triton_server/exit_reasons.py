"""The reason why a server ended: pure functions of its status and of its log's text."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from typing import Final

# Noise that Triton prints at level error on any machine without a GPU.
_HARMLESS: Final = ("CudaDriverHelper has not been initialized", "Failed to initialize NVML")
_GLOG: Final = re.compile(r"[EF]\d{4} \d\d:\d\d:\d\d\.\d+ \d+ [\w.]+:\d+\]\s+\"?(.*?)\"?$")
# Of our own notes (`--- `), only "can't be started" counts; the others repeat how the previous life ended.
_FATAL: Final = re.compile(
    r"(?!--- )(?:error: |.*error while loading shared libraries: |.*terminate called |Fatal Python error: )"
    r"|(?:\S*/)?(?:ba|da)?sh: |--- \S+ the server can't be started"
)
_WRAPPING: Final = re.compile(
    r"creating server: (?:Invalid argument|Internal) - |failed to load '[^']*' version \d+: Internal: "
    r"|ERROR: Failed to create instance: |TritonModelException: |^--- \S+ "
)
# The C++ library puts the text of an exception on a second line.
_WHAT: Final = re.compile(r"(terminate called .*)\n\s*what\(\):\s*")
_LONGEST: Final = 400


def why_it_ended(log: str) -> str:
    """One line that tells a person why the server ended; empty if the log does not say.

    It is the last message about a model that can't be loaded, or about what kept the server from starting.
    """
    found = list(_complaints(log))
    return found[0][:_LONGEST] if found else ""


def describe_end(status: int, why: str, *, given_up: bool = False) -> str:
    """One line about how the server ended.

    Args:
        status: the guard's exit status, which is the server's as a shell would report it.
        why: the reason found in the log.
        given_up: whether it was ended because it waited for a stub that is gone (start_watch.py).
    """
    if given_up:
        how = "a process that it needs to serve a model ended at its start"
    elif status < 0:
        how = f"its guard was ended by {signal.Signals(-status).name}"
    elif status - 128 in {each.value for each in signal.Signals}:
        how = f"it was ended by {signal.Signals(status - 128).name}"
    else:
        how = f"it ended with status {status}"
    return f"{how}: {why}" if why else how


def _complaints(log: str) -> Iterator[str]:
    """The informative lines, the most specific first: a model's own failure, an entry not found, then the server's
    message.
    """
    lines = _WHAT.sub(r"\1: ", log).splitlines()
    errors = [match[1] for match in map(_GLOG.match, lines) if match]
    errors = [error.split("\\n")[0] for error in errors if not error.startswith(_HARMLESS)]
    for sign in ("failed to load '", "failed to poll model", "Failed to create instance", ""):
        for error in errors:
            if sign in error:
                yield _plain(error)
    for line in lines:
        if _FATAL.match(line):
            yield _plain(line)


def _plain(line: str) -> str:
    model = re.match(r"failed to load '([^']*)' version (\d+)", line)
    text = _WRAPPING.sub("", line.removeprefix("error: ")).strip().rstrip(";")
    return f"model {model[1]!r} version {model[2]}: {text}" if model else text
