"""The files that failed: as a table for a person, as CSV or JSON for a program."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from executors.cli.index.state import FileResult
from executors.cli.terminal.output import cell, count_of, make_table

_SHOWN: Final = 20


def print_failures(console: Console, failures: Sequence[FileResult], most: int = _SHOWN) -> None:
    """Print how often each code stands, and the first files with what is wrong with them."""
    table = make_table("file", "code", "what is wrong", title="Failed")
    for failure in failures[:most]:
        error = failure.error
        table.add_row(cell(failure.file.name), cell(error.code if error else ""), cell(error.message if error else ""))
    console.print(table)
    if len(failures) > most:
        codes = Counter(failure.error.code for failure in failures if failure.error)
        counted = ", ".join(f"{count:,} {code}" for code, count in codes.most_common())
        console.print(f"… {count_of(len(failures), 'file')} in all ({counted}); --report FILE.csv lists them")


def write_failures(path: Path, failures: Sequence[FileResult]) -> None:
    """Write the failed files as CSV or JSON, by the file's extension.

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
    path.write_bytes(text.encode("utf-8", "backslashreplace"))
