"""Starts a flow in the foreground, for `visual-search serve` and `make serve`; `jina flow --uses` does the same."""

from __future__ import annotations

import sys
from pathlib import Path

from executors.errors import VisualSearchError
from executors.files.reading import MAX_TEXT_BYTES
from executors.flow.jina_home import import_jina
from executors.flow.log_format import write_json_lines
from executors.flow.paths import check_flow_text, is_flow_path
from executors.settings import read_settings, wants_json

DEFAULT_FLOW = "image-search.yml"


def find_flow(name: str | None) -> Path:
    """Return the path of a flow file, given its path or the name of one that comes with the package.

    Raises:
        VisualSearchError: `invalid_flow` if there is no such file, or if it is too large or has a wrong suffix.
    """
    package = Path(__file__).parents[1]
    candidates = [Path(name)] if name else []
    candidates += [folder / (name or DEFAULT_FLOW) for folder in (package / "_flows", package.parent / "flows")]
    for candidate in candidates:
        if candidate.is_file():
            if (size := candidate.stat().st_size) > MAX_TEXT_BYTES:
                raise VisualSearchError("invalid_flow", f"{name!r} has {size} bytes and can't be a flow file")
            if not is_flow_path(str(candidate)):
                message = f"{name!r} is not a flow file: its name does not end in .yml or .yaml"
                raise VisualSearchError("invalid_flow", message)
            check_flow_text(candidate)
            return candidate.absolute()
    raise VisualSearchError("invalid_flow", f"there is no flow file {name!r}")


def _check_manifest(path: Path | None) -> None:
    """Warn if VS_MODELS_MANIFEST names no valid manifest. The flow does not need it; `visual-search models` does."""
    if path is None:
        return
    from executors.models.manifest import load_manifest

    try:
        load_manifest(path)
    except VisualSearchError as error:
        print(f"warning: {error}; only `visual-search models` needs this file", file=sys.stderr)


def serve(flow_file: str | None = None) -> int:
    """Run the flow until it is interrupted.

    Returns:
        The exit status: 0 after SIGINT or SIGTERM, 1 if the flow could not start or can't answer any request any more.
    """
    if wants_json():
        write_json_lines()
    try:
        path = find_flow(flow_file)
        chosen = read_settings()  # report wrong settings before the imports below, which take seconds
        _check_manifest(chosen.models_manifest)
        import_jina()
        from executors.flow.program import FAILED_START, end_cleanly

        end_cleanly()
        import executors.bootstrap  # noqa: F401 # isort: skip - it configures the libraries that are imported next
        from jina import Flow
        from jina.excepts import RuntimeFailToStart

        flow = Flow.load_config(str(path))
    except VisualSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        with flow:
            flow.block()
    except KeyboardInterrupt:
        return 0
    except VisualSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except RuntimeFailToStart:
        print(FAILED_START, file=sys.stderr)
        return 1
    return 0
