"""The file that `index --report` writes: the files that failed, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from executors.cli.index.state import FileResult
from executors.cli.output_file import open_output


def write_failures(path: Path, failures: Sequence[FileResult]) -> None:
    """Write the failed files as JSON if the path ends in `.json`, otherwise as CSV.

    Raises:
        OSError: the file can't be written.
    """
    rows = [
        {
            "path": failure.file.path,
            "id": failure.id,
            "code": failure.error.code if failure.error else "",
            "message": failure.error.message if failure.error else "",
        }
        for failure in failures
    ]
    if path.suffix.lower() == ".json":
        text = json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
    else:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, ["path", "id", "code", "message"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    with open_output(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))
